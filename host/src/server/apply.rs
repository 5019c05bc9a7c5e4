//! Bringing a running bus to what a configuration says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{outboxes, schemas, upcasters};
use crate::bus::{Bus, ConsumerKind, ConsumerStatus, TopicStatus};
use crate::config::{Config, ConsumerConfig, ProgramConfig, TopicConfig};

/// What [`apply`] has done.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// # let file = directory.path().join("tidegate.toml");
/// # std::fs::write(&file, "[topics.orders]\npartitions = 4\n")?;
/// let config = tidegate::config::Config::from_file(&file)?;
/// let applied = tidegate::server::apply(&bus, &config).await;
/// for change in &applied.changes {
///     println!("{change}");
/// }
/// assert!(applied.refused.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// What was changed, in order.
    pub changes: Vec<Change>,
    /// What was refused. It stays as it was; all else was changed all the same.
    pub refused: Vec<Refused>,
}

/// A change.
///
/// ```
/// use tidegate::server::Change;
///
/// assert_eq!(Change::TopicCreated("orders".into()).to_string(), "topic `orders` created");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Change {
    /// A schema was registered, of this event type.
    SchemaRegistered(String),
    /// A subject of schemas is held to another compatibility mode.
    SubjectChanged(String),
    /// A topic was created.
    TopicCreated(String),
    /// A topic got other settings.
    TopicChanged(String),
    /// A consumer was started.
    ConsumerStarted(String),
    /// A consumer got other settings, or is run by something else.
    ConsumerChanged(String),
    /// A consumer was ended; what it has stays until it is forgotten.
    ConsumerDetached(String),
    /// An upcaster was started.
    UpcasterStarted(String),
    /// An upcaster got other settings.
    UpcasterChanged(String),
    /// An upcaster was ended: consumers see the events that it lifted as they were published.
    UpcasterStopped(String),
    /// An outbox is published from.
    OutboxStarted(String),
    /// An outbox got other settings.
    OutboxChanged(String),
    /// An outbox isn't published from any more; its rows wait in its table.
    OutboxStopped(String),
    /// Settings of the bus as a whole differ from those that it was opened with: they take effect when it is opened
    /// again.
    BusWhenOpenedAgain,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SchemaRegistered(name) => write!(f, "schema `{name}` registered"),
            Self::SubjectChanged(name) => write!(f, "schemas of `{name}` changed their compatibility mode"),
            Self::TopicCreated(name) => write!(f, "topic `{name}` created"),
            Self::TopicChanged(name) => write!(f, "topic `{name}` changed"),
            Self::ConsumerStarted(name) => write!(f, "consumer `{name}` started"),
            Self::ConsumerChanged(name) => write!(f, "consumer `{name}` changed"),
            Self::ConsumerDetached(name) => write!(
                f,
                "consumer `{name}` ended: the configuration doesn't name it any more; its progress, state and dead \
                 letters stay until `tidegate consumers forget {name}`"
            ),
            Self::UpcasterStarted(name) => write!(f, "upcaster `{name}` started"),
            Self::UpcasterChanged(name) => write!(f, "upcaster `{name}` changed"),
            Self::UpcasterStopped(name) => write!(
                f,
                "upcaster `{name}` ended: the configuration doesn't name it any more; consumers see what it lifted as it was \
                 published"
            ),
            Self::OutboxStarted(name) => write!(f, "outbox `{name}` started"),
            Self::OutboxChanged(name) => write!(f, "outbox `{name}` changed"),
            Self::OutboxStopped(name) => write!(
                f,
                "outbox `{name}` ended: the configuration doesn't name it any more; its rows wait in its table"
            ),
            Self::BusWhenOpenedAgain => f.write_str("the settings in `[bus]` take effect at the next start"),
        }
    }
}

/// A topic, an upcaster, a consumer, an outbox or the schemas that stay as they were.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// # let file = directory.path().join("tidegate.toml");
/// # let consumer = "[consumers.big]\nplugin = 'none.wasm'\ntopics = ['orders']\n";
/// # std::fs::write(&file, format!("[topics.orders]\n{consumer}"))?;
/// let config = tidegate::config::Config::from_file(&file)?;
/// let applied = tidegate::server::apply(&bus, &config).await;
/// assert_eq!(applied.refused[0].what, "consumer `big`", "its plugin isn't there");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refused {
    /// Which: ``topic `quakes` ``, ``upcaster `orders` ``, ``consumer `alerts` ``, ``outbox `shop` ``, ``schema `OrderPlaced.v2` ``
    /// or `schemas`.
    pub what: String,
    /// Why, and what to do.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Most errors name the thing themselves.
        if self.why.contains(&self.what) {
            f.write_str(&self.why)
        } else {
            write!(f, "{}: {}", self.what, self.why)
        }
    }
}

/// Brings a bus to what a configuration says: registers its schemas, as [`apply_schemas`](super::apply_schemas) does; creates and
/// changes topics; starts, changes and ends the upcasters, the consumers and the outboxes that it names. Native upcasters and
/// consumers are left alone. What the configuration says already is left as it is, so that a
/// consumer doesn't notice when another one changes.
///
/// What is refused stays as it was and doesn't hold up the rest: a bus with ten consumers goes on with nine when one
/// plugin is missing. Topics that the configuration doesn't name stay. While an upcaster that the configuration names could not be
/// started, no consumer is: it would see events as they were published.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// # let file = directory.path().join("tidegate.toml");
/// # std::fs::write(&file, "[topics.orders]\npartitions = 4\n")?;
/// let config = tidegate::config::Config::from_file(&file)?;
/// let applied = tidegate::server::apply(&bus, &config).await;
/// assert_eq!((applied.changes.len(), applied.refused.len()), (1, 0));
/// let again = tidegate::server::apply(&bus, &config).await;
/// assert!(again.changes.is_empty(), "it is so already");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn apply(bus: &Bus, config: &Config) -> Applied {
    let mut applied = Applied::default();
    let consumers = bus.consumers().unwrap_or_else(|error| {
        applied.refused.push(Refused { what: "the list of consumers".to_owned(), why: error.to_string() });
        Vec::new()
    });
    if *bus.config() != config.bus {
        applied.changes.push(Change::BusWhenOpenedAgain);
    }
    // Before those who publish by them.
    schemas::apply(bus, config, &mut applied).await;
    upcasters::apply(bus, config, &mut applied).await;
    let missing = upcasters::missing(bus, config);
    for step in plan(&bus.topics(), &bus.consumer_configs(), &consumers, config) {
        let what = step.what();
        let taken = match (&step, missing) {
            (Step::Start { .. }, Some(upcaster)) => Err(format!(
                "upcaster `{upcaster}` is not there, and without it a consumer would see the events that it lifts as they were \
                 published: mend it, or remove it from the configuration"
            )),
            _ => take(bus, &step).await,
        };
        match taken {
            Ok(()) => applied.changes.push(step.change()),
            Err(why) => applied.refused.push(Refused { what, why }),
        }
    }
    outboxes::apply(bus, config, &mut applied).await;
    applied
}

/// One thing to do.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Topic { name: &'a str, config: &'a TopicConfig, is_new: bool },
    Detach { name: &'a str },
    Start { name: &'a str, consumer: &'a ConsumerConfig, program: &'a ProgramConfig },
    Change { name: &'a str, consumer: &'a ConsumerConfig, program: &'a ProgramConfig, paused: Option<bool> },
}

impl Step<'_> {
    fn what(&self) -> String {
        match self {
            Self::Topic { name, .. } => format!("topic `{name}`"),
            Self::Detach { name } | Self::Start { name, .. } | Self::Change { name, .. } => {
                format!("consumer `{name}`")
            }
        }
    }

    fn change(&self) -> Change {
        match self {
            Self::Topic { name, is_new: true, .. } => Change::TopicCreated((*name).to_owned()),
            Self::Topic { name, .. } => Change::TopicChanged((*name).to_owned()),
            Self::Detach { name } => Change::ConsumerDetached((*name).to_owned()),
            Self::Start { name, .. } => Change::ConsumerStarted((*name).to_owned()),
            Self::Change { name, .. } => Change::ConsumerChanged((*name).to_owned()),
        }
    }
}

/// What to do, in an order in which each step finds what it needs: topics come before those who read them, and who is
/// gone makes room before others come.
fn plan<'a>(
    topics: &[TopicStatus],
    running: &'a BTreeMap<String, (ConsumerConfig, ProgramConfig)>,
    known: &'a [ConsumerStatus],
    config: &'a Config,
) -> Vec<Step<'a>> {
    let topic_steps = config.topics.iter().filter_map(|(name, config)| {
        let there = topics.iter().find(|topic| topic.name == *name);
        let differs = there.is_none_or(|topic| topic.config != *config);
        differs.then_some(Step::Topic { name, config, is_new: there.is_none() })
    });
    let unnamed = known.iter().filter(|status| match status.kind {
        ConsumerKind::Plugin | ConsumerKind::Http | ConsumerKind::Nats => true,
        ConsumerKind::Detached => status.detached.is_none(),
        ConsumerKind::Native => false,
    });
    let gone: BTreeSet<&str> = unnamed
        .map(|status| status.name.as_str())
        .chain(running.keys().map(String::as_str))
        .filter(|name| !config.consumers.contains_key(*name))
        .collect();
    let consumer_steps =
        config.consumers.iter().filter_map(|(name, (consumer, program))| match running.get(name) {
            None => Some(Step::Start { name, consumer, program }),
            Some((consumer_before, program_before)) => {
                let differs = consumer_before != consumer || program_before != program;
                // A pause that an operator asked for stays, unless the configuration's own word on it changes.
                let paused = (consumer_before.paused != consumer.paused).then_some(consumer.paused);
                differs.then_some(Step::Change { name, consumer, program, paused })
            }
        });
    let detach_steps = gone.into_iter().map(|name| Step::Detach { name });
    topic_steps.chain(detach_steps).chain(consumer_steps).collect()
}

async fn take(bus: &Bus, step: &Step<'_>) -> Result<(), String> {
    match *step {
        Step::Topic { name, config, .. } => {
            bus.create_topic(name, config.clone()).await.map_err(|error| error.to_string())
        }
        Step::Detach { name } => bus.unsubscribe(name).await.map_err(|error| error.to_string()),
        Step::Start { name, consumer, program } => bus
            .subscribe_program(name, consumer.clone(), program.clone())
            .await
            .map_err(|error| error.to_string()),
        Step::Change { name, consumer, program, paused } => {
            let changed = bus.reconfigure_program(name, consumer.clone(), program.clone()).await;
            let paused = match (changed, paused) {
                (Err(error), _) => Err(error),
                (Ok(()), Some(true)) => bus.pause(name).await,
                (Ok(()), Some(false)) => bus.resume(name).await,
                (Ok(()), None) => Ok(()),
            };
            paused.map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text, Path::new("tidegate.toml")).unwrap()
    }

    fn steps(running: &Config, wanted: &Config) -> Vec<String> {
        let steps = plan(&[], &running.consumers, &[], wanted);
        steps
            .iter()
            .map(|step| step.change().to_string().split(':').next().unwrap_or_default().to_owned())
            .collect()
    }

    const TWO: &str = "
        [consumers.a]
        plugin = 'a.wasm'
        topics = ['t']
        [consumers.b]
        plugin = 'b.wasm'
        topics = ['t']
    ";

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        assert!(steps(&config(TWO), &config(TWO)).is_empty());
    }

    #[test]
    fn only_the_consumer_that_differs_changes() {
        let wanted = config(&TWO.replace("'b.wasm'", "'c.wasm'"));
        assert_eq!(steps(&config(TWO), &wanted), ["consumer `b` changed"]);
    }

    #[test]
    fn consumers_come_and_go_and_topics_come_first() {
        let wanted = config(
            "[consumers.c]
            plugin = 'c.wasm'
            topics = ['t']
            [topics.t]",
        );
        assert_eq!(
            steps(&config(TWO), &wanted),
            ["topic `t` created", "consumer `a` ended", "consumer `b` ended", "consumer `c` started"]
        );
    }

    #[test]
    fn a_pause_changes_with_the_configurations_word_alone() {
        let paused = config(&TWO.replace("'b.wasm'", "'b.wasm'\npaused = true"));
        let (before, wanted) = (config(TWO), config(&TWO.replace("'b.wasm'", "'c.wasm'")));
        let pause_of = |before: &Config, wanted: &Config| match plan(&[], &before.consumers, &[], wanted)[..]
        {
            [Step::Change { paused, .. }] => paused,
            ref other => panic!("{other:?}"),
        };
        assert_eq!(pause_of(&before, &paused), Some(true));
        assert_eq!(pause_of(&paused, &before), Some(false));
        assert_eq!(pause_of(&before, &wanted), None);
    }
}
