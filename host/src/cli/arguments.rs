//! What the command line understands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tidegate::config::{check_name, parse_bytes, parse_duration};
use tidegate::schema::Compatibility;
use tidegate::{Position, SagaState, Timestamp};

use super::aggregate_arguments::{Aggregates, Execute};
use super::projection_arguments::{Projections, Query};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something was refused or failed, or `doctor` found a problem; the rest is done
  2  the command line is wrong
  3  there is no data directory, or another process has it open and can't be reached
  4  the database is damaged, or of a newer version
  5  with --expect: the key's last event has another number, and nothing is published
  6  the aggregate has rejected the command

While `tidegate run`, or a program that serves the control socket, has the data directory open, the other commands reach
it through the socket `control.sock` in that directory. When nobody has it open, they open it themselves.";

/// A durable event bus: publish events, and let sandboxed WebAssembly components consume them.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Arguments {
    /// What holds for all commands.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for all commands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The data directory
    #[arg(long, global = true, env = "TIDEGATE_DIR", value_name = "DIR", default_value = "./tidegate-data")]
    pub dir: PathBuf,
    /// The configuration file [default: tidegate.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON: one value a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a data directory with a commented configuration file
    Init(Init),
    /// Run the bus: the consumers of the configuration, and the control socket
    Run(Run),
    /// Publish events: a CloudEvents JSON object on each line, or one event from options
    Publish(Publish),
    /// Read a topic
    Read(Read),
    /// List topics, or create one
    Topics(Topics),
    /// Data that a claim check keeps beside the log: list it, or check that all of it is there
    Blobs(Blobs),
    /// Schemas of event types: list, show, register, and check files for compatibility
    Schemas(Schemas),
    /// List consumers with progress, lag, held events and retries; pause, resume, move and forget them
    Consumers(Consumers),
    /// List the timers of a consumer, set one, or cancel one
    Timers(Timers),
    /// Give a command to an aggregate, and wait for what becomes of it
    Execute(Execute),
    /// Aggregates: list them, or show what one is at any version or time
    Aggregates(Aggregates),
    /// Show the tree of what caused what, for one correlation
    Trace(Trace),
    /// Look at configuration, topics, consumers and recent events, and name what will hurt
    #[command(after_help = "\
Each finding has a name, what was seen, why it hurts, and what to do. The exit code is 1 where one of them is a problem: something
that hurts now, or that loses something soon. Warnings alone leave it at 0. Nothing is changed.")]
    Doctor,
    /// List sagas, those first that need looking at; show one, have it ask again, compensated, or go on
    Sagas(Sagas),
    /// List plugins, or reload one
    Plugins(Plugins),
    /// Ask a projection
    Query(Query),
    /// List projections, or rebuild one
    Projections(Projections),
    /// List upcasters, which lift events to the latest version of their type, or reload one
    Upcasters(Upcasters),
    /// Dead letters: list, show, redrive, discard
    Dlq(Dlq),
    /// Outboxes in an application's SQLite or PostgreSQL database: make, show, retry, adopt
    Outbox(Outbox),
    /// Show it all on a week of real earthquakes, and check the result
    Demo(Demo),
}

/// `tidegate init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The directory [default: that of --dir]
    pub directory: Option<PathBuf>,
}

/// `tidegate run`.
#[derive(Debug, Args)]
#[command(after_help = "\
The configuration file and the plugin files are followed: a change takes effect at once, without a restart. A consumer
that is refused, at the start or later, is logged and shown, and all others run.

SIGINT and SIGTERM end it in good order: each consumer finishes its delivery. A second signal ends it at once, which
loses nothing either: what was not committed is delivered again.")]
pub struct Run {
    /// What to log: error, warn, info, debug, trace, or a filter such as `warn,tidegate=debug`
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How long consumers have to finish their deliveries at the end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub grace: Duration,
}

/// `tidegate publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
A wrong event is told with its line, attribute and reason, and the lines before and after it still go in; the exit code
is then 1. With --atomic none goes in unless all are right.

Publishing the same events again is safe: those that the topic has had, by `source` and `id`, are dropped.

With --expect, in a topic that numbers the events of each key, the events are all of one key and go in together, or not at
all: the exit code is 5 where the key's last event has another number, and the error says which. Read what has come since
(`tidegate read TOPIC --key KEY --after NUMBER`), decide anew, and publish again.")]
pub struct Publish {
    /// The topic
    #[arg(value_parser = name)]
    pub topic: String,
    /// The file, or `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "kind", conflicts_with = "kind")]
    pub file: Option<PathBuf>,
    /// All events in one commit, or none
    #[arg(long)]
    pub atomic: bool,
    /// All events in one commit, if the last event of their key has this number, 0 for no event; or none
    #[arg(long, value_name = "NUMBER")]
    pub expect: Option<u64>,
    /// Publish a single event of this type
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "atomic")]
    pub kind: Option<String>,
    /// Its source, a URI-reference
    #[arg(long, requires = "kind", default_value = "/tidegate/cli")]
    pub source: String,
    /// Its id [default: a new UUID]
    #[arg(long, requires = "kind")]
    pub id: Option<String>,
    /// What it is about; its key, unless there is a partitionkey
    #[arg(long, requires = "kind")]
    pub subject: Option<String>,
    /// Its partition key
    #[arg(long, requires = "kind")]
    pub key: Option<String>,
    /// Its data, as JSON
    #[arg(long, requires = "kind", value_name = "JSON")]
    pub data: Option<String>,
    /// A file with its data, as JSON
    #[arg(long, requires = "kind", value_name = "FILE", conflicts_with = "data")]
    pub data_file: Option<PathBuf>,
}

/// `tidegate read`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --key, a topic that numbers the events of each key (`sequence = true`) is read through its index: the events of that
key alone, each with its number in front.

With --lift, an event that can't be lifted is told on standard error with the reason, and the exit code is 1.")]
pub struct Read {
    /// The topic
    #[arg(value_parser = name)]
    pub topic: String,
    /// One partition; otherwise all of them, in the order in which events became durable
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,
    /// Where to begin: `earliest`, `latest`, an offset, or a time such as 2018-01-31T00:00:00Z
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = position)]
    pub from: Position,
    /// The events of one key, in a topic that numbers them
    #[arg(long, conflicts_with_all = ["partition", "from", "follow"])]
    pub key: Option<String>,
    /// With --key: begin behind the event of this number
    #[arg(long, value_name = "NUMBER", requires = "key", default_value_t = 0)]
    pub after: u64,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u64>,
    /// Go on with what is published from now on; while the bus runs
    #[arg(long)]
    pub follow: bool,
    /// Events as consumers see them, lifted to the latest version, and not as they were published; while the bus runs
    #[arg(long)]
    pub lift: bool,
    /// Events with the data that a claim check has put into the blob store, and not with the reference to it
    #[arg(long)]
    pub data: bool,
}

/// `tidegate topics`.
#[derive(Debug, Args)]
pub struct Topics {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<TopicsCommand>,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// List all topics
    List,
    /// Create a topic, or give one another retention
    Create {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// Its partitions; the number can't be changed later
        #[arg(long, value_name = "NUMBER", default_value_t = 8)]
        partitions: u32,
        /// Remove events that are older, such as `7d`
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        retention_age: Option<Duration>,
        /// Remove the oldest events beyond this size, such as `1GiB`
        #[arg(long, value_name = "SIZE", value_parser = bytes)]
        retention_bytes: Option<u64>,
        /// Number the events of each key, for `read --key` and `publish --expect`; it can't be changed later
        #[arg(long)]
        sequence: bool,
        /// Accept only events whose type has a registered version, and whose data is valid by its schema
        #[arg(long)]
        require_schemas: bool,
        /// Keep data of more than this in the blob store, and with it that of events which would be too large, such as `256KiB`
        #[arg(long, value_name = "SIZE", value_parser = bytes)]
        claim_check_over: Option<u64>,
    },
}

/// `tidegate blobs`.
#[derive(Debug, Args)]
#[command(after_help = "\
The data of an event goes to the blob store where its topic has a claim check (`claim_check_over`) and it is large. It is named by
its SHA-256, in `blobs/` of the data directory, and removed once no event, dead letter or redriven event names it.

`check` reads all of it. The exit code is 1 where some is missing or damaged.")]
pub struct Blobs {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<BlobsCommand>,
}

/// What to do with blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum BlobsCommand {
    /// List them with their sizes, and how many name each
    List,
    /// Read all of them, and tell those that are missing or damaged
    Check,
}

/// `tidegate schemas`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file of a schema is named by its event type with the version: OrderPlaced.v2.json has a JSON Schema, and OrderPlaced.v2.proto
has Protobuf. A folder stands for all files in it that are named so.

What a new version may change is its subject's compatibility mode, by default backward: who knows the new version reads what
was written by the one before. The others are none, forward (who knows the one before reads the new one), full (both), and
backward-transitive, forward-transitive and full-transitive, which hold it against all versions before.")]
pub struct Schemas {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<SchemasCommand>,
}

/// What to do with schemas.
#[derive(Debug, Subcommand)]
pub enum SchemasCommand {
    /// List event types with their versions
    List,
    /// Show the schemas of an event type, or of one of its versions
    Show {
        /// The event type, with its version or without
        #[arg(value_name = "TYPE")]
        name: String,
    },
    /// Register schemas: each version behind the one before, unless it breaks the compatibility mode
    Register {
        /// Files or folders
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// What these event types are held to from now on
        #[arg(long, value_name = "MODE")]
        compatibility: Option<Compatibility>,
    },
    /// Check files by themselves, with no bus: each is a schema, and each version goes with those before it
    Check {
        /// Files or folders [default: the folder that the configuration names, and its modes]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// What they are held to [default: backward]
        #[arg(long, value_name = "MODE")]
        compatibility: Option<Compatibility>,
    },
}

/// `tidegate consumers`.
#[derive(Debug, Args)]
pub struct Consumers {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<ConsumersCommand>,
}

/// What to do with consumers.
#[derive(Debug, Subcommand)]
pub enum ConsumersCommand {
    /// List all consumers
    List,
    /// Show a consumer with its lanes
    Show {
        /// The consumer
        name: String,
    },
    /// Show a consumer's state
    State {
        /// The consumer
        name: String,
        /// One partition; otherwise all
        #[arg(long, value_name = "NUMBER")]
        partition: Option<u32>,
        /// What the keys begin with
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Stop a consumer's deliveries until `resume`, over restarts too
    Pause {
        /// The consumer
        name: String,
    },
    /// Let a paused consumer go on
    Resume {
        /// The consumer
        name: String,
    },
    /// Move a consumer to another place
    Seek {
        /// The consumer
        name: String,
        /// Where to: `earliest`, `latest`, an offset, or a time such as 2018-01-31T00:00:00Z
        #[arg(long, value_name = "PLACE", value_parser = position)]
        to: Position,
        /// In one of its topics; otherwise in all
        #[arg(long)]
        topic: Option<String>,
        /// On one of its partitions; otherwise on all
        #[arg(long, value_name = "NUMBER")]
        partition: Option<u32>,
    },
    /// Remove a consumer with its progress, held events, state and dead letters; it must not be running
    Forget {
        /// The consumer
        name: String,
        /// Do it, without which nothing is done
        #[arg(long)]
        yes: bool,
    },
}

/// `tidegate timers`.
#[derive(Debug, Args)]
pub struct Timers {
    /// What to do.
    #[command(subcommand)]
    pub command: TimersCommand,
}

/// What to do with timers.
#[derive(Debug, Subcommand)]
pub enum TimersCommand {
    /// List the timers of a consumer that are due first
    List {
        /// The consumer
        consumer: String,
        /// One partition; otherwise all
        #[arg(long, value_name = "NUMBER")]
        partition: Option<u32>,
        /// One key; otherwise all
        #[arg(long)]
        key: Option<String>,
        /// How many at most: up to 1000
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
    },
    /// Set a timer, in place of the one of this key and name if there is one
    Set {
        /// The consumer
        consumer: String,
        /// The timer's key
        key: String,
        /// Its name
        name: String,
        /// How long after now it is due
        #[arg(long = "in", value_name = "DURATION", default_value = "0s", value_parser = duration)]
        wait: Duration,
        /// When it is due: RFC 3339, such as 2018-01-31T00:00:00Z
        #[arg(long = "at", value_name = "TIME", conflicts_with = "wait")]
        due: Option<Timestamp>,
        /// What it comes with: JSON
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
    /// Cancel a timer
    Cancel {
        /// The consumer
        consumer: String,
        /// The timer's key
        key: String,
        /// Its name
        name: String,
    },
}

/// `tidegate trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
There is no index of correlations: the topics are read from --since on, and all dead letters, held events and timers. With --json,
a line for each node, from the top down with its depth, and a last one with the summary.")]
pub struct Trace {
    /// The correlation: the id of the event that began it, or its correlationid
    #[arg(value_name = "ID", required_unless_present = "w3c_id")]
    pub id: Option<String>,
    /// The trace id of traceparent instead: 32 hexadecimal digits
    #[arg(long = "trace-id", value_name = "HEX", conflicts_with = "id", value_parser = trace_id)]
    pub w3c_id: Option<String>,
    /// Read these topics alone
    #[arg(long, value_name = "TOPIC", value_parser = name)]
    pub topic: Vec<String>,
    /// Leave out events that the log accepted before this time, such as 2018-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Leave out what comes behind so many: up to 100000
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub limit: usize,
}

/// `tidegate sagas`.
#[derive(Debug, Args)]
pub struct Sagas {
    /// What to do.
    #[command(subcommand)]
    pub command: SagasCommand,
}

/// What to do with sagas.
#[derive(Debug, Subcommand)]
pub enum SagasCommand {
    /// List sagas: those first that are stuck, then those that have been in their step longest, then those that have ended
    List {
        /// One consumer; otherwise all
        consumer: Option<String>,
        /// Those alone that wait for an operator, as with `--state stuck`
        #[arg(long, conflicts_with = "state")]
        stuck: bool,
        /// Those alone that haven't ended, and have been in their step for so long
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        older_than: Option<Duration>,
        /// Those alone in this state: running, compensating, stuck, completed or compensated
        #[arg(long, value_name = "STATE", value_parser = saga_state)]
        state: Option<SagaState>,
        /// How many at most: up to 1000
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
    },
    /// Show a saga: how far it is, its steps, what it knows, and what happened to it
    Show(SagaName),
    /// Have a saga ask again for what it waits for: one that is stuck for its compensation, one that runs for its step
    Retry(SagaName),
    /// Have a saga that runs compensated
    Compensate(SagaName),
    /// Say that the step where a saga is stuck has been undone by other means: it goes on to those before it
    Resolve(SagaName),
}

/// Which saga.
#[derive(Debug, Args)]
pub struct SagaName {
    /// The consumer that runs it
    pub consumer: String,
    /// Its id: the key of the event that began it
    pub id: String,
}

/// `tidegate plugins`.
#[derive(Debug, Args)]
pub struct Plugins {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<PluginsCommand>,
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginsCommand {
    /// List the plugins that run
    List,
    /// Take what a plugin's file holds now as the next version
    Reload {
        /// The consumer that the plugin runs
        name: String,
    },
}

/// `tidegate upcasters`.
#[derive(Debug, Args)]
pub struct Upcasters {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<UpcastersCommand>,
}

/// What to do with upcasters.
#[derive(Debug, Subcommand)]
pub enum UpcastersCommand {
    /// List the upcasters that run, with what they lift
    List,
    /// Take what the file of an upcaster's plugin holds now as the next version
    Reload {
        /// The upcaster
        name: String,
    },
}

/// `tidegate dlq`.
#[derive(Debug, Args)]
pub struct Dlq {
    /// What to do.
    #[command(subcommand)]
    pub command: DlqCommand,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List a consumer's dead letters
    List {
        /// The consumer
        consumer: String,
        /// Begin behind this id
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: u64,
        /// End after so many
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
        /// Which: those that fit all of `code=…`, `type=…` and `key=…`
        #[arg(long, value_name = "FILTER", value_parser = filter)]
        filter: Vec<Filter>,
    },
    /// Show a dead letter with its event and the error of every attempt
    Show {
        /// The consumer
        consumer: String,
        /// The letter's id
        id: u64,
        /// The event with the data that a claim check has put into the blob store, and not with the reference to it
        #[arg(long)]
        data: bool,
    },
    /// Put dead letters back to work, for this consumer alone
    Redrive(Settle),
    /// Remove dead letters for good
    Discard {
        /// Which.
        #[command(flatten)]
        settle: Settle,
        /// Do it, without which nothing is done
        #[arg(long)]
        yes: bool,
    },
}

/// `tidegate outbox`.
#[derive(Debug, Args)]
pub struct Outbox {
    /// What to do.
    #[command(subcommand)]
    pub command: OutboxCommand,
}

/// What to do with outboxes.
#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// Make the outbox's tables in a database; those that are there stay as they are
    Init(OutboxInit),
    /// Show the outboxes of the configuration: rows that wait, the age of the oldest, rows that failed
    Status {
        /// One of them, with the rows that failed
        name: Option<String>,
    },
    /// Put rows that failed back to work
    Retry {
        /// The outbox
        name: String,
        /// The rows' positions
        #[arg(value_name = "POSITION", required_unless_present = "all", conflicts_with = "all")]
        positions: Vec<u64>,
        /// All rows that failed
        #[arg(long)]
        all: bool,
    },
    /// Publish from an outbox as it is, after its database was exchanged or restored from a backup
    #[command(after_help = "\
Rows that the table has marked count as published, and all others don't. Rows that were published and whose mark was lost
are published again; their topic drops them if its deduplication window still knows them.")]
    Adopt {
        /// The outbox
        name: String,
        /// Do it, without which nothing is done
        #[arg(long)]
        yes: bool,
    },
}

/// `tidegate outbox init`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("database").required(true).args(["name", "sqlite", "postgres"]), after_help = "\
A URL on the command line can be seen by others on the machine. Put one with a password into the configuration, where it
may come from the environment or a file, and name the outbox.")]
pub struct OutboxInit {
    /// The outbox of the configuration
    pub name: Option<String>,
    /// A file of SQLite; made where there is none
    #[arg(long, value_name = "PATH")]
    pub sqlite: Option<PathBuf>,
    /// A database of PostgreSQL, such as `postgres://shop@localhost/shop`
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// Print the SQL, for your own migrations, and do nothing
    #[arg(long)]
    pub print: bool,
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Settle {
    /// The consumer
    pub consumer: String,
    /// The letters' ids
    #[arg(value_name = "ID", required_unless_present_any = ["all", "filter"], conflicts_with_all = ["all", "filter"])]
    pub ids: Vec<u64>,
    /// All of the consumer's
    #[arg(long)]
    pub all: bool,
    /// Those that fit all of `code=…`, `type=…` and `key=…`
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub filter: Vec<Filter>,
    /// Say which, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a dead letter has to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The failure's code.
    Code(String),
    /// The event's type.
    Type(String),
    /// The event's key.
    Key(String),
}

/// `tidegate demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The folder of the built plugins
    #[arg(long, value_name = "DIR", default_value = "target/plugins")]
    pub plugins: PathBuf,
    /// The earthquakes, a CloudEvents JSON object on each line
    #[arg(long, value_name = "FILE", default_value = "plugins/data/quakes.jsonl")]
    pub data: PathBuf,
    /// Keep the data directory here; otherwise it is temporary
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

pub(super) fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}

fn saga_state(text: &str) -> Result<SagaState, String> {
    use SagaState::{Compensated, Compensating, Completed, Running, Stuck};
    let states = [Running, Compensating, Stuck, Completed, Compensated];
    states.into_iter().find(|state| state.to_string() == text).ok_or_else(|| {
        "allowed are `running`, `compensating`, `stuck`, `completed` and `compensated`".to_owned()
    })
}

fn position(text: &str) -> Result<Position, String> {
    match text {
        "earliest" => return Ok(Position::Earliest),
        "latest" => return Ok(Position::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(Position::Offset(offset));
    }
    text.parse::<Timestamp>().map(Position::Time).map_err(|_| {
        "allowed are `earliest`, `latest`, an offset, or a time such as 2018-01-31T00:00:00Z".to_owned()
    })
}

fn trace_id(text: &str) -> Result<String, String> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a trace id has 32 hexadecimal digits, as in `00-TRACE-SPAN-FLAGS`".to_owned())
}

fn filter(text: &str) -> Result<Filter, String> {
    match text.split_once('=') {
        Some(("code", code)) => Ok(Filter::Code(code.to_owned())),
        Some(("type", kind)) => Ok(Filter::Type(kind.to_owned())),
        Some(("key", key)) => Ok(Filter::Key(key.to_owned())),
        _ => Err("allowed are `code=…`, `type=…` and `key=…`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn places_are_read() {
        assert_eq!(position("earliest"), Ok(Position::Earliest));
        assert_eq!(position("17"), Ok(Position::Offset(17)));
        assert_eq!(position("1970-01-01T00:00:01Z"), Ok(Position::Time(Timestamp(1_000_000))));
        assert!(position("soon").unwrap_err().contains("`latest`"));
    }
}
