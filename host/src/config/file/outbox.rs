//! What a configuration file says of an outbox.

use std::path::Path;

use super::super::{OutboxConfig, OutboxDatabase, PostgresUrl};
use super::ConfigFileError;
use super::model::{resolve, set};
use super::table::Entry;

pub(super) fn read_outbox(entry: Entry<'_>, folder: &Path) -> Result<OutboxConfig, ConfigFileError> {
    let table =
        entry.table(&["sqlite", "postgres", "source", "topic", "topics", "after", "keep_for", "poll"])?;
    let database = match (table.get("sqlite"), table.get("postgres")) {
        (Some(_), Some(postgres)) => return Err(postgres.refuse_secret("either `sqlite` or `postgres`")),
        (_, Some(postgres)) => OutboxDatabase::Postgres(read_url(postgres, folder)?),
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

/// A URL, or where it is.
fn read_url(entry: Entry<'_>, folder: &Path) -> Result<PostgresUrl, ConfigFileError> {
    const ALLOWED: &str =
        "a URL such as `postgres://shop@localhost/shop`, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";
    if let Ok(text) = entry.string() {
        return Ok(PostgresUrl::Text(text.to_owned()));
    }
    // The value isn't repeated: it may hold a password.
    let wrong = entry.refuse_secret(ALLOWED);
    let Ok(table) = entry.table(&["env", "file"]) else { return Err(wrong) };
    match (table.get("env"), table.get("file")) {
        (Some(name), None) => Ok(PostgresUrl::Env(name.string()?.to_owned())),
        (None, Some(path)) => Ok(PostgresUrl::File(resolve(folder, path.string()?))),
        _ => Err(wrong),
    }
}
