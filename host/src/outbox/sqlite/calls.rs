//! The calls on a connection.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::TABLES;
use crate::clock::Timestamp;
use crate::config::AfterPublish;
use crate::limits::{OUTBOX_BUSY_MAX, OUTBOX_COUNT_MAX, OUTBOX_FAILED_ROWS_MAX};
use crate::outbox::history::History;
use crate::outbox::row::{Columns, Content, Row};
use crate::outbox::store::{Claim, FORMAT, ReadBounds, Settle, StoreError, signed, unsigned};
use crate::outbox::{Backlog, FailedRow, FailedRows};

/// A connection to a file, and what it has seen.
pub(in crate::outbox) struct Session {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    /// Which file it is: another one may have taken its place.
    file: Option<FileId>,
    /// The database's version before the last read.
    seen: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Text columns, in the order in which they are read.
const COLUMNS: &str =
    "id, topic, type, subject, partitionkey, source, time, datacontenttype, dataschema, extensions, data";

/// All that a row's columns take, without reading them.
const SIZE: &str = "octet_length(id) + coalesce(octet_length(topic), 0) + octet_length(type) \
    + coalesce(octet_length(subject), 0) + coalesce(octet_length(partitionkey), 0) + coalesce(octet_length(source), 0) \
    + coalesce(octet_length(time), 0) + coalesce(octet_length(datacontenttype), 0) \
    + coalesce(octet_length(dataschema), 0) + coalesce(octet_length(extensions), 0) \
    + coalesce(octet_length(data), 0) + coalesce(octet_length(data_binary), 0)";

impl Session {
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub fn connect(&mut self, create: bool) -> Result<(), StoreError> {
        self.open = None;
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(OUTBOX_BUSY_MAX)?;
        // What this connection commits is on the disk, and all that was committed before with it, whatever the
        // application's own setting: the bus must not know of rows that a power cut takes back. `EXTRA` syncs the folder
        // too, when a rollback journal is removed from it.
        connection.pragma_update(None, "synchronous", "EXTRA")?;
        self.open = Some(Open { connection, file: FileId::of(&self.path), seen: None });
        Ok(())
    }

    fn open(&mut self) -> Result<&mut Open, StoreError> {
        self.open.as_mut().ok_or_else(|| StoreError::away_because("the database isn't open"))
    }

    /// Does something in a write transaction. It has the write lock from the start, so it can't be refused half-way.
    fn write<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = &mut self.open()?.connection;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcome = write(&transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }

    pub fn create(&mut self) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let there =
                "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'tidegate_outbox_relay'";
            if transaction.query_row(there, [], |row| row.get::<_, i64>(0))? > 0 {
                return Ok(false);
            }
            transaction.execute_batch(TABLES)?;
            Ok(true)
        })
    }

    pub fn history(&mut self) -> Result<History, StoreError> {
        let connection = &self.open()?.connection;
        let found = "SELECT format, outbox, claimed, settled, position, \
             coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'tidegate_outbox'), 0), \
             coalesce((SELECT max(position) FROM tidegate_outbox), 0) FROM tidegate_outbox_relay";
        let row = connection.query_row(found, [], |row| {
            let history = History {
                outbox: row.get(1)?,
                claimed: row.get(2)?,
                settled: row.get(3)?,
                position: unsigned(row.get(4)?),
                position_last: unsigned(row.get::<_, i64>(5)?.max(row.get(6)?)),
            };
            Ok((row.get::<_, i64>(0)?, history))
        });
        let (found, history) = row.optional()?.ok_or(StoreError::NoTables)?;
        if found > FORMAT {
            return Err(StoreError::NewerFormat { found, known: FORMAT });
        }
        Ok(history)
    }

    pub fn introduce(&mut self, token: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            let update = "UPDATE tidegate_outbox_relay SET claimed = ?1, settled = ?1 \
                 WHERE settled IS NULL AND claimed IS NULL";
            only(transaction.execute(update, [token])?)
        })
    }

    /// Whether another connection has committed something since before the last read.
    pub fn has_changed(&mut self) -> Result<bool, StoreError> {
        let file = FileId::of(&self.path);
        let open = self.open()?;
        if file != open.file {
            return Err(StoreError::away_because("another file has taken the database's place"));
        }
        Ok(open.seen != Some(version(&open.connection)?))
    }

    pub fn read(&mut self, after: u64, bounds: ReadBounds) -> Result<Vec<Row>, StoreError> {
        let open = self.open()?;
        // Looked at first: what is committed in between is then read again, and not missed.
        let seen = version(&open.connection)?;
        let select = format!(
            "SELECT position, {SIZE}, {COLUMNS}, data_binary FROM tidegate_outbox \
             WHERE position > ?1 AND failed IS NULL ORDER BY position LIMIT ?2"
        );
        let mut statement = open.connection.prepare(&select)?;
        let mut found = statement.query(params![signed(after), bounds.rows])?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while bytes < bounds.bytes {
            let Some(row) = found.next()? else { break };
            let size = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
            let content = if size > bounds.row_bytes {
                Content::TooLarge { bytes: size as u64 }
            } else {
                bytes += size;
                content(row)?
            };
            rows.push(Row { position: unsigned(row.get(0)?), content });
        }
        open.seen = Some(seen);
        Ok(rows)
    }

    pub fn claim(&mut self, claim: &Claim) -> Result<(), StoreError> {
        self.write(|transaction| {
            let update = "UPDATE tidegate_outbox_relay SET claimed = ?1 WHERE settled = ?2 AND claimed = ?3";
            only(transaction.execute(update, [&claim.token, &claim.settled, &claim.claimed])?)?;
            let mut update =
                transaction.prepare("UPDATE tidegate_outbox SET failed = ?1 WHERE position = ?2")?;
            for failure in &claim.failures {
                update.execute(params![failure.reason, signed(failure.position)])?;
            }
            Ok(())
        })
    }

    pub fn settle(&mut self, settle: &Settle) -> Result<(), StoreError> {
        self.write(|transaction| {
            let update = "UPDATE tidegate_outbox_relay SET settled = ?1, position = ?2 WHERE claimed = ?1";
            only(transaction.execute(update, params![settle.token, signed(settle.position)])?)?;
            let (from, to) = (signed(settle.from), signed(settle.position));
            match settle.after {
                AfterPublish::Keep => transaction.execute(
                    "UPDATE tidegate_outbox SET emitted = ?1 WHERE position > ?2 AND position <= ?3 AND failed IS NULL",
                    params![millis(settle.now), from, to],
                )?,
                AfterPublish::Delete => transaction.execute(
                    "DELETE FROM tidegate_outbox WHERE position > ?1 AND position <= ?2 AND failed IS NULL",
                    params![from, to],
                )?,
            };
            Ok(())
        })
    }

    pub fn purge(&mut self, before: Timestamp, rows_max: u32) -> Result<u64, StoreError> {
        // Positions rise with the time, so the oldest are the first: no more than those are looked at.
        let purge = "DELETE FROM tidegate_outbox WHERE emitted < ?1 AND position IN ( \
                 SELECT position FROM tidegate_outbox \
                 WHERE emitted IS NOT NULL AND failed IS NULL \
                   AND position <= (SELECT position FROM tidegate_outbox_relay) \
                 ORDER BY position LIMIT ?2)";
        self.write(|transaction| Ok(transaction.execute(purge, params![millis(before), rows_max])? as u64))
    }

    pub fn backlog(&mut self, after: u64) -> Result<Backlog, StoreError> {
        let connection = &self.open()?.connection;
        let count = |select: &str, after: i64| -> Result<u64, StoreError> {
            let select = format!("SELECT count(*) FROM ({select} LIMIT {OUTBOX_COUNT_MAX})");
            Ok(unsigned(connection.query_row(&select, [after], |row| row.get(0))?))
        };
        let waiting = "SELECT 1 FROM tidegate_outbox WHERE position > ?1 AND failed IS NULL";
        let failed = "SELECT 1 FROM tidegate_outbox WHERE position > ?1 AND failed IS NOT NULL";
        let oldest = "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - created \
             FROM tidegate_outbox WHERE position > ?1 AND failed IS NULL ORDER BY position LIMIT 1";
        let oldest = connection.query_row(oldest, [signed(after)], |row| row.get(0)).optional()?;
        Ok(Backlog {
            waiting: count(waiting, signed(after))?,
            oldest: Duration::from_millis(unsigned(oldest.unwrap_or(0))),
            failed: count(failed, -1)?,
        })
    }

    pub fn failed(&mut self, rows_max: u32) -> Result<Vec<FailedRow>, StoreError> {
        let connection = &self.open()?.connection;
        let mut statement = connection.prepare(
            "SELECT position, substr(CAST(id AS TEXT), 1, 256), failed FROM tidegate_outbox \
             WHERE failed IS NOT NULL ORDER BY position LIMIT ?1",
        )?;
        let rows = statement.query_map([rows_max.min(OUTBOX_FAILED_ROWS_MAX)], |row| {
            let failed: String = row.get(2)?;
            Ok(FailedRow { position: unsigned(row.get(0)?), id: lossy(row.get_ref(1)?), failed })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn retry(&mut self, which: &FailedRows) -> Result<u64, StoreError> {
        // What this connection itself commits doesn't change the version.
        self.open()?.seen = None;
        self.write(|transaction| {
            let positions: Vec<i64> = match which {
                FailedRows::At(positions) => positions.iter().copied().map(signed).collect(),
                FailedRows::All => {
                    let mut statement = transaction.prepare(
                        "SELECT position FROM tidegate_outbox WHERE failed IS NOT NULL ORDER BY position LIMIT ?1",
                    )?;
                    let positions = statement.query_map([OUTBOX_FAILED_ROWS_MAX], |row| row.get(0))?;
                    positions.collect::<Result<_, _>>()?
                }
            };
            let mut retried = 0;
            for position in positions {
                // A row keeps its id, and gets the next position: the bus has passed its old one.
                let moved = transaction.execute(
                    "UPDATE tidegate_outbox SET failed = NULL, position = \
                         1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'tidegate_outbox'), 0) \
                     WHERE position = ?1 AND failed IS NOT NULL",
                    [position],
                )?;
                if moved > 0 {
                    transaction.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'tidegate_outbox'", [])?;
                    retried += 1;
                }
            }
            Ok(retried)
        })
    }

    pub fn adopt(&mut self, token: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            let update = "UPDATE tidegate_outbox_relay SET claimed = ?1, settled = ?1";
            only(transaction.execute(update, [token])?)?;
            // Positions that begin anew go on behind what is published.
            Ok(transaction.execute_batch(
                "UPDATE sqlite_sequence SET seq = max(seq, (SELECT position FROM tidegate_outbox_relay))
                     WHERE name = 'tidegate_outbox';
                 INSERT INTO sqlite_sequence (name, seq)
                     SELECT 'tidegate_outbox', position FROM tidegate_outbox_relay
                     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'tidegate_outbox');",
            )?)
        })
    }
}

/// A number that changes when another connection commits something.
fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

/// Exactly the one row has been changed, or someone else has changed it.
fn only(changed: usize) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Overtaken) }
}

fn millis(moment: Timestamp) -> i64 {
    moment.0.div_euclid(1000)
}

/// A row's columns, which may hold anything: `SQLite` doesn't hold a column to its type.
fn content(row: &rusqlite::Row<'_>) -> Result<Content, StoreError> {
    const NAMES: [&str; 11] = [
        "id",
        "topic",
        "type",
        "subject",
        "partitionkey",
        "source",
        "time",
        "datacontenttype",
        "dataschema",
        "extensions",
        "data",
    ];
    let mut texts: [Option<String>; NAMES.len()] = Default::default();
    let mut data_binary = None;
    for (at, name) in NAMES.into_iter().enumerate() {
        match row.get_ref(2 + at)? {
            ValueRef::Null => {}
            ValueRef::Integer(number) => texts[at] = Some(number.to_string()),
            ValueRef::Real(number) => texts[at] = Some(number.to_string()),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => texts[at] = Some(text.to_owned()),
                Err(error) => {
                    return Ok(Content::Unreadable { reason: format!("`{name}` is no UTF-8: {error}") });
                }
            },
            ValueRef::Blob(bytes) if name == "data" => data_binary = Some(bytes.to_vec()),
            ValueRef::Blob(_) => {
                return Ok(Content::Unreadable { reason: format!("`{name}` is a BLOB, and has to be TEXT") });
            }
        }
    }
    match row.get_ref(2 + NAMES.len())? {
        ValueRef::Null => {}
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => data_binary = Some(bytes.to_vec()),
        ValueRef::Integer(_) | ValueRef::Real(_) => {
            return Ok(Content::Unreadable {
                reason: "`data_binary` is a number, and has to be a BLOB".to_owned(),
            });
        }
    }
    let [id, topic, kind, subject, partitionkey, source, time, datacontenttype, dataschema, extensions, data] =
        texts;
    Ok(Content::Columns(Box::new(Columns {
        id: id.unwrap_or_default(),
        topic,
        kind: kind.unwrap_or_default(),
        subject,
        partitionkey,
        source,
        time,
        datacontenttype,
        dataschema,
        extensions,
        data,
        data_binary,
    })))
}

fn lossy(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Null => String::new(),
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let message = match &error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            rusqlite::Error::SqlInputError { msg, .. } => msg,
            _ => return Self::away(error),
        };
        let is_missing = ["tidegate_outbox", "sqlite_sequence"]
            .iter()
            .any(|table| message.starts_with(&format!("no such table: {table}")));
        if is_missing { Self::NoTables } else { Self::away(error) }
    }
}
