//! What a configuration file says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::super::error::Place;
use super::super::{
    BusConfig, ConfigError, ConsumerConfig, Dedup, OutboxConfig, ProgramConfig, Retention, RetryPolicy,
    SchemasConfig, TopicConfig, UpcasterConfig,
};
use super::ConfigFileError;
use super::document::Document;
use super::outbox::read_outbox;
use super::program::{PROGRAM_SETTINGS, default_retry, read_program};
use super::schemas::read_schemas;
use super::table::{Entry, Table};
use super::upcaster::read_upcaster;
use crate::limits::{CONFIG_BYTES_MAX, OUTBOXES_MAX, TOPICS_MAX, UPCASTERS_MAX};

/// What a configuration file says, checked.
///
/// ```
/// # use tidegate::config::{Config, Order, ProgramConfig};
/// # use std::path::Path;
/// let text = r#"
///     [topics.quakes]
///     partitions = 12
///     [consumers.alerts]
///     plugin = "plugins/quake_alerts.wasm"
///     topics = ["quakes"]
/// "#;
/// let config = Config::from_toml(text, Path::new("/srv/tidegate.toml"))?;
/// let (consumer, program) = &config.consumers["alerts"];
/// assert_eq!(consumer.order, Order::Key);
/// assert!(matches!(program, ProgramConfig::Plugin(plugin) if plugin.component == Path::new("/srv/plugins/quake_alerts.wasm")));
/// # Ok::<(), tidegate::config::ConfigFileError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Settings of the bus as a whole.
    pub bus: BusConfig,
    /// The schemas that come along, where there are any.
    pub schemas: Option<SchemasConfig>,
    /// The topics, by name.
    pub topics: BTreeMap<String, TopicConfig>,
    /// The consumers with what runs them, by name. Paths are relative to the current directory or absolute, as the file's
    /// own path was.
    pub consumers: BTreeMap<String, (ConsumerConfig, ProgramConfig)>,
    /// The upcasters, by name. Paths are as those of the consumers.
    pub upcasters: BTreeMap<String, UpcasterConfig>,
    /// The outboxes that are published from, by name. Paths are as those of the consumers.
    pub outboxes: BTreeMap<String, OutboxConfig>,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// The file could not be read or is over 4 MiB; it is not TOML; it has a setting that there isn't; a setting is
    /// missing or out of its bounds; a consumer's topics have unequal numbers of partitions.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigFileError> {
        let path = path.as_ref();
        let text =
            read_bounded(path).map_err(|source| ConfigFileError::Read { path: path.to_owned(), source })?;
        let bytes_max = CONFIG_BYTES_MAX;
        let text = text.ok_or(ConfigFileError::TooLarge { path: path.to_owned(), bytes_max })?;
        Self::from_toml(&text, path)
    }

    /// Reads the text of a configuration file. Errors name `path`, and paths in the text are relative to its folder.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file), but for reading.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigFileError> {
        let document = Document::new(path, text);
        let parsed = document.parse()?;
        let known = ["bus", "schemas", "topics", "upcasters", "consumers", "outboxes"];
        let root = Table::root(&document, parsed.get_ref(), &known)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut config = Self::default();
        if let Some(bus) = root.get("bus") {
            config.bus = read_bus(bus)?;
        }
        config.schemas = root.get("schemas").map(|schemas| read_schemas(schemas, folder)).transpose()?;
        if let Some(topics) = root.get("topics") {
            for (name, topic) in topics.free_table()?.entries() {
                config.topics.insert(name.to_owned(), read_topic(topic)?);
            }
        }
        if let Some(upcasters) = root.get("upcasters") {
            for (name, upcaster) in upcasters.free_table()?.entries() {
                config.upcasters.insert(name.to_owned(), read_upcaster(upcaster, folder)?);
            }
        }
        if let Some(consumers) = root.get("consumers") {
            for (name, consumer) in consumers.free_table()?.entries() {
                config.consumers.insert(name.to_owned(), read_consumer(consumer, folder)?);
            }
        }
        if let Some(outboxes) = root.get("outboxes") {
            for (name, outbox) in outboxes.free_table()?.entries() {
                config.outboxes.insert(name.to_owned(), read_outbox(outbox, folder)?);
            }
        }
        config.validate().map_err(|error| document.refuse(error))?;
        Ok(config)
    }

    /// The commented file that `tidegate init` writes: one topic, and every setting with its default, or with an example
    /// where there is none.
    pub fn template() -> &'static str {
        include_str!("template.toml")
    }

    /// Checks all settings against their bounds and against each other.
    ///
    /// # Errors
    ///
    /// The first setting that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let root = Place::ROOT;
        self.bus.validate_at(&root.at("bus"))?;
        if let Some(schemas) = &self.schemas {
            schemas.validate_at(&root.at("schemas"))?;
        }
        let topics = root.at("topics");
        if self.topics.len() > TOPICS_MAX {
            let (count, allowed) = (self.topics.len(), format!("at most {TOPICS_MAX} topics"));
            return Err(ConfigError::invalid(topics.path(), format!("a table of {count}"), allowed));
        }
        for (name, topic) in &self.topics {
            let place = topics.at(name);
            place.check_name(name)?;
            topic.validate_at(&place)?;
        }
        let upcasters = root.at("upcasters");
        if self.upcasters.len() > UPCASTERS_MAX {
            let (count, allowed) = (self.upcasters.len(), format!("at most {UPCASTERS_MAX} upcasters"));
            return Err(ConfigError::invalid(upcasters.path(), format!("a table of {count}"), allowed));
        }
        for (name, upcaster) in &self.upcasters {
            let place = upcasters.at(name);
            place.check_name(name)?;
            upcaster.validate_at(&place)?;
        }
        let consumers = root.at("consumers");
        for (name, (consumer, program)) in &self.consumers {
            let place = consumers.at(name);
            place.check_name(name)?;
            consumer.validate_at(&place)?;
            program.validate_at(&place)?;
            self.check_partitions(name, consumer)?;
        }
        let outboxes = root.at("outboxes");
        if self.outboxes.len() > OUTBOXES_MAX {
            let (count, allowed) = (self.outboxes.len(), format!("at most {OUTBOXES_MAX} outboxes"));
            return Err(ConfigError::invalid(outboxes.path(), format!("a table of {count}"), allowed));
        }
        for (name, outbox) in &self.outboxes {
            let place = outboxes.at(name);
            place.check_name(name)?;
            outbox.validate_at(&place)?;
        }
        Ok(())
    }

    /// A lane merges one partition of each of its consumer's topics. Of topics that the file doesn't declare, the bus
    /// knows.
    fn check_partitions(&self, consumer: &str, config: &ConsumerConfig) -> Result<(), ConfigError> {
        let mut declared =
            config.topics.iter().filter_map(|name| Some((name, self.topics.get(name)?.partitions)));
        let Some((topic, partitions)) = declared.next() else {
            return Ok(());
        };
        match declared.find(|(_, other)| *other != partitions) {
            None => Ok(()),
            Some((other_topic, other_partitions)) => Err(ConfigError::UnequalPartitions {
                consumer: consumer.to_owned(),
                topic: topic.clone(),
                partitions,
                other_topic: other_topic.clone(),
                other_partitions,
            }),
        }
    }
}

/// The text of a file, or nothing where it is too large.
fn read_bounded(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    let read = File::open(path)?.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok((read as u64 <= CONFIG_BYTES_MAX).then_some(text))
}

fn read_bus(entry: Entry<'_>) -> Result<BusConfig, ConfigFileError> {
    let table = entry.table(&[
        "commit",
        "event_bytes_max",
        "cache_bytes",
        "journal_bytes",
        "free_bytes_min",
        "blobs_bytes_max",
    ])?;
    let mut bus = BusConfig::default();
    set(&mut bus.commit, table.get("commit"), Entry::word)?;
    set(&mut bus.event_bytes_max, table.get("event_bytes_max"), Entry::memory_bytes)?;
    set(&mut bus.cache_bytes, table.get("cache_bytes"), Entry::memory_bytes)?;
    set(&mut bus.journal_bytes, table.get("journal_bytes"), Entry::memory_bytes)?;
    set(&mut bus.free_bytes_min, table.get("free_bytes_min"), Entry::bytes)?;
    set(&mut bus.blobs_bytes_max, table.get("blobs_bytes_max"), Entry::bytes)?;
    Ok(bus)
}

fn read_topic(entry: Entry<'_>) -> Result<TopicConfig, ConfigFileError> {
    let table =
        entry.table(&["partitions", "retention", "dedup", "sequence", "schemas", "claim_check_over"])?;
    let mut topic = TopicConfig::default();
    set(&mut topic.partitions, table.get("partitions"), Entry::number)?;
    if let Some(entry) = table.get("retention") {
        topic.retention = read_retention(entry)?;
    }
    if let Some(entry) = table.get("dedup") {
        topic.dedup = read_dedup(entry)?;
    }
    set(&mut topic.sequence, table.get("sequence"), Entry::boolean)?;
    set(&mut topic.schemas, table.get("schemas"), Entry::word)?;
    topic.claim_check_over = table.get("claim_check_over").map(|over| over.memory_bytes()).transpose()?;
    Ok(topic)
}

fn read_retention(entry: Entry<'_>) -> Result<Retention, ConfigFileError> {
    let table = entry.table(&["age", "bytes", "force"])?;
    Ok(Retention {
        age: table.get("age").map(|age| age.duration()).transpose()?,
        bytes: table.get("bytes").map(|bytes| bytes.bytes()).transpose()?,
        force: table.get("force").map_or(Ok(false), |force| force.boolean())?,
    })
}

fn read_dedup(entry: Entry<'_>) -> Result<Dedup, ConfigFileError> {
    let table = entry.table(&["age", "count"])?;
    let mut dedup = Dedup::default();
    set(&mut dedup.age, table.get("age"), Entry::duration)?;
    set(&mut dedup.count, table.get("count"), Entry::number)?;
    Ok(dedup)
}

fn read_consumer(
    entry: Entry<'_>,
    folder: &Path,
) -> Result<(ConsumerConfig, ProgramConfig), ConfigFileError> {
    const OWN_SETTINGS: [&str; 8] =
        ["topics", "order", "start", "held_max", "on_dead_letter", "retry", "paused", "dataref_over"];
    let table = entry.table(&[&PROGRAM_SETTINGS[..], &OWN_SETTINGS].concat())?;
    let topics = table.require("topics", "a list of the topics that the consumer reads")?;
    let mut consumer = ConsumerConfig::new(topics.strings::<Vec<String>>()?);
    let program = read_program(&table, folder)?;
    consumer.retry = default_retry(&program);
    set(&mut consumer.order, table.get("order"), Entry::word)?;
    set(&mut consumer.start, table.get("start"), Entry::word)?;
    set(&mut consumer.held_max, table.get("held_max"), Entry::number)?;
    set(&mut consumer.on_dead_letter, table.get("on_dead_letter"), Entry::word)?;
    set(&mut consumer.paused, table.get("paused"), Entry::boolean)?;
    consumer.dataref_over = table.get("dataref_over").map(|over| over.bytes()).transpose()?;
    if let Some(entry) = table.get("retry") {
        read_retry(entry, &mut consumer.retry)?;
    }
    Ok((consumer, program))
}

fn read_retry(entry: Entry<'_>, retry: &mut RetryPolicy) -> Result<(), ConfigFileError> {
    let table = entry.table(&["attempts", "base", "max", "age"])?;
    set(&mut retry.attempts, table.get("attempts"), Entry::number)?;
    set(&mut retry.base, table.get("base"), Entry::duration)?;
    set(&mut retry.max, table.get("max"), Entry::duration)?;
    set(&mut retry.age, table.get("age"), Entry::duration)
}

/// Overwrites a default where the file says otherwise.
pub(super) fn set<'a, T>(
    setting: &mut T,
    entry: Option<Entry<'a>>,
    read: impl FnOnce(&Entry<'a>) -> Result<T, ConfigFileError>,
) -> Result<(), ConfigFileError> {
    if let Some(entry) = entry {
        *setting = read(&entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
