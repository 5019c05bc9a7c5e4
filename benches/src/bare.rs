//! Bare redb with the commit settings of a bus: what the bus is built on, and so a limit of it.

use anyhow::Result;
use tempfile::TempDir;
use tidegate::redb::{Database, Durability, TableDefinition};

use crate::report::target;

/// What an application writes.
pub const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
/// What stands for the log: a row for each event.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");

/// A database in a folder of its own.
pub struct Bare {
    database: Database,
    next: u64,
    _folder: TempDir,
}

impl Bare {
    pub fn new() -> Result<Self> {
        let folder = TempDir::new_in(target()?)?;
        Ok(Self { database: Database::create(folder.path().join("bare.redb"))?, next: 0, _folder: folder })
    }

    /// One durable transaction of a row and an event.
    pub fn commit(&mut self, row: &[u8], event: &[u8]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_quick_repair(true);
        transaction.set_durability(Durability::Immediate)?;
        transaction.open_table(ROWS)?.insert(self.next, row)?;
        transaction.open_table(EVENTS)?.insert(self.next, event)?;
        transaction.commit()?;
        self.next += 1;
        Ok(())
    }
}
