//! SQLite.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rusqlite::{Connection, TransactionBehavior};
use tidegate::config::OutboxConfig;
use tidegate::outbox::create_tables;

use super::account::RelayAccount;
use super::load;
use super::shop::{Shop, Till, settings};
use crate::place::{Place, Told};
use crate::scenario::{Account, Scenario, Surroundings};

/// How long a connection waits for others.
const BUSY: Duration = Duration::from_secs(60);

/// See the module.
pub struct Sqlite;

impl Scenario for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn promise(&self) -> &'static str {
        "each sale committed in an application's SQLite database is one event, in the order of the commits"
    }

    fn surroundings(&self, place: &Place) -> Result<Surroundings> {
        let config = self.config(place.directory());
        create_tables(&config.database)?;
        let connection = connect(place.directory())?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch(
            "CREATE TABLE sales (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)",
        )?;
        Ok(Surroundings::Ready(Box::new(())))
    }

    fn load(&self, place: &Place, round: u32, told: &Told) -> Result<()> {
        load::run(self, place, round, told)
    }

    fn account(&self) -> Box<dyn Account> {
        Box::new(RelayAccount::new(&Sqlite))
    }
}

impl Shop for Sqlite {
    fn config(&self, directory: &Path) -> OutboxConfig {
        settings(OutboxConfig::sqlite(directory.join("shop.db"), "/shop"))
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Till>> {
        Ok(Box::new(connect(directory)?))
    }
}

fn connect(directory: &Path) -> Result<Connection> {
    let connection = Connection::open(directory.join("shop.db"))?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

impl Till for Connection {
    fn sell(&mut self, id: &str, commits: bool) -> Result<()> {
        let transaction = self.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("INSERT INTO sales (id) VALUES (?1)", [id])?;
        transaction.execute("INSERT INTO tidegate_outbox (id, type) VALUES (?1, 'Sold.v1')", [id])?;
        if commits {
            transaction.commit()?
        } else {
            transaction.rollback()?
        }
        Ok(())
    }

    /// A process that was killed has let go of its locks.
    fn alone(&mut self) -> Result<()> {
        Ok(())
    }

    fn sales(&mut self, after: i64) -> Result<Vec<(i64, String)>> {
        pairs(self, "SELECT n, id FROM sales WHERE n > ?1 ORDER BY n", after)
    }

    fn rows(&mut self, after: i64) -> Result<Vec<(i64, String)>> {
        pairs(self, "SELECT position, id FROM tidegate_outbox WHERE position > ?1 ORDER BY position", after)
    }

    fn unmarked(&mut self) -> Result<i64> {
        let count = "SELECT count(*) FROM tidegate_outbox WHERE emitted IS NULL";
        Ok(self.query_row(count, [], |row| row.get(0))?)
    }
}

fn pairs(connection: &Connection, sql: &str, after: i64) -> Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([after], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
