//! What a configuration file says of an outbox.

use std::path::Path;

use super::super::{OutboxConfig, OutboxDatabase};
use super::ConfigFileError;
use super::model::set;
use super::program::{read_secret, resolve};
use super::table::Entry;

pub(super) fn read_outbox(entry: Entry<'_>, folder: &Path) -> Result<OutboxConfig, ConfigFileError> {
    let table =
        entry.table(&["sqlite", "postgres", "source", "topic", "topics", "after", "keep_for", "poll"])?;
    let database = match (table.get("sqlite"), table.get("postgres")) {
        (Some(_), Some(postgres)) => {
            return Err(postgres.refuse_presence("`sqlite` says where the outbox is already"));
        }
        (_, Some(postgres)) => OutboxDatabase::Postgres(read_secret(postgres, folder)?),
        (sqlite, None) => {
            let allowed = "the path of the application's database; with PostgreSQL, `postgres` is its URL";
            let sqlite = sqlite.map_or_else(|| table.require("sqlite", allowed), Ok)?;
            OutboxDatabase::Sqlite(resolve(folder, sqlite.string()?))
        }
    };
    let source = table.require("source", "the `source` of the events, a URI-reference such as `/shop`")?;
    let mut outbox = OutboxConfig::new(database, source.string()?);
    outbox.topic = table.get("topic").map(|topic| topic.string().map(str::to_owned)).transpose()?;
    set(&mut outbox.topics, table.get("topics"), Entry::strings)?;
    set(&mut outbox.after, table.get("after"), Entry::word)?;
    outbox.keep_for = table.get("keep_for").map(|age| age.duration()).transpose()?;
    set(&mut outbox.poll, table.get("poll"), Entry::duration)?;
    Ok(outbox)
}
