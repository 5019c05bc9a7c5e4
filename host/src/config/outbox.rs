//! Settings of an outbox: a table in an application's own database, whose rows go into the bus.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::error::Place;
use super::{ConfigError, Secret};
use crate::event::Event;
use crate::limits::{
    OUTBOX_KEEP_MIN, OUTBOX_POLL, OUTBOX_POLL_MAX, OUTBOX_POLL_MIN, OUTBOX_TOPICS_MAX, RETENTION_AGE_MAX,
};

/// Settings of an outbox: the database that it lies in, and what becomes of its rows.
///
/// ```
/// use std::time::Duration;
/// use tidegate::config::{AfterPublish, OutboxConfig};
///
/// let config = OutboxConfig::sqlite("/var/lib/shop/shop.db", "/shop")
///     .topic("orders")
///     .after(AfterPublish::Keep)
///     .keep_for(Duration::from_secs(7 * 24 * 3600));
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxConfig {
    /// The database.
    pub database: OutboxDatabase,
    /// The `source` of events whose row names none, a URI-reference.
    pub source: String,
    /// The topic of rows that name none. Without it, a row has to name one.
    pub topic: Option<String>,
    /// The topics that rows may go to, at most 256; none listed means any. The one above is always allowed.
    pub topics: Vec<String>,
    /// What becomes of a row once its event is published. By default it is deleted.
    pub after: AfterPublish,
    /// How long published rows are kept, where they are kept: at least 1 second, by default for ever.
    pub keep_for: Option<Duration>,
    /// The time between two looks into an empty outbox: 1 ms to 1 hour, by default 100 ms.
    pub poll: Duration,
}

impl OutboxConfig {
    /// The default settings for a database.
    #[must_use]
    pub fn new(database: OutboxDatabase, source: impl Into<String>) -> Self {
        Self {
            database,
            source: source.into(),
            topic: None,
            topics: Vec::new(),
            after: AfterPublish::default(),
            keep_for: None,
            poll: OUTBOX_POLL,
        }
    }

    /// The default settings for a file of `SQLite`.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>, source: impl Into<String>) -> Self {
        Self::new(OutboxDatabase::Sqlite(path.into()), source)
    }

    /// The default settings for a database of `PostgreSQL`, see [`OutboxDatabase::Postgres`].
    #[must_use]
    pub fn postgres(url: impl Into<Secret>, source: impl Into<String>) -> Self {
        Self::new(OutboxDatabase::Postgres(url.into()), source)
    }

    /// Sets [`topic`](Self::topic).
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Sets [`topics`](Self::topics).
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`after`](Self::after).
    #[must_use]
    pub fn after(mut self, after: AfterPublish) -> Self {
        self.after = after;
        self
    }

    /// Sets [`keep_for`](Self::keep_for).
    #[must_use]
    pub fn keep_for(mut self, age: Duration) -> Self {
        self.keep_for = Some(age);
        self
    }

    /// Sets [`poll`](Self::poll).
    #[must_use]
    pub fn poll(mut self, wait: Duration) -> Self {
        self.poll = wait;
        self
    }

    /// Checks the settings against their bounds. The database isn't opened.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        self.database.validate_at(place)?;
        if let Err(error) = Event::new("id", self.source.as_str(), "type").build() {
            let allowed = format!("a URI-reference such as `/shop` ({error})");
            return Err(ConfigError::invalid(
                place.at("source").path(),
                format!("{:?}", self.source),
                allowed,
            ));
        }
        if let Some(topic) = &self.topic {
            place.at("topic").check_name(topic)?;
        }
        let topics = place.at("topics");
        if self.topics.len() > OUTBOX_TOPICS_MAX {
            let value = format!("a list of {}", self.topics.len());
            let allowed = format!("at most {OUTBOX_TOPICS_MAX} names of topics");
            return Err(ConfigError::invalid(topics.path(), value, allowed));
        }
        self.topics.iter().try_for_each(|topic| topics.check_name(topic))?;
        if let Some(age) = self.keep_for {
            let keep_for = place.at("keep_for");
            if self.after != AfterPublish::Keep {
                let allowed = "only beside `after = \"keep\"`, as rows are deleted otherwise";
                return Err(ConfigError::invalid(keep_for.path(), "set", allowed));
            }
            keep_for.check_duration(age, OUTBOX_KEEP_MIN..=RETENTION_AGE_MAX)?;
        }
        place.at("poll").check_duration(self.poll, OUTBOX_POLL_MIN..=OUTBOX_POLL_MAX)
    }

    /// Whether a row may go to this topic.
    #[cfg_attr(
        not(any(feature = "outbox-sqlite", feature = "outbox-postgres")),
        allow(dead_code, reason = "only a relay asks")
    )]
    pub(crate) fn allows(&self, topic: &str) -> bool {
        self.topics.is_empty()
            || self.topic.as_deref() == Some(topic)
            || self.topics.iter().any(|allowed| allowed == topic)
    }
}

/// The database that an outbox lies in.
///
/// ```
/// use tidegate::config::{OutboxConfig, OutboxDatabase, Secret};
///
/// let database = OutboxDatabase::Sqlite("/var/lib/shop/shop.db".into());
/// assert_eq!(OutboxConfig::new(database, "/shop"), OutboxConfig::sqlite("/var/lib/shop/shop.db", "/shop"));
///
/// let url = Secret::Env("SHOP_DATABASE_URL".to_owned()); // read when the relay connects
/// OutboxConfig::new(OutboxDatabase::Postgres(url), "/shop").validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxDatabase {
    /// A file of `SQLite`. Needs the cargo feature `outbox-sqlite`.
    Sqlite(PathBuf),
    /// A database of `PostgreSQL`: its URL, `postgres://user:password@host:5432/database`, or settings such as
    /// `host=/run/postgresql user=shop dbname=shop`. It is read at each connect. Needs the cargo feature `outbox-postgres`.
    Postgres(Secret),
}

impl OutboxDatabase {
    /// Checks the settings. The database isn't opened.
    ///
    /// # Errors
    ///
    /// A setting is empty.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        match self {
            Self::Sqlite(path) if path.as_os_str().is_empty() => {
                let allowed = "the path of the application's database, relative to the configuration file";
                Err(ConfigError::invalid(place.at("sqlite").path(), "empty", allowed))
            }
            Self::Postgres(Secret::Value(url)) if url.trim().is_empty() => {
                let allowed = "a URL such as `postgres://shop@localhost/shop`";
                Err(ConfigError::invalid(place.at("postgres").path(), "empty", allowed))
            }
            Self::Sqlite(_) | Self::Postgres(_) => Ok(()),
        }
    }

    /// The refusal of a database that this build doesn't know; `None` where it does.
    #[cfg_attr(
        not(any(feature = "server", feature = "outbox-sqlite", feature = "outbox-postgres")),
        allow(dead_code, reason = "who reads configuration files, or outboxes, asks")
    )]
    pub(crate) fn unsupported(&self) -> Option<ConfigError> {
        let (key, feature, is_known) = match self {
            Self::Sqlite(_) => ("sqlite", "outbox-sqlite", cfg!(feature = "outbox-sqlite")),
            Self::Postgres(_) => ("postgres", "outbox-postgres", cfg!(feature = "outbox-postgres")),
        };
        let allowed = format!(
            "nothing, as this build of tidegate is without the cargo feature `{feature}`: build it with that"
        );
        (!is_known).then(|| ConfigError::invalid(key.to_owned(), "set", allowed))
    }
}

/// What becomes of a row once its event is published.
///
/// ```
/// use tidegate::config::AfterPublish;
///
/// assert_eq!("keep".parse(), Ok(AfterPublish::Keep));
/// assert_eq!(AfterPublish::default(), AfterPublish::Delete);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterPublish {
    /// It is deleted. The default.
    #[default]
    Delete,
    /// It stays, with the time in its column `emitted`.
    Keep,
}

impl FromStr for AfterPublish {
    type Err = &'static str;

    /// Reads the word of the configuration file; the error says which words there are.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "delete" => Ok(Self::Delete),
            "keep" => Ok(Self::Keep),
            _ => Err("`delete` or `keep`"),
        }
    }
}

impl fmt::Display for AfterPublish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Keep => "keep",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let config = OutboxConfig::postgres("postgres://shop:secret@db/shop", "/shop");
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn each_setting_is_held_to_its_bounds() {
        let base = || OutboxConfig::sqlite("shop.db", "/shop");
        base().validate().unwrap();
        for (wrong, key) in [
            (OutboxConfig::sqlite("", "/shop"), "sqlite"),
            (OutboxConfig::sqlite("shop.db", "not a URI"), "source"),
            (OutboxConfig::sqlite("shop.db", ""), "source"),
            (base().topic("$a"), "topic"),
            (base().topics(["a", "b c"]), "topics"),
            (base().topics(vec!["a"; OUTBOX_TOPICS_MAX + 1]), "topics"),
            (base().keep_for(Duration::from_mins(1)), "keep_for"),
            (base().after(AfterPublish::Keep).keep_for(Duration::ZERO), "keep_for"),
            (base().poll(Duration::ZERO), "poll"),
        ] {
            assert_eq!(wrong.validate().unwrap_err().key(), key);
        }
    }

    #[test]
    fn a_build_without_the_feature_names_it() {
        let unsupported = OutboxConfig::postgres("postgres://db/shop", "/shop").database.unsupported();
        assert_eq!(unsupported.is_none(), cfg!(feature = "outbox-postgres"));
        assert!(unsupported.is_none_or(|error| error.to_string().contains("`outbox-postgres`")));
    }
}
