//! Bare redb with the commits of a bus by default: what the bus is built on, and so a limit of it.

use anyhow::Result;
use tempfile::TempDir;
use tidegate::redb::{Database, Durability, ReadableTable as _, TableDefinition, WriteTransaction};

use crate::report::target;

/// What an application writes.
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
/// What stands for the log.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// What stands for a consumer's state.
const COUNTS: TableDefinition<&[u8], u64> = TableDefinition::new("counts");

/// The cache of a bus, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// A database in a folder of its own.
pub struct Bare {
    database: Database,
    next: u64,
    _folder: TempDir,
}

impl Bare {
    pub fn new() -> Result<Self> {
        let folder = TempDir::new_in(target()?)?;
        let file = folder.path().join("bare.redb");
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(file)?;
        Ok(Self { database, next: 0, _folder: folder })
    }

    /// One durable transaction of a row and an event, which is a row of its own.
    pub fn commit(&mut self, row: &[u8], event: &[u8]) -> Result<()> {
        let transaction = self.begin()?;
        transaction.open_table(ROWS)?.insert(self.next, row)?;
        transaction.open_table(EVENTS)?.insert(self.next, event)?;
        transaction.commit()?;
        self.next += 1;
        Ok(())
    }

    /// One durable transaction of these rows of events.
    pub fn commit_rows<'a>(&mut self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let transaction = self.begin()?;
        {
            let mut events = transaction.open_table(EVENTS)?;
            for row in rows {
                events.insert(self.next, row)?;
                self.next += 1;
            }
        }
        Ok(transaction.commit()?)
    }

    /// One durable transaction that counts these keys.
    pub fn count<'a>(&mut self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let transaction = self.begin()?;
        {
            let mut counts = transaction.open_table(COUNTS)?;
            for key in keys {
                let count = counts.get(key)?.map_or(0, |count| count.value());
                counts.insert(key, count + 1)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn begin(&self) -> Result<WriteTransaction> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_quick_repair(true);
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}
