//! The application's own tables and the log at one moment.

use std::sync::{Arc, Weak};

use redb::{
    Key, MultimapTableDefinition, MultimapTableHandle, ReadOnlyMultimapTable, ReadOnlyTable, ReadTransaction,
    TableDefinition, TableError, TableHandle, Value,
};

use super::batch::BatchKey;
use super::error::ReadError;
use super::guard::{OpenDatabase, reading};
use super::hash::{self, key_hash};
use super::keys;
use super::load::ends_of;
use super::memtable::{MemRow, PartitionId};
use super::read::{self, Entry, Numbered};
use super::rows::PartitionRows;
use super::schema::{BATCHES, FLOORS, KEYS};
use super::shared::{Shared, View};
use super::topics::{Ends, Topic};
use super::transaction::own_names;
use crate::clock::Timestamp;
use crate::ids::TopicId;
use crate::limits::SNAPSHOT_AGE_MAX;

/// See [`Snapshot`](crate::Snapshot).
pub(crate) struct LogSnapshot {
    shared: Arc<Shared>,
    /// The database that it is of, while that is in use: a snapshot keeps it open no longer.
    database: Weak<OpenDatabase>,
    view: View,
    /// What the names of the application's tables begin with in the database.
    space: &'static str,
    taken: Timestamp,
}

/// The batches of a partition, and how far it goes in them.
struct Partition<'s> {
    id: PartitionId,
    table: ReadOnlyTable<BatchKey, &'static [u8]>,
    memory: &'s [MemRow],
    ends: Ends,
}

impl Partition<'_> {
    fn rows(&self) -> PartitionRows<'_, ReadOnlyTable<BatchKey, &'static [u8]>> {
        PartitionRows { partition: self.id, table: &self.table, memory: self.memory }
    }
}

impl LogSnapshot {
    pub(super) fn new(shared: Arc<Shared>, space: &'static str) -> Result<Self, ReadError> {
        let (database, view) = shared.durable_view()?;
        let taken = shared.clock.now();
        Ok(Self { shared, database: Arc::downgrade(&database), view, space, taken })
    }

    pub fn taken(&self) -> Timestamp {
        self.taken
    }

    fn read(&self) -> Result<&ReadTransaction, ReadError> {
        if self.shared.clock.now().since(self.taken) > SNAPSHOT_AGE_MAX {
            return Err(ReadError::SnapshotExpired { max: SNAPSHOT_AGE_MAX });
        }
        if self.database.strong_count() == 0 {
            return Err(ReadError::SnapshotEnded);
        }
        Ok(&self.view.transaction)
    }

    pub fn open_table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Option<ReadOnlyTable<K, V>>, ReadError> {
        let name = self.own_name(definition.name());
        reading(|| if_there(self.read()?.open_table(TableDefinition::new(&name))))
    }

    pub fn open_multimap_table<K: Key + 'static, V: Key + 'static>(
        &self,
        definition: MultimapTableDefinition<'_, K, V>,
    ) -> Result<Option<ReadOnlyMultimapTable<K, V>>, ReadError> {
        let name = self.own_name(definition.name());
        reading(|| if_there(self.read()?.open_multimap_table(MultimapTableDefinition::new(&name))))
    }

    pub fn tables(&self) -> Result<Vec<String>, ReadError> {
        reading(|| {
            let read = self.read()?;
            let plain = read.list_tables()?.map(|table| table.name().to_owned());
            let multimap = read.list_multimap_tables()?.map(|table| table.name().to_owned());
            Ok(own_names(plain.chain(multimap), self.space))
        })
    }

    /// The first offset that a partition retains, and the first that isn't there yet.
    pub fn offsets(&self, topic: TopicId, partition: u32) -> Result<(u64, u64), ReadError> {
        reading(|| {
            let Ends { low, next, .. } = self.partition(topic, partition)?.ends;
            Ok((low, next))
        })
    }

    pub fn events(
        &self,
        topic: TopicId,
        partition: u32,
        from: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        reading(|| {
            let Partition { id, memory, ends, .. } = self.partition(topic, partition)?;
            read::events_in(self.read()?, id, memory, ends, from, events_max, bytes_max)
        })
    }

    pub fn offset_at(&self, topic: TopicId, partition: u32, time: Timestamp) -> Result<u64, ReadError> {
        reading(|| {
            let partition = self.partition(topic, partition)?;
            read::offset_at_in(&partition.rows(), partition.ends, time)
        })
    }

    pub fn version(&self, topic: &str, key: &str) -> Result<u64, ReadError> {
        reading(|| {
            let topic = self.shared.sequenced(topic)?;
            let key = hash::key_identity(self.shared.hash_key, topic.id, key);
            Ok(keys::last(&self.read()?.open_table(KEYS)?, topic.id, key)?)
        })
    }

    pub fn key_events(&self, topic: &str, key: &str, after: u64) -> Result<Vec<Numbered>, ReadError> {
        reading(|| {
            let topic: Arc<Topic> = self.shared.sequenced(topic)?;
            let partition = hash::partition_of(key_hash(key), topic.partition_count());
            let Partition { id, memory, ends, .. } = self.partition(topic.id, partition)?;
            read::key_events_in(self.read()?, id, memory, ends, (self.shared.hash_key, key), after)
        })
    }

    fn partition(&self, topic: TopicId, partition: u32) -> Result<Partition<'_>, ReadError> {
        let read = self.read()?;
        let floor = read::floor(&read.open_table(FLOORS)?, topic, partition)?;
        let (id, table) = ((topic, partition), read.open_table(BATCHES)?);
        let memory = self.view.memtable.of(id);
        let ends = ends_of(&PartitionRows { partition: id, table: &table, memory }, floor)?;
        Ok(Partition { id, table, memory, ends })
    }

    fn own_name(&self, name: &str) -> String {
        [self.space, name].concat()
    }
}

fn if_there<T>(opened: Result<T, TableError>) -> Result<Option<T>, ReadError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
