//! The calls on a connection.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Transaction};

use super::TABLES;
use crate::clock::Timestamp;
use crate::config::AfterPublish;
use crate::limits::{OUTBOX_COUNT_MAX, OUTBOX_FAILED_ROWS_MAX, OUTBOX_STEP_MAX};
use crate::outbox::history::History;
use crate::outbox::row::{Columns, Content, Row};
use crate::outbox::store::{Claim, FORMAT, ReadBounds, Settle, StoreError, signed, unsigned};
use crate::outbox::{Backlog, FailedRow, FailedRows};

/// A connection. It ends with this.
///
/// Statements travel in one piece with their parameters' types: nothing is prepared on the server, so that a pooler may
/// stand in between.
pub(super) struct Session {
    client: Client,
    connection: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// All that a row's columns take.
const SIZE: &str = "octet_length(id)::bigint + coalesce(octet_length(topic), 0) + octet_length(type) \
    + coalesce(octet_length(subject), 0) + coalesce(octet_length(partitionkey), 0) + coalesce(octet_length(source), 0) \
    + coalesce(octet_length(datacontenttype), 0) + coalesce(octet_length(dataschema), 0) \
    + coalesce(octet_length(extensions::text), 0) + coalesce(octet_length(data), 0) \
    + coalesce(octet_length(data_binary), 0)";

/// A moment as RFC 3339 has it, from microseconds since 1970 and back.
const RFC_3339: &str = r#"to_char(o.time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
const EPOCH: &str = "timestamptz 'epoch' + interval '1 microsecond' *";

impl Session {
    pub async fn connect(config: &Config) -> Result<Self, StoreError> {
        let (client, connection) = config.connect(NoTls).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                // The call that is being made says so too.
                tracing::debug!(%error, "the connection to an outbox's database broke");
            }
        });
        Ok(Self { client, connection: task.abort_handle() })
    }

    pub async fn create(&mut self) -> Result<bool, StoreError> {
        let transaction = self.client.transaction().await?;
        // Two that make the tables at once come one after the other.
        transaction.batch_execute("SELECT pg_advisory_xact_lock(8388346167643173989)").await?;
        let there = "SELECT to_regclass('tidegate.outbox_relay') IS NOT NULL";
        let there = transaction.query_typed_one(there, &[]).await?.try_get::<_, bool>(0)?;
        if !there {
            transaction.batch_execute(TABLES).await?;
        }
        transaction.commit().await?;
        Ok(!there)
    }

    pub async fn history(&self) -> Result<History, StoreError> {
        let found = "SELECT format, outbox, claimed, settled, position, \
             (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM tidegate.outbox_position) \
             FROM tidegate.outbox_relay";
        let row = self.client.query_typed_opt(found, &[]).await?.ok_or(StoreError::NoTables)?;
        let found = i64::from(row.try_get::<_, i32>(0)?);
        if found > FORMAT {
            return Err(StoreError::NewerFormat { found, known: FORMAT });
        }
        Ok(History {
            outbox: row.try_get(1)?,
            claimed: row.try_get(2)?,
            settled: row.try_get(3)?,
            position: unsigned(row.try_get(4)?),
            position_last: unsigned(row.try_get(5)?),
        })
    }

    pub async fn introduce(&mut self, token: &str) -> Result<(), StoreError> {
        let transaction = begin(&mut self.client).await?;
        let update = "UPDATE tidegate.outbox_relay SET claimed = $1, settled = $1 \
             WHERE settled IS NULL AND claimed IS NULL";
        only(transaction.execute_typed(update, &[text(&token)]).await?)?;
        Ok(transaction.commit().await?)
    }

    pub async fn read(&self, after: u64, bounds: ReadBounds) -> Result<Vec<Row>, StoreError> {
        // The sizes come first, so that no more is fetched than fits.
        let select = format!(
            "SELECT p.position, p.size, o.id, o.topic, o.type, o.subject, o.partitionkey, o.source, {RFC_3339}, \
                 o.datacontenttype, o.dataschema, o.extensions::text, o.data, o.data_binary \
             FROM ( \
                 SELECT position, size, \
                     sum(CASE WHEN size <= $4 THEN size ELSE 0 END) OVER (ORDER BY position) - size AS before \
                 FROM ( \
                     SELECT position, {SIZE} AS size FROM tidegate.outbox \
                     WHERE position > $1 AND failed IS NULL ORDER BY position LIMIT $2 \
                 ) sizes \
             ) p LEFT JOIN tidegate.outbox o ON o.position = p.position AND p.size <= $4 \
             WHERE p.before < $3 ORDER BY p.position"
        );
        let parameters: [Parameter<'_>; 4] = [
            (&signed(after), Type::INT8),
            (&i64::from(bounds.rows), Type::INT8),
            (&signed(bounds.bytes as u64), Type::INT8),
            (&signed(bounds.row_bytes as u64), Type::INT8),
        ];
        let found = self.client.query_typed(&select, &parameters).await?;
        let row = |row: &tokio_postgres::Row| -> Result<Row, StoreError> {
            let bytes = unsigned(row.try_get(1)?);
            let content =
                if bytes > bounds.row_bytes as u64 { Content::TooLarge { bytes } } else { content(row)? };
            Ok(Row { position: unsigned(row.try_get(0)?), content })
        };
        found.iter().map(row).collect()
    }

    pub async fn claim(&mut self, claim: &Claim) -> Result<(), StoreError> {
        let transaction = begin(&mut self.client).await?;
        let update = "UPDATE tidegate.outbox_relay SET claimed = $1 WHERE settled = $2 AND claimed = $3";
        let tokens = [text(&claim.token), text(&claim.settled), text(&claim.claimed)];
        only(transaction.execute_typed(update, &tokens).await?)?;
        for failure in &claim.failures {
            let update = "UPDATE tidegate.outbox SET failed = $1 WHERE position = $2";
            let position = signed(failure.position);
            transaction.execute_typed(update, &[text(&failure.reason), (&position, Type::INT8)]).await?;
        }
        Ok(transaction.commit().await?)
    }

    pub async fn settle(&mut self, settle: &Settle) -> Result<(), StoreError> {
        let (from, to, now) = (signed(settle.from), signed(settle.position), settle.now.0);
        let transaction = begin(&mut self.client).await?;
        let update = "UPDATE tidegate.outbox_relay SET settled = $1, position = $2 WHERE claimed = $1";
        only(transaction.execute_typed(update, &[text(&settle.token), (&to, Type::INT8)]).await?)?;
        let range = "WHERE position > $1 AND position <= $2 AND failed IS NULL";
        let range_of = [(&from as &(dyn ToSql + Sync), Type::INT8), (&to, Type::INT8)];
        match settle.after {
            AfterPublish::Keep => {
                let update = format!("UPDATE tidegate.outbox SET emitted = {EPOCH} $3 {range}");
                let parameters = [&range_of[..], &[(&now, Type::INT8)]].concat();
                transaction.execute_typed(&update, &parameters).await?
            }
            AfterPublish::Delete => {
                transaction.execute_typed(&format!("DELETE FROM tidegate.outbox {range}"), &range_of).await?
            }
        };
        Ok(transaction.commit().await?)
    }

    pub async fn purge(&mut self, before: Timestamp, rows_max: u32) -> Result<u64, StoreError> {
        // Positions rise with the time, so the oldest are the first: no more than those are looked at.
        let purge = format!(
            "DELETE FROM tidegate.outbox WHERE emitted < {EPOCH} $1 AND position IN ( \
                 SELECT position FROM tidegate.outbox \
                 WHERE emitted IS NOT NULL AND failed IS NULL \
                   AND position <= (SELECT position FROM tidegate.outbox_relay) \
                 ORDER BY position LIMIT $2)"
        );
        let parameters: [Parameter<'_>; 2] = [(&before.0, Type::INT8), (&i64::from(rows_max), Type::INT8)];
        let transaction = begin(&mut self.client).await?;
        let purged = transaction.execute_typed(&purge, &parameters).await?;
        transaction.commit().await?;
        Ok(purged)
    }

    pub async fn backlog(&self, after: u64) -> Result<Backlog, StoreError> {
        let select = format!(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM tidegate.outbox \
                     WHERE position > $1 AND failed IS NULL LIMIT {OUTBOX_COUNT_MAX}) waiting), \
                 (SELECT count(*) FROM (SELECT 1 FROM tidegate.outbox \
                     WHERE failed IS NOT NULL LIMIT {OUTBOX_COUNT_MAX}) failed), \
                 coalesce((SELECT (extract(epoch FROM clock_timestamp() - created) * 1000)::bigint FROM tidegate.outbox \
                     WHERE position > $1 AND failed IS NULL ORDER BY position LIMIT 1), 0)"
        );
        let row = self.client.query_typed_one(&select, &[(&signed(after), Type::INT8)]).await?;
        Ok(Backlog {
            waiting: unsigned(row.try_get(0)?),
            failed: unsigned(row.try_get(1)?),
            oldest: Duration::from_millis(unsigned(row.try_get(2)?)),
        })
    }

    pub async fn failed(&self, rows_max: u32) -> Result<Vec<FailedRow>, StoreError> {
        let select = "SELECT coalesce(position, 0), left(id, 256), failed FROM tidegate.outbox \
             WHERE failed IS NOT NULL ORDER BY position LIMIT $1";
        let limit = i64::from(rows_max.min(OUTBOX_FAILED_ROWS_MAX));
        let rows = self.client.query_typed(select, &[(&limit, Type::INT8)]).await?;
        let row = |row: &tokio_postgres::Row| -> Result<FailedRow, StoreError> {
            Ok(FailedRow {
                position: unsigned(row.try_get(0)?),
                id: row.try_get(1)?,
                failed: row.try_get(2)?,
            })
        };
        rows.iter().map(row).collect()
    }

    /// Without a position, a row gets the next one at the commit.
    pub async fn retry(&mut self, which: &FailedRows) -> Result<u64, StoreError> {
        let transaction = begin(&mut self.client).await?;
        let update =
            "UPDATE tidegate.outbox SET failed = NULL, position = NULL WHERE failed IS NOT NULL AND position";
        let retried = match which {
            FailedRows::At(positions) => {
                let positions: Vec<i64> = positions.iter().copied().map(signed).collect();
                let update = format!("{update} = ANY ($1)");
                transaction.execute_typed(&update, &[(&positions, Type::INT8_ARRAY)]).await?
            }
            FailedRows::All => {
                let update = format!(
                    "{update} IN (SELECT position FROM tidegate.outbox WHERE failed IS NOT NULL \
                     ORDER BY position LIMIT {OUTBOX_FAILED_ROWS_MAX})"
                );
                transaction.execute_typed(&update, &[]).await?
            }
        };
        transaction.commit().await?;
        Ok(retried)
    }

    pub async fn adopt(&mut self, token: &str) -> Result<(), StoreError> {
        let transaction = begin(&mut self.client).await?;
        let update = "UPDATE tidegate.outbox_relay SET claimed = $1, settled = $1";
        only(transaction.execute_typed(update, &[text(&token)]).await?)?;
        // Positions that begin anew go on behind what is published.
        transaction
            .batch_execute(
                "SELECT setval('tidegate.outbox_position', greatest(1, s.last_value, r.position))
                     FROM tidegate.outbox_position s, tidegate.outbox_relay r WHERE s.last_value < r.position",
            )
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// A transaction whose commit is on the disk when it returns, whatever the database's default, and whose locks go when this
/// side is gone without a word.
async fn begin(client: &mut Client) -> Result<Transaction<'_>, StoreError> {
    let transaction = client.transaction().await?;
    let settings = format!(
        "SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'; \
         SELECT set_config('idle_in_transaction_session_timeout', '{}', true)",
        OUTBOX_STEP_MAX.as_millis()
    );
    transaction.batch_execute(&settings).await?;
    Ok(transaction)
}

fn text(value: &(impl ToSql + Sync)) -> Parameter<'_> {
    (value, Type::TEXT)
}

/// Exactly the one row has been changed, or someone else has changed it.
fn only(changed: u64) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Overtaken) }
}

fn content(row: &tokio_postgres::Row) -> Result<Content, StoreError> {
    let id: Option<String> = row.try_get(2)?;
    let kind: Option<String> = row.try_get(4)?;
    let (Some(id), Some(kind)) = (id, kind) else {
        return Ok(Content::Unreadable { reason: "the row was removed while it was read".to_owned() });
    };
    Ok(Content::Columns(Box::new(Columns {
        id,
        topic: row.try_get(3)?,
        kind,
        subject: row.try_get(5)?,
        partitionkey: row.try_get(6)?,
        source: row.try_get(7)?,
        time: row.try_get(8)?,
        datacontenttype: row.try_get(9)?,
        dataschema: row.try_get(10)?,
        extensions: row.try_get(11)?,
        data: row.try_get(12)?,
        data_binary: row.try_get(13)?,
    })))
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME => {
                Self::NoTables
            }
            _ => Self::away(error),
        }
    }
}
