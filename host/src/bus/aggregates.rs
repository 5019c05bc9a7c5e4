//! Aggregates: starting them, and what they are at any version or time.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::roster::Running;
use super::{Bus, ConsumerError};
use crate::aggregate::{
    Aggregate, AggregateProgram, Models, NativeModels, STATE_VERSION, Streams, Until, snapshot_key,
};
use crate::clock::Timestamp;
use crate::config::{AggregateConfig, ConsumerConfig, Order, ProgramConfig, TopicConfig};
use crate::delivery::LaneView;
use crate::effects::Authority;
use crate::handler::{Failure, FailureKind, LaneName, Program};
use crate::ids::TopicId;
use crate::limits::AGGREGATE_ID_BYTES_MAX;
use crate::log::{AdminError, ReadError};

/// Why a consumer can't be an aggregate as it is configured.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::config::{AggregateConfig, ConsumerConfig, PluginConfig, TopicConfig};
/// use tidegate::{AggregateProblem, ConsumerError};
///
/// bus.create_topic("account-commands", TopicConfig::new(4))?;
/// bus.create_topic("accounts", TopicConfig::new(4))?;
/// let plugin = PluginConfig::new("accounts.wasm").aggregate(AggregateConfig::new("accounts"));
/// match bus.subscribe_plugin("accounts", ConsumerConfig::new(["account-commands"]), plugin) {
///     Err(ConsumerError::Aggregate { problem: AggregateProblem::NotSequenced(topic), .. }) => {
///         assert_eq!(topic, "accounts");
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AggregateProblem {
    /// It reads several topics.
    #[error(
        "it reads {0} topics: an aggregate has one topic of commands, so that those to one aggregate have an order"
    )]
    Topics(usize),
    /// Commands to one aggregate could overtake each other.
    #[error("its order is `none`: commands to one aggregate keep theirs, so set it to `key` or `partition`")]
    Unordered,
    /// There is no such topic.
    #[error(
        "there is no topic `{0}`: create it first; that of the events, its stream, needs `sequence = true`"
    )]
    UnknownTopic(String),
    /// The stream doesn't number its events.
    #[error(
        "topic `{0}` doesn't number the events of its keys, and a stream has to: create another one with `sequence = true`"
    )]
    NotSequenced(String),
    /// Commands and events are in one topic.
    #[error("topic `{0}` has its commands, and can't have its events as well: create another one")]
    SameTopic(String),
    /// Rejections would be among its commands or in its stream.
    #[error(
        "topic `{0}` has its commands or its events, and can't have its rejections as well: name another one"
    )]
    RejectionsTopic(String),
    /// The numbers of partitions differ.
    #[error(
        "topic `{commands}` has {command_partitions} partitions and topic `{stream}` has {stream_partitions}: give both as \
         many"
    )]
    Partitions {
        /// The topic of the commands.
        commands: String,
        /// How many it has.
        command_partitions: u32,
        /// The topic of the events.
        stream: String,
        /// How many it has.
        stream_partitions: u32,
    },
    /// Events are removed from the stream.
    #[error("topic `{0}` has a retention, and a stream is kept whole: take the retention away")]
    Retention(String),
    /// Another aggregate has the stream.
    #[error("topic `{stream}` has the events of aggregate `{other}`: give each a topic of its own")]
    StreamTaken {
        /// The stream.
        stream: String,
        /// The other aggregate.
        other: String,
    },
    /// It has read its commands from another topic before.
    #[error(
        "its commands came from topic `{before}` so far, and what it has decided is known by its place there: leave them in it, \
         or give the aggregate another name"
    )]
    OtherCommands {
        /// The topic that had its commands.
        before: String,
    },
    /// What the consumer has kept is no aggregate's, or an aggregate's and it is to be none.
    #[error(
        "what is stored of the consumer is of another kind: an aggregate and another consumer don't take each other's place; \
         use another name, or forget this one first"
    )]
    State,
}

/// At which point of its life an aggregate is asked for, see [`Bus::aggregate_at`].
///
/// ```
/// use tidegate::At;
///
/// let new_year = At::Time("2018-01-01T00:00:00Z".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum At {
    /// Now: after the last event that is durable.
    #[default]
    Latest,
    /// After the event of this number.
    Version(u64),
    /// At this moment: after the last event that the log had accepted by then.
    Time(Timestamp),
}

/// What an aggregate is at some point, see [`Bus::aggregate`].
///
/// ```no_run
/// # fn example(bus: tidegate::Blocking) -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(account) = bus.aggregate("accounts", "account-9")? {
///     let state: serde_json::Value = account.json()?;
///     println!("version {}, since {}: {state}", account.version, account.since);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AggregateState {
    /// The number of its last event.
    pub version: u64,
    /// When the log accepted that.
    pub since: Timestamp,
    /// The state as the program has made it: JSON, if it is of Rust.
    pub state: Vec<u8>,
}

impl AggregateState {
    /// Reads the state from JSON.
    ///
    /// # Errors
    ///
    /// It is no JSON, or has another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.state)
    }
}

/// An aggregate that runs in this process, see [`Bus::aggregates`].
///
/// ```no_run
/// # fn example(bus: tidegate::Bus) {
/// for aggregate in bus.aggregates() {
///     let events = aggregate.folded as f64 / aggregate.rebuilt.max(1) as f64;
///     println!("{}: {events:.1} events for each aggregate that was not in memory", aggregate.name);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AggregateStatus {
    /// The consumer's name.
    pub name: String,
    /// The topic of its commands.
    pub commands: String,
    /// The topic of its events.
    pub stream: String,
    /// Events after which the state of an aggregate is kept.
    pub snapshot_every: u32,
    /// Aggregates that had to be rebuilt for a command, as they were not in memory, since the consumer was started or
    /// has this program.
    pub rebuilt: u64,
    /// Events that were read and folded for that.
    pub folded: u64,
    /// Snapshots that were made.
    pub snapshots: u64,
}

/// Why an aggregate could not be shown.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::AggregateError;
///
/// assert!(matches!(bus.aggregate("accounts", "account-9"), Err(AggregateError::NotRunning(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// There is no consumer of this name, or it isn't running in this process.
    #[error("aggregate `{0}` isn't running: its program says what events come to, so start it first")]
    NotRunning(String),
    /// The consumer is no aggregate.
    #[error("consumer `{0}` is no aggregate")]
    NotAggregate(String),
    /// The aggregate has no such version yet.
    #[error("aggregate `{id}` has no version {version}, its last one is {last}")]
    UnknownVersion {
        /// The aggregate.
        id: String,
        /// The version that was asked for.
        version: u64,
        /// The last one.
        last: u64,
    },
    /// Its program can't say what its events come to.
    #[error("aggregate `{id}` can't be rebuilt: {failure}")]
    Failed {
        /// The aggregate.
        id: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// An aggregate that runs, with the lane of one of its ids.
pub(super) struct RunningAggregate {
    pub program: Arc<dyn Program>,
    pub commands: (TopicId, String),
    pub consumer: Arc<str>,
    pub stream: String,
    pub partition: u32,
    pub lane: LaneView,
    /// Places for those who ask what an aggregate was.
    pub questions: Arc<Semaphore>,
}

impl Bus {
    /// Starts an aggregate that is part of the application: a consumer of one topic of commands, which decides events
    /// of its stream. The key of a command is the id of the aggregate that it is to. For a plugin, see
    /// [`PluginConfig::aggregate`](crate::config::PluginConfig::aggregate).
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::config::{AggregateConfig, ConsumerConfig, TopicConfig};
    /// use tidegate::{Aggregate, Delivery, Event, Fact, Failure, Rejection};
    ///
    /// struct Doors;
    ///
    /// impl Aggregate for Doors {
    ///     type State = bool;
    ///
    ///     fn decide(&self, is_open: Option<&bool>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
    ///         match (command.event.kind(), is_open) {
    ///             ("Open.v1", Some(true)) | ("Close.v1", None | Some(false)) => Ok(Vec::new()),
    ///             ("Open.v1", _) => Ok(vec![Fact::new("Opened.v1")]),
    ///             ("Close.v1", _) => Ok(vec![Fact::new("Closed.v1")]),
    ///             (other, _) => Err(Rejection::new("unknown-command", other)),
    ///         }
    ///     }
    ///
    ///     fn evolve(&self, _: Option<bool>, event: &Event) -> Result<bool, Failure> {
    ///         Ok(event.kind() == "Opened.v1")
    ///     }
    /// }
    ///
    /// bus.create_topic("door-commands", TopicConfig::new(4)).await?;
    /// bus.create_topic("doors", TopicConfig::new(4).sequence(true)).await?;
    /// let commands = ConsumerConfig::new(["door-commands"]);
    /// bus.subscribe_aggregate("doors", commands, AggregateConfig::new("doors"), Doors).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. The consumer doesn't run then.
    pub async fn subscribe_aggregate(
        &self,
        name: &str,
        config: ConsumerConfig,
        aggregate: AggregateConfig,
        program: impl Aggregate,
    ) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        self.check_new(name, &config)?;
        aggregate.validate()?;
        self.check_aggregate_config(name, &config, &aggregate)?;
        let program = self.aggregate_program(Arc::new(NativeModels::new(program)), aggregate);
        self.register(name, &config).await?;
        self.inner.log.accept_program(name, program.version().clone(), STATE_VERSION).await?;
        self.start(name, config, None, program, Authority::Native).await
    }

    /// What an aggregate is now: its state after the last event that is durable. `None` where nothing has happened to
    /// it.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), Box<dyn std::error::Error>> {
    /// let account = bus.aggregate("accounts", "account-9").await?.ok_or("no such account")?;
    /// println!("{}", String::from_utf8_lossy(&account.state));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AggregateError`].
    pub async fn aggregate(&self, name: &str, id: &str) -> Result<Option<AggregateState>, AggregateError> {
        self.aggregate_at(name, id, At::Latest).await
    }

    /// What an aggregate was at a version or at a time: rebuilt from its events by the program that runs now, in an
    /// instance of its own, which no lane waits for. `None` where nothing had happened to it.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::At;
    ///
    /// let opened = bus.aggregate_at("accounts", "account-9", At::Version(1)).await?;
    /// let then = bus.aggregate_at("accounts", "account-9", At::Time("2018-01-01T00:00:00Z".parse()?)).await?;
    /// assert!(opened.is_some() || then.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AggregateError`].
    pub async fn aggregate_at(
        &self,
        name: &str,
        id: &str,
        at: At,
    ) -> Result<Option<AggregateState>, AggregateError> {
        let log = &self.inner.log;
        if log.is_in_closure() {
            return Err(ReadError::InTransaction.into());
        }
        let running = self.running_aggregate(name, id)?;
        let last = log.version(&running.stream, id)?;
        let until = match at {
            At::Latest => Until { version: last, ..Until::END },
            At::Version(version) if version > last => {
                return Err(AggregateError::UnknownVersion { id: id.to_owned(), version, last });
            }
            At::Version(version) => Until { version, ..Until::END },
            At::Time(time) => Until { version: last, time },
        };
        if until.version == 0 || id.len() > AGGREGATE_ID_BYTES_MAX {
            return Ok(None);
        }
        let snapshot = log.state(running.lane.id)?.get(&snapshot_key(id));
        let snapshot = snapshot.map_err(|error| ReadError::Damaged {
            what: "the aggregate's snapshot".to_owned(),
            reason: error.0,
        })?;
        let failed = |failure| AggregateError::Failed { id: id.to_owned(), failure: Box::new(failure) };
        let lane = LaneName { consumer: Arc::clone(&running.consumer), partition: running.partition };
        let (program, stream) = (running.program, running.stream);
        let rebuild = {
            let (log, stream, id) = (Arc::clone(log), stream.clone(), id.to_owned());
            async move {
                let Some(program) = program.aggregate() else { return Ok(None) };
                let is_early = |version| {
                    until.time == Until::END.time
                        || log
                            .accepted(&stream, &id, version)
                            .is_ok_and(|at| at.is_some_and(|at| at <= until.time))
                };
                program.at(&lane, &id, until, snapshot, is_early).await.map(Some)
            }
        };
        // A plugin's time is the bus's own threads', not the caller's.
        let folded = self.run_in_place(running.questions, rebuild).await;
        let folded = folded.unwrap_or_else(|ended| Err(cut_off(&ended)));
        let Some(folded) = folded.map_err(failed)? else { return Ok(None) };
        let Some(state) = folded.state else { return Ok(None) };
        let since = match folded.appended {
            Some(appended) => Some(appended),
            None => log.accepted(&stream, id, folded.version)?,
        };
        let since = since.ok_or_else(|| ReadError::Damaged {
            what: format!("event {} of aggregate `{id}` in topic `{stream}`", folded.version),
            reason: "nobody knows when the log accepted it".to_owned(),
        })?;
        Ok(Some(AggregateState { version: folded.version, since, state }))
    }

    /// The aggregates that run in this process, by name.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// assert!(bus.aggregates().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn aggregates(&self) -> Vec<AggregateStatus> {
        let rows = self.inner.log.consumers().into_values();
        let mut aggregates: Vec<_> = rows.filter_map(|row| self.aggregate_status(&row.name)).collect();
        aggregates.sort_by(|a, b| a.name.cmp(&b.name));
        aggregates
    }

    fn aggregate_status(&self, name: &str) -> Option<AggregateStatus> {
        let running =
            |running: &mut Running| (running.consumer.program(), running.config.topics.first().cloned());
        let (program, commands) = self.inner.roster.with(name, running)?;
        let program = program.aggregate()?;
        let (rebuilt, folded, snapshots) = program.counts().read();
        Some(AggregateStatus {
            name: name.to_owned(),
            commands: commands.unwrap_or_default(),
            stream: program.config().stream.clone(),
            snapshot_every: program.config().snapshot_every,
            rebuilt,
            folded,
            snapshots,
        })
    }

    /// An aggregate's consumer with the lane of an id.
    pub(super) fn running_aggregate(&self, name: &str, id: &str) -> Result<RunningAggregate, AggregateError> {
        let log = &self.inner.log;
        let not_running = || AggregateError::NotRunning(name.to_owned());
        let not_aggregate = || AggregateError::NotAggregate(name.to_owned());
        let (_, row) = log.consumer(name).ok_or_else(not_running)?;
        let look = |running: &mut Running| (running.consumer.program(), Arc::clone(&running.questions));
        let (program, questions) = self.inner.roster.with(name, look).ok_or_else(not_running)?;
        let stream = program.aggregate().ok_or_else(not_aggregate)?.config().stream.clone();
        let partition = log.partition_of(&stream, id)?;
        let lane = self.inner.roster.with(name, |running| running.consumer.lane(partition));
        let commands = *row.topics.first().ok_or_else(not_aggregate)?;
        let topic = log.topic_name(commands).ok_or_else(not_aggregate)?;
        Ok(RunningAggregate {
            program,
            commands: (commands, topic.to_string()),
            consumer: row.name,
            stream,
            partition,
            lane: lane.ok_or_else(not_running)?,
            questions,
        })
    }

    /// What decides, with its stream in this bus.
    pub(super) fn aggregate_program(
        &self,
        models: Arc<dyn Models>,
        config: AggregateConfig,
    ) -> Arc<dyn Program> {
        let streams = Arc::clone(&self.inner.log) as Arc<dyn Streams>;
        Arc::new(AggregateProgram::new(models, streams, self.lifter(), config))
    }

    /// Checks what an aggregate needs beside its program, and that a consumer which is none doesn't take the place of
    /// one.
    pub(super) fn check_aggregate(
        &self,
        name: &str,
        config: &ConsumerConfig,
        program: &ProgramConfig,
    ) -> Result<(), ConsumerError> {
        match program.plugin().and_then(|plugin| plugin.aggregate.as_ref()) {
            Some(aggregate) => self.check_aggregate_config(name, config, aggregate),
            None => self.check_no_aggregate(name),
        }
    }

    /// Checks that a consumer which is no aggregate doesn't take the place of one: it would find the state of that, and move
    /// on over commands that nobody has decided.
    pub(super) fn check_no_aggregate(&self, name: &str) -> Result<(), ConsumerError> {
        if self.stored_state_version(name) == Some(STATE_VERSION) {
            return Err(ConsumerError::Aggregate {
                consumer: name.to_owned(),
                problem: AggregateProblem::State,
            });
        }
        Ok(())
    }

    fn check_aggregate_config(
        &self,
        name: &str,
        config: &ConsumerConfig,
        aggregate: &AggregateConfig,
    ) -> Result<(), ConsumerError> {
        let problem = self.aggregate_problem(name, config, aggregate);
        let refuse = |problem| ConsumerError::Aggregate { consumer: name.to_owned(), problem };
        problem.map_or(Ok(()), |problem| Err(refuse(problem)))
    }

    fn aggregate_problem(
        &self,
        name: &str,
        config: &ConsumerConfig,
        aggregate: &AggregateConfig,
    ) -> Option<AggregateProblem> {
        let [commands] = &config.topics[..] else {
            return Some(AggregateProblem::Topics(config.topics.len()));
        };
        let stream = &aggregate.stream;
        if config.order == Order::None {
            return Some(AggregateProblem::Unordered);
        }
        if commands == stream {
            return Some(AggregateProblem::SameTopic(stream.clone()));
        }
        if let Some(rejections) = &aggregate.rejections
            && (rejections == stream || rejections == commands)
        {
            return Some(AggregateProblem::RejectionsTopic(rejections.clone()));
        }
        let topics = self.inner.log.topics();
        let named = |name: &String| topics.iter().find(|topic| *topic.name == **name);
        let Some(of_commands) = named(commands) else {
            return Some(AggregateProblem::UnknownTopic(commands.clone()));
        };
        let Some(of_stream) = named(stream) else {
            return Some(AggregateProblem::UnknownTopic(stream.clone()));
        };
        if let Some(unknown) = aggregate.rejections.as_ref().filter(|topic| named(topic).is_none()) {
            return Some(AggregateProblem::UnknownTopic(unknown.clone()));
        }
        if !of_stream.config.sequence {
            return Some(AggregateProblem::NotSequenced(stream.clone()));
        }
        let (command_partitions, stream_partitions) =
            (of_commands.config.partitions, of_stream.config.partitions);
        if command_partitions != stream_partitions {
            let (commands, stream) = (commands.clone(), stream.clone());
            return Some(AggregateProblem::Partitions {
                commands,
                command_partitions,
                stream,
                stream_partitions,
            });
        }
        if has_retention(&of_stream.config) {
            return Some(AggregateProblem::Retention(stream.clone()));
        }
        let has_stream = |other: &AggregateStatus| other.stream == *stream && other.name != name;
        if let Some(other) = self.aggregates().into_iter().find(has_stream) {
            return Some(AggregateProblem::StreamTaken { stream: stream.clone(), other: other.name });
        }
        let (_, row) = self.inner.log.consumer(name)?;
        match row.state_version? {
            STATE_VERSION => {
                let id = self.inner.log.topic_id(commands);
                let other = row.topics.iter().find(|topic| Some(**topic) != id)?;
                let before = self
                    .inner
                    .log
                    .topic_name(*other)
                    .map_or_else(|| other.to_string(), |name| name.to_string());
                Some(AggregateProblem::OtherCommands { before })
            }
            _ => Some(AggregateProblem::State),
        }
    }

    /// Checks that a topic gets no retention where an aggregate runs that has its events there.
    pub(super) fn check_stream(&self, topic: &str, config: &TopicConfig) -> Result<(), AdminError> {
        if !has_retention(config) {
            return Ok(());
        }
        match self.aggregates().into_iter().find(|aggregate| aggregate.stream == topic) {
            Some(aggregate) => {
                Err(AdminError::StreamRetention { topic: topic.to_owned(), aggregate: aggregate.name })
            }
            None => Ok(()),
        }
    }

    fn stored_state_version(&self, name: &str) -> Option<u32> {
        self.inner.log.consumer(name)?.1.state_version
    }
}

fn has_retention(topic: &TopicConfig) -> bool {
    topic.retention.age.is_some() || topic.retention.bytes.is_some()
}

/// The bus ended, or its own fault.
fn cut_off(ended: &tokio::task::JoinError) -> Failure {
    if ended.is_panic() {
        return Failure::new(FailureKind::Trap, "panic", "the program panicked");
    }
    Failure::transient("shutdown", "the bus is shut down")
}
