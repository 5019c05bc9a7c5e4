//! The rows of a partition's batches, wherever they are: in their table, or in the memtable.

use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::sync::Arc;

use redb::{AccessGuard, Range, ReadableTable, StorageError};

use super::batch::BatchKey;
use super::memtable::{self, MemRow, PartitionId};

/// The table, as somebody sees it, and what the memtable had for it then.
pub(super) struct PartitionRows<'a, T> {
    pub partition: PartitionId,
    pub table: &'a T,
    pub memory: &'a [MemRow],
}

/// A row.
pub(super) enum Row<'t> {
    InTable(AccessGuard<'t, &'static [u8]>),
    InMemory(Arc<[u8]>),
}

impl Row<'_> {
    pub fn is_in_memory(&self) -> bool {
        matches!(self, Self::InMemory(_))
    }

    pub fn value(&self) -> &[u8] {
        match self {
            Self::InTable(guard) => guard.value(),
            Self::InMemory(bytes) => bytes,
        }
    }
}

/// The rows of a range of first offsets, in their order.
pub(super) struct RowsInOrder<'a> {
    partition: PartitionId,
    table: Peekable<Range<'a, BatchKey, &'static [u8]>>,
    memory: Peekable<std::slice::Iter<'a, MemRow>>,
}

impl<'a, T: ReadableTable<BatchKey, &'static [u8]>> PartitionRows<'a, T> {
    /// Those that begin at one of these offsets. A key may be of another place, where a page of it stands here.
    pub fn range(&self, firsts: RangeInclusive<u64>) -> Result<RowsInOrder<'a>, StorageError> {
        let (from, to) = firsts.into_inner();
        let memory = &self.memory[self.memory.partition_point(|row| row.first < from)..];
        let memory = memory[..memory.partition_point(|row| row.first <= to)].iter().peekable();
        let table = self.table.range(self.key(from)..=self.key(to))?.peekable();
        Ok(RowsInOrder { partition: self.partition, table, memory })
    }

    /// The last one that begins at this offset or before it.
    pub fn last_until(&self, offset: u64) -> Result<Option<(BatchKey, Row<'a>)>, StorageError> {
        let in_memory = self.memory[..self.memory.partition_point(|row| row.first <= offset)].last();
        let in_table = self.table.range(self.key(0)..=self.key(offset))?.next_back().transpose()?;
        let in_table = in_table.map(|(key, row)| (key.value(), Row::InTable(row)));
        let in_memory = in_memory.map(|row| in_memory_row(self.partition, row));
        Ok(match (in_table, in_memory) {
            // What is of another place says nothing of this one.
            (Some((key, _)), Some(row)) if key <= row.0 || !self.is_of(key) => Some(row),
            (in_table, in_memory) => in_table.or(in_memory),
        })
    }

    fn is_of(&self, (topic, partition, _): BatchKey) -> bool {
        (topic, partition) == (self.partition.0.0, self.partition.1)
    }

    fn key(&self, offset: u64) -> BatchKey {
        (self.partition.0.0, self.partition.1, offset)
    }
}

fn in_memory_row<'t>(partition: PartitionId, row: &MemRow) -> (BatchKey, Row<'t>) {
    (memtable::key(partition, row), Row::InMemory(Arc::clone(&row.bytes)))
}

/// Rows that are all in the memtable.
pub(super) fn in_memory(
    partition: PartitionId,
    rows: &[MemRow],
) -> impl Iterator<Item = Result<(BatchKey, Row<'_>), StorageError>> {
    rows.iter().map(move |row| Ok(in_memory_row(partition, row)))
}

impl<'a> Iterator for RowsInOrder<'a> {
    type Item = Result<(BatchKey, Row<'a>), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let in_memory = self.memory.peek().map(|row| row.first);
        let is_first = match (in_memory, self.table.peek()) {
            (Some(first), Some(Ok((key, _)))) => first <= key.value().2,
            (in_memory, in_table) => in_memory.is_some() && in_table.is_none(),
        };
        if is_first {
            // For a moment, a row is in both.
            self.table.next_if(|row| row.as_ref().is_ok_and(|(key, _)| Some(key.value().2) == in_memory));
            return self.memory.next().map(|row| Ok(in_memory_row(self.partition, row)));
        }
        let row = self.table.next()?;
        Some(row.map(|(key, row)| (key.value(), Row::InTable(row))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::Database;
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::ids::TopicId;
    use crate::log::schema::BATCHES;

    const PARTITION: PartitionId = (TopicId(1), 2);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_are_found_in_their_order_wherever_they_are(
            rows in proptest::collection::vec((1_u64..4, any::<bool>(), any::<bool>()), 0..20),
            from in 0_u64..40,
            len in 0_u64..40,
        ) {
            let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let transaction = database.begin_write().unwrap();
            let mut table = transaction.open_table(BATCHES).unwrap();
            let (mut memory, mut firsts, mut first) = (Vec::new(), Vec::new(), 1);
            for other in [1, 3] {
                table.insert((1, other, 7), b"other".as_slice()).unwrap();
            }
            for (count, is_in_table, is_in_memory) in rows {
                let bytes = first.to_string();
                if is_in_table {
                    table.insert((1, 2, first), bytes.as_bytes()).unwrap();
                }
                if is_in_memory {
                    memory.push(MemRow::new(first, first + count, 1, bytes.as_bytes()));
                }
                if is_in_table || is_in_memory {
                    firsts.push(first);
                }
                first += count;
            }
            let found = PartitionRows { partition: PARTITION, table: &table, memory: &memory };
            let is_right = |((topic, partition, first), row): &(BatchKey, Row<'_>)| {
                (*topic, *partition) == (1, 2) && row.value() == first.to_string().as_bytes()
            };
            let range: Vec<_> = found.range(from..=from + len).unwrap().map(Result::unwrap).collect();
            prop_assert!(range.iter().all(is_right));
            let expected = firsts.iter().copied().filter(|first| (from..=from + len).contains(first));
            prop_assert!(range.iter().map(|(key, _)| key.2).eq(expected));
            let last = found.last_until(from).unwrap();
            prop_assert!(last.iter().all(is_right));
            let expected = firsts.iter().copied().rfind(|first| *first <= from);
            prop_assert_eq!(last.map(|(key, _)| key.2), expected);
        }
    }
}
