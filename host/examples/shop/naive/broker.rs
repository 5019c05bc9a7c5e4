//! The queue: durable, and delivers at least once. Which of several workers gets a message is open.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params, params_from_iter};
use tidegate::{Clock as _, SystemClock};

use super::Message;
use crate::error::ShopError;

/// Messages that a worker takes at one time, and acknowledges together.
const BATCH: u32 = 8;

/// How long messages that were taken are invisible to other workers. A batch that isn't acknowledged by then is delivered again.
const VISIBILITY: Duration = Duration::from_secs(3);

/// How long a connection waits for another one.
const BUSY: Duration = Duration::from_secs(30);

/// A connection to the queue.
pub struct Broker {
    connection: Connection,
    clock: SystemClock,
}

/// A message as a worker gets it.
pub struct Delivered {
    pub id: i64,
    pub message: Message,
    /// How often it has failed.
    pub failures: u32,
}

impl Broker {
    pub fn open(directory: &Path) -> Result<Self, ShopError> {
        let connection = open(&directory.join("broker.sqlite"))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS queue (
                 id INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT NOT NULL, failures INTEGER NOT NULL,
                 visible_at INTEGER NOT NULL
             )",
        )?;
        Ok(Self { connection, clock: SystemClock::new() })
    }

    pub fn publish(&self, messages: &[Message]) -> Result<(), ShopError> {
        messages.iter().try_for_each(|message| self.append(message, 0))
    }

    /// Puts a message that has failed behind the others.
    pub fn try_later(&self, message: &Message, failures: u32) -> Result<(), ShopError> {
        self.append(message, failures)
    }

    fn append(&self, message: &Message, failures: u32) -> Result<(), ShopError> {
        let insert = "INSERT INTO queue (message, failures, visible_at) VALUES (?, ?, 0)";
        self.connection.execute(insert, params![serde_json::to_string(message)?, failures])?;
        Ok(())
    }

    /// Takes some messages.
    pub fn take(&self) -> Result<Vec<Delivered>, ShopError> {
        let now = self.clock.now();
        let take = "UPDATE queue SET visible_at = ?1 WHERE id IN
                        (SELECT id FROM queue WHERE visible_at <= ?2 ORDER BY id LIMIT ?3)
                    RETURNING id, message, failures";
        let mut take = self.connection.prepare(take)?;
        let mut rows = take.query(params![now.after(VISIBILITY).0, now.0, BATCH])?;
        let mut taken = Vec::new();
        while let Some(row) = rows.next()? {
            let message = serde_json::from_str(&row.get::<_, String>(1)?)?;
            taken.push(Delivered { id: row.get(0)?, message, failures: row.get(2)? });
        }
        taken.sort_by_key(|delivered| delivered.id);
        Ok(taken)
    }

    /// Acknowledges messages: they are gone.
    pub fn acknowledge(&self, ids: &[i64]) -> Result<(), ShopError> {
        let places = vec!["?"; ids.len()].join(", ");
        self.connection
            .execute(&format!("DELETE FROM queue WHERE id IN ({places})"), params_from_iter(ids))?;
        Ok(())
    }

    pub fn is_empty(&self) -> Result<bool, ShopError> {
        Ok(self.connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM queue)", [], |row| row.get(0))?)
    }
}

/// Opens a file of `SQLite`, for several connections. What is committed survives the process, whatever ends it.
pub fn open(file: &Path) -> Result<Connection, ShopError> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    Ok(connection)
}
