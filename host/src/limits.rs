//! Every bound of the bus, in one place, each with its reason.
//!
//! What a user may want to change has its default here and its setting in [`Options`](crate::Options), in a topic's or
//! in a consumer's configuration; the ceilings that keep memory and file sizes predictable are constants.

#![cfg_attr(
    not(all(
        feature = "server",
        feature = "schemas",
        feature = "outbox-sqlite",
        feature = "outbox-postgres",
        feature = "relay-http",
        feature = "relay-nats"
    )),
    allow(dead_code, reason = "some bounds are those of optional parts")
)]

use std::time::Duration;

use crate::clock::Timestamp;

/// A schema's text: it is compiled by each process that holds events against it, and shown by tools.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// All schemas of a bus: they are in memory, and written as JSON text in one frame of the control socket.
pub const SCHEMAS_BYTES_MAX: usize = 16 << 20;
/// Files of schemas in one folder: their names are in memory, and looked at now and then while a bus runs.
pub const SCHEMA_FILES_MAX: usize = 65_536;
/// Subjects of a bus: event types without their versions.
pub const SUBJECTS_MAX: usize = 4096;
/// Versions of a subject: a transitive mode holds a new one against all of them.
pub const SCHEMA_VERSIONS_MAX: usize = 1000;
/// The event type before its version.
pub const SUBJECT_BYTES_MAX: usize = 512;
/// What a pattern of a schema may take once it is compiled.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 256 << 10;
/// Patterns of a schema.
pub const SCHEMA_PATTERNS_MAX: usize = 100;
/// Schemas that apply at one place in the data, by references and alternatives: a validator looks at each, however few lines
/// they are.
pub const SCHEMA_WEIGHT_MAX: u64 = 10_000;
/// Schemas that a validator may look at to find the place where data breaks one: it takes a moment.
pub const VIOLATION_STEPS_MAX: u64 = 10_000_000;
/// Most steps of a comparison of two schemas, each a schema looked at, a field or a value compared. Nested alternatives multiply, so two small
/// schemas can ask for any number. A union of a hundred events stays below it, and it is a fraction of a second.
pub const SCHEMA_STEPS_MAX: usize = 250_000;
/// Deepest recursion of a comparison, each level a step into the document, a reference or an alternative. A level takes
/// seven kilobytes of stack in a debug build, so all of them are half of the two megabytes that threads have.
pub const SCHEMA_DEPTH_MAX: usize = 128;
/// Deepest nesting of a schema: what `serde_json` reads from text. Plain recursion over values is safe below it.
pub const SCHEMA_NESTING_MAX: usize = 128;
/// Brackets of a `.proto` that are open at once: the compiler recurses into each. It takes messages within one another 31 deep, as
/// `protoc` does, and options of a field lie in brackets below. Also the parts of a package, which are scopes as well.
pub const PROTOBUF_NESTING_MAX: usize = 64;
/// Messages, fields, enums and their values, and whatever else a `.proto` defines, reserves or sets as an option: some things are looked for among
/// others of their kind one by one, and all of them are in memory.
pub const PROTOBUF_DEFINITIONS_MAX: usize = 10_000;
/// The full name of one of them, with its name in JSON. The compiler looks for what a name means in each scope around it, so that
/// a reference costs as many bytes as the scopes have parts and their name has bytes.
pub const PROTOBUF_NAME_BYTES_MAX: usize = 1 << 10;
/// The full names of all that: each repeats the names of what is around it, so that a few long names could fill the memory.
pub const PROTOBUF_NAMES_BYTES_MAX: usize = 2 << 20;
/// Messages within one another in data, as Protobuf's own libraries have it: they and the check recurse.
pub const PROTOBUF_DEPTH_MAX: usize = 100;
/// Most breaks that a comparison finds: whoever reads them has seen enough by then.
pub const SCHEMA_BREAKS_FOUND_MAX: usize = 100;
/// What breaks compatibility, in one error.
pub const SCHEMA_BREAKS_MAX: usize = 20;
/// What an error about schemas says of a text from outside, in characters.
pub const VIOLATION_CHARS_MAX: usize = 500;
/// Upcasters of a bus: each keeps room for an instance of its plugin.
pub const UPCASTERS_MAX: usize = 64;
/// Lifts of an upcaster: what a plugin names when it is loaded.
pub const UPCASTER_LIFTS_MAX: usize = 64;
/// Lifts that an event goes through: each is a call for each event of an old version.
pub const LIFT_CHAIN_MAX: usize = 32;
/// Largest event that a bus accepts unless told otherwise: 1 MiB. What is larger belongs elsewhere, named by `dataref`.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// Floor of the setting above: `CloudEvents` wants events of this size to pass everywhere.
pub const EVENT_BYTES_FLOOR: usize = 64 << 10;
/// Ceiling of the setting above. A batch row holds at least one event, and redb's rows have to stay well under 4 GiB.
pub const EVENT_BYTES_CEILING: usize = 64 << 20;
/// Least data that a topic may have kept in the blob store: a file takes a block of the disk and two syncs, so smaller data is
/// better off in the log.
pub const CLAIM_CHECK_BYTES_FLOOR: usize = 16 << 10;
/// Largest data in the blob store: that of the largest event, which is in memory as a whole when it is handed in and when it is
/// handed over.
pub const BLOB_BYTES_MAX: usize = EVENT_BYTES_CEILING;
/// All data in the blob store, unless told otherwise: what fits beside the log on the disk of a small machine.
pub const BLOBS_BYTES_MAX: u64 = 16 << 30;
/// Blobs that one commit looks for references of, before they are removed: each is a lookup in a table, and publishers wait beside
/// it.
pub const BLOBS_COLLECTED_MAX: usize = 1000;
/// Blobs that one list for people has; verifying reads each of them.
pub const BLOBS_LISTED_MAX: usize = 1000;
/// Most extension attributes of an event: `CloudEvents` asks for few and small ones.
pub const EXTENSIONS_MAX: usize = 64;
/// Longest attribute name. `CloudEvents` recommends 20 characters; tracing extensions in the wild are longer.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Longest attribute value: an event with all extensions at this size still is smaller than the default event.
pub const ATTRIBUTE_BYTES_MAX: usize = 8 << 10;

/// Longest name of a topic or a consumer: they become parts of file names, of metrics and of log lines.
pub const NAME_BYTES_MAX: usize = 128;
/// Most partitions of a topic: each is a lane for each consumer.
pub const PARTITIONS_MAX: u32 = 4096;
/// Partitions of a topic unless told otherwise: enough for the cores of a small machine, cheap when idle.
pub const PARTITIONS: u32 = 8;
/// Most topics of a bus: each keeps a watermark and a deduplication window for all its life.
pub const TOPICS_MAX: usize = 4096;
/// Most topics of a consumer: its lanes merge all of them.
pub const CONSUMER_TOPICS_MAX: usize = 64;

/// Bytes that may wait for the committer, from publishers and lanes together. Full means that callers wait.
pub const ADMISSION_BYTES_MAX: usize = 32 << 20;
/// Items that may wait for the committer: bounds what small items cost beside their bytes.
pub const ADMISSION_ITEMS_MAX: usize = 16 << 10;
/// Bytes in one commit: bounds the time that an acknowledgement waits for its neighbours.
pub const COMMIT_BYTES_MAX: usize = 8 << 20;
/// Most events in one call of `publish_all` or in one transaction: it is one commit, whole or not at all.
pub const PUBLISH_EVENTS_MAX: usize = 64 << 10;
/// Transactions that may wait for the committer: each holds a closure with whatever it has taken along.
pub const TRANSACTIONS_WAITING_MAX: usize = 1024;
/// Time that a transaction's closure may take: everybody who publishes waits for it. One that takes longer is undone.
pub const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Age after which a snapshot gives nothing more: while it lives, the file keeps what was changed since.
pub const SNAPSHOT_AGE_MAX: Duration = Duration::from_mins(10);
/// A batch row is split before it grows beyond this size, so that reading one event never reads much more. A page of redb that
/// holds a row is a power of two, and the row shares it with its key: a little less wastes least.
pub const BATCH_BYTES_MAX: usize = (256 << 10) - 256;
/// What is to be split so that it fills its pages: below that, more rows cost more than what is saved.
pub const BATCH_PAGE_BYTES_MIN: usize = 32 << 10;
/// A larger row of a batch goes into its table at once: few of its size share a leaf, so that waiting for others saves little.
pub const MEMTABLE_ROW_BYTES_MAX: usize = 1 << 10;
/// Small rows that wait in memory for their place in the table: so many that each of a thousand partitions has some when its
/// turn comes, and a leaf is written for all of them. What a commit brings, of [`JOURNAL_RECORD_BYTES_MAX`] at the most, waits
/// beside them until it is visible.
pub const MEMTABLE_BYTES_KEPT: usize = 4 << 20;
/// Where the journal is small, that is so many times its size.
pub const MEMTABLE_JOURNALS: usize = 4;
/// Partitions that have rows there: putting all of them in their place touches a page or two of each, and is to be possible on
/// a full disk, half of [`FREE_BYTES_MIN`] being left.
pub const MEMTABLE_PARTITIONS_MAX: usize = 2048;
/// Rows that a checkpoint leaves in memory are written in pieces of that, which fill a page of redb's.
pub const SPILL_ROW_BYTES_MAX: usize = (64 << 10) - 64;
/// Cache of the database, reads and writes together: redb's own default of 1 GiB is too much for an embedded bus.
pub const CACHE_BYTES: usize = 64 << 20;
/// Floor of the setting above: below it, every read goes to the disk.
pub const CACHE_BYTES_FLOOR: usize = 1 << 20;
/// The journal: commits that the database may not have yet. Each opening after a crash does again what is in it, and syncs
/// of the journal wait for those of the database for longer, the more pages a checkpoint has.
pub const JOURNAL_BYTES: usize = 1 << 20;
/// Ceiling of the setting above: opening after a crash would take seconds.
pub const JOURNAL_BYTES_CEILING: usize = 1 << 30;
/// The journal beside a large database has such a part of its bytes: with each checkpoint redb writes all of its map of free
/// pages, which has 1/8192 of them, so that a half has four times what a map has.
pub const JOURNAL_FILE_PART: u64 = 1024;
/// No more than so much for that reason: half of [`FREE_BYTES_MIN`], so that it can still grow on a full disk.
pub const JOURNAL_BYTES_GROWN_MAX: u64 = 16 << 20;
/// A commit with more changes than this goes to the database at once: writing them twice would take longer than one sync.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 512 << 10;
/// Pages of a checkpoint that wait to be written: more than that, and the committer waits. Several times what a journal of the
/// usual size comes to.
pub const WRITE_BEHIND_BYTES_MAX: usize = 64 << 20;
/// Pages at which the thread that writes them is woken before there is a sync of them: who reads looks through what waits.
pub const WRITE_BEHIND_WAKE_BYTES: usize = 1 << 20;
/// Bytes of one write that several pages are copied into which lie side by side: a larger one would save no time.
pub const PAGES_RUN_BYTES: usize = 256 << 10;
/// Memory that is kept for the pages of the next checkpoint: those of a journal of the usual size come to about as much.
pub const PAGES_KEPT_BYTES: usize = 4 << 20;
/// By how much the journal's file grows at a time.
pub const JOURNAL_STEP_BYTES: u64 = 256 << 10;
/// How long nothing has to come before the committer makes a checkpoint of its own accord: what is behind the last record
/// of a journal then tells that it is whole, and opening after a crash has nothing to do again.
pub const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);
/// A part of a half of the journal: where so much was appended, a checkpoint is made in the next lull.
pub const CHECKPOINT_LULL_PART: u64 = 4;
/// More than so much was appended only where the journal was made large: a checkpoint of it would be no matter of a lull.
pub const CHECKPOINT_LULL_BYTES_MAX: u64 = 1 << 20;
/// What counts as a lull, of which the system makes some 60 µs. Somebody alone who publishes in this process one event after
/// the other comes again before that.
pub const CHECKPOINT_LULL: Duration = Duration::from_micros(10);
/// Free space that publishing leaves on the disk, so that a full disk still allows deleting and saying so.
pub const FREE_BYTES_MIN: u64 = 32 << 20;
/// Size of the file that is let go of when the disk is full in spite of that.
pub const BALLAST_BYTES: u64 = 8 << 20;

/// Identities that a topic's deduplication window keeps at most, unless told otherwise.
pub const DEDUP_COUNT: u64 = 100_000;
/// Ceiling of the setting above: a million identities take under 64 MB.
pub const DEDUP_COUNT_MAX: u64 = 10_000_000;
/// Age up to which an identity is remembered, unless told otherwise.
pub const DEDUP_AGE: Duration = Duration::from_hours(24);
/// Ceiling of the setting above: beyond it, the count is the bound that matters.
pub const DEDUP_AGE_MAX: Duration = Duration::from_hours(30 * 24);

/// Shortest retention by age: batches are removed whole, and the check comes once in a while.
pub const RETENTION_AGE_MIN: Duration = Duration::from_secs(1);
/// Longest retention by age, a hundred years: what is to stay longer stays for ever.
pub const RETENTION_AGE_MAX: Duration = Duration::from_hours(100 * 365 * 24);
/// Smallest retention by size: a few batches.
pub const RETENTION_BYTES_MIN: u64 = 1 << 20;

/// Time between two runs of retention.
pub const RETENTION_EVERY: Duration = Duration::from_secs(30);
/// Batches that one run of retention removes in one commit: bounds what the publishers beside it wait.
pub const TRIM_BATCHES_MAX: u64 = 1000;
/// Keys after which a run of retention ends early, on a topic that numbers the events of each: the rows of the index are
/// looked through key by key.
pub const TRIM_KEYS_MAX: usize = 10_000;
/// Time after which a consumer that no configuration names any more doesn't hold retention back.
pub const DETACHED_HOLDS_RETENTION: Duration = Duration::from_hours(168);
/// Dead letters that one call lists, redrives or discards.
pub const LETTERS_MAX: usize = 1000;
/// Redriven events that a lane has to work off at one time: unlike other held events, each is in the lane's memory as a
/// whole. More letters are redriven when it has.
pub const REDRIVEN_MAX: usize = 10_000;
/// Bytes of held events that a redrive may bring a lane to; one letter always passes where none waits.
pub const REDRIVEN_BYTES_MAX: usize = 64 << 20;

/// Most events that one read returns.
pub const READ_EVENTS_MAX: usize = 1024;
/// Bytes after which a read returns what it has.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Deliveries whose effects a lane commits at once.
pub const LANE_BATCH_DELIVERIES: usize = 1024;
/// Bytes of effects after which a lane commits: so few that a batch is large, see below, only by a delivery that is.
pub const LANE_BATCH_BYTES: usize = 128 << 10;
/// Time after which a lane commits what it has, however little.
pub const LANE_BATCH_TIME: Duration = Duration::from_millis(20);
/// A lane's share of a thread is one in so many: a plugin's lane that uses more is worked on in turn with others like it, so
/// that those below find a thread.
pub const LANE_SHARE: u32 = 4;
/// Time that a lane may use over its share before that: some slices of a plugin.
pub const LANE_BURST: Duration = Duration::from_millis(4);
/// Time after which a lane that gives up its thread lets other threads have the core first: about a slice of a plugin.
pub const LANE_SLICE: Duration = Duration::from_micros(500);
/// Most that is counted over its share, so that a lane has made up for it after a second of rest.
pub const LANE_DEBT_MAX: Duration = Duration::from_millis(250);
/// A lane rests so many times as long as the attempt took in which its program trapped, or went over a limit. The rest doubles
/// with each trap that follows without a success between them: a program that does nothing else costs its neighbours little.
pub const TRAP_REST: u32 = 9;
/// How often it doubles.
pub const TRAP_DOUBLED_MAX: u32 = 10;
/// Longest such rest.
pub const TRAP_REST_MAX: Duration = Duration::from_secs(4);
/// What part of a commit's time, one in so many, those that the last commit has answered are given to come back before the next
/// one begins without them: who is there already waits no longer than for a commit that is a little slower.
pub const COMMIT_DELAY_PART: u32 = 8;
/// Longest time that they are given, in which the committer keeps its core.
pub const COMMIT_DELAY_MAX: Duration = Duration::from_millis(1);
/// Bytes from which on a lane's batch is large, and takes turns with others like it: each commit has one at most.
pub const LANE_COMMIT_LARGE: usize = 256 << 10;
/// What large batches add to the wait of others, on average: so small a part of what a commit takes, one in so many.
pub const LARGE_COMMIT_DELAY: u32 = 100;
/// Longest that a large batch waits for that, and how long somebody who has published counts as being about.
pub const LARGE_COMMIT_WAIT_MAX: Duration = Duration::from_secs(2);
/// Events that a lane holds, waiting for retries, unless told otherwise. At this bound it stops and says so.
pub const HELD_MAX: usize = 10_000;
/// Ceiling of the setting above: held references live in the lane's memory.
pub const HELD_CEILING: usize = 1_000_000;
/// Time that a native handler's delivery may take. A native handler is part of the application, so this only keeps a
/// future that never ends from holding its lane for ever.
pub const HANDLER_DEADLINE: Duration = Duration::from_mins(5);
/// Time that a consumer has to end its current delivery when it is unsubscribed or given another configuration.
pub const UNSUBSCRIBE_WAIT: Duration = Duration::from_secs(30);
/// Time that a shutdown gives the disk where its deadline leaves less: a healthy disk takes milliseconds, and a shutdown
/// that cuts its consumers off is to leave the directory free all the same.
pub const SHUTDOWN_DISK_WAIT: Duration = Duration::from_secs(1);
/// Dead letters of a consumer that a shutdown counts: counting reads them, and the end is not to wait for that.
pub const SHUTDOWN_LETTERS_MAX: u64 = 10_000;
/// Most threads that run lanes, and most that compile plugins: the bus is a guest in somebody's process.
pub const BUS_THREADS_MAX: usize = 4;
/// Held events that a lane delivers in a row while a fresh one is ready: retries come first, and never starve what is new.
pub const HELD_IN_A_ROW: u64 = 7;
/// First wait of a lane whose commits fail or find the disk full. It doubles with each failure in a row.
pub const STORAGE_RETRY_BASE: Duration = Duration::from_millis(200);
/// Longest such wait: about how soon after a disk has room again its consumers go on.
pub const STORAGE_RETRY_MAX: Duration = Duration::from_secs(10);
/// A lane without work for so long lets go of its instance and its memory.
pub const LANE_IDLE: Duration = Duration::from_secs(10);

/// Attempts at a delivery unless told otherwise.
pub const ATTEMPTS_MAX: u32 = 8;
/// Ceiling of the setting above: a held event keeps the diagnosis of every attempt.
pub const ATTEMPTS_CEILING: u32 = 100;
/// Age of a delivery, from its first attempt, after which it is not tried again.
pub const ATTEMPT_AGE_MAX: Duration = Duration::from_hours(24);
/// Ceiling of the setting above: a held event holds retention back.
pub const ATTEMPT_AGE_CEILING: Duration = Duration::from_hours(30 * 24);
/// First upper bound of the wait before a retry.
pub const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// Largest upper bound of the wait before a retry.
pub const BACKOFF_MAX: Duration = Duration::from_mins(5);
/// Ceiling of the setting above: a longer wait is a schedule, not a retry.
pub const BACKOFF_CEILING: Duration = Duration::from_hours(24);
/// Shortest wait that a setting may ask for: what is shorter is no wait.
pub const BACKOFF_FLOOR: Duration = Duration::from_millis(1);
/// Longest wait before a retry that a failure may ask for. A server that says when to come again is obeyed, however
/// short the backoff is; one that says next year is tried tomorrow.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
/// Crashes of the whole process during one marked delivery after which the event is given up on. One crash may be an
/// operator's `kill -9`, unlucky in its moment; three in the same delivery are the delivery's.
pub const HOST_CRASHES_MAX: u32 = 3;
/// Deliveries that a lane marks one by one after an unclean end: what its last batch before can have held.
pub const MARKED_DELIVERIES: usize = LANE_BATCH_DELIVERIES;

/// Longest code of a failure.
pub const FAILURE_CODE_BYTES_MAX: usize = 64;
/// Longest message of a failure; longer ones are cut.
pub const FAILURE_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Longest backtrace kept with a failure, some forty frames; longer ones are cut. A held event keeps each different one.
pub const BACKTRACE_BYTES_MAX: usize = 4 << 10;

/// Longest key of a plugin's state.
pub const STATE_KEY_BYTES_MAX: usize = 1 << 10;
/// Largest value of a plugin's state.
pub const STATE_VALUE_BYTES_MAX: usize = 1 << 20;
/// Entries that one scan returns.
pub const STATE_SCAN_MAX: usize = 1000;
/// Bytes after which a scan returns what it has.
pub const STATE_SCAN_BYTES_MAX: usize = 1 << 20;
/// Events that one delivery may publish.
pub const EFFECT_EVENTS_MAX: usize = 1000;
/// Bytes of state and events that one delivery may write: less than a commit, so that it always fits into one.
pub const EFFECT_BYTES_MAX: usize = 4 << 20;
/// Random bytes in one answer.
pub const RANDOM_BYTES_MAX: usize = 64 << 10;

/// Longest id of an aggregate: it is a part of the key of its snapshot.
pub const AGGREGATE_ID_BYTES_MAX: usize = 512;
/// Largest state of an aggregate: with its head, a snapshot of it is a value of the lane's state.
pub const AGGREGATE_STATE_BYTES_MAX: usize = STATE_VALUE_BYTES_MAX - (1 << 10);
/// Events of an aggregate after which its state is kept, unless told otherwise: to read and fold as many takes 0.3 ms,
/// about as long as one of the two commits that a command waits for.
pub const SNAPSHOT_EVERY: u32 = 100;
/// Ceiling of the setting above: rebuilding an aggregate would hold its lane for seconds.
pub const SNAPSHOT_EVERY_CEILING: u32 = 100_000;
/// Aggregates whose state a lane has in memory, unless told otherwise.
pub const AGGREGATES_CACHED: usize = 10_000;
/// Ceiling of the setting above: so many small ones are some hundred megabytes.
pub const AGGREGATES_CACHED_CEILING: usize = 1_000_000;
/// Bytes of the states that a lane has in memory, unless told otherwise: eight lanes have 32 MiB.
pub const AGGREGATES_CACHED_BYTES: usize = 4 << 20;
/// Ceiling of the setting above.
pub const AGGREGATES_CACHED_BYTES_CEILING: usize = 1 << 30;
/// What an aggregate takes in memory beside its id and its state.
pub const AGGREGATE_OVERHEAD_BYTES: usize = 256;
/// Outcomes of commands that a lane keeps, of its latest ones: at ten thousand commands a second, whoever waits for one
/// has a second to read it.
pub const OUTCOMES_KEPT: u64 = 10_000;
/// Offsets after which outcomes that are too old are removed, some at a time.
pub const OUTCOMES_PRUNED_EVERY: u64 = 64;
/// JSON that a rejection carries for programs: what is larger is no reason.
pub const REJECTION_DATA_BYTES_MAX: usize = 4 << 10;
/// How deep that is nested: readers of JSON go to 128 levels, and it is a part of answers.
pub const REJECTION_DATA_DEPTH_MAX: usize = 100;

/// Linear memory of a plugin's instance unless told otherwise.
pub const PLUGIN_MEMORY_BYTES: usize = 64 << 20;
/// Ceiling of the setting above: the pool reserves address space for it.
pub const PLUGIN_MEMORY_CEILING: usize = 512 << 20;
/// Floor of the setting above: what a small component's own data and stack take.
pub const PLUGIN_MEMORY_FLOOR: usize = 1 << 20;
/// Elements in a plugin's table: a Python interpreter needs 6,000.
pub const PLUGIN_TABLE_ELEMENTS: usize = 20_000;
/// Linear memories of all live instances together, and so the most instances: a lane that finds no room waits. The pool
/// reserves 4 GiB of address space for each where it may.
pub const PLUGIN_INSTANCES_MAX: u32 = 1000;
/// Memories of one instance: a JavaScript engine needs three.
pub const PLUGIN_MEMORIES: u32 = 8;
/// Tables of one instance: a Python interpreter has one for most of its modules.
pub const PLUGIN_TABLES: u32 = 32;
/// Core instances of one instance: a Python interpreter has fourteen modules, and adapters between them.
pub const PLUGIN_CORE_INSTANCES: u32 = 64;
/// Slots of memories, tables and stacks that keep their pages for the next instance of the same plugin.
pub const PLUGIN_WARM_SLOTS: u32 = 16;
/// Stack for what a guest calls in the host, beneath the guest's own: writing a log line through an application's
/// subscriber, or reading the log for what comes next. Half of what a thread has where native handlers run, which do the
/// same; what isn't touched takes no memory.
pub const PLUGIN_HOST_STACK_BYTES: usize = 1 << 20;
/// Handles that an instance holds of WASI's resources: timers, streams.
pub const WASI_RESOURCES_MAX: usize = 1024;
/// Largest component file: an embedded Python is 18 MB.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// Core modules and components within a component: an embedded Python has some thirty.
pub const COMPONENT_MODULES_MAX: usize = 128;
/// Functions of a component: an embedded Python has under 20,000.
pub const COMPONENT_FUNCTIONS_MAX: usize = 100_000;
/// Instances within an instance of a component, core modules' and components', each component taken for the largest in it:
/// an embedded Python has under a hundred. Without a bound they double with each level, in time and memory of the compiler.
pub const COMPONENT_INSTANCES_MAX: usize = 1024;
/// Bytes of one function: the largest of an embedded Python has 427 kB.
pub const FUNCTION_BYTES_MAX: usize = 1 << 20;
/// Values that meet where a function's control flow joins: the compiler takes about a kilobyte for each, and an embedded
/// Python comes to 11,281.
pub const FUNCTION_JOINS_MAX: usize = 64 << 10;
/// The same, each value as often as there are loops around it: the compiler takes about a microsecond for each, and an
/// embedded Python comes to 23,151.
pub const FUNCTION_NESTED_JOINS_MAX: usize = 1 << 20;
/// Locals of a function times its branches: values that the compiler looks for at each, at some nanoseconds; an embedded
/// Python comes to 134,064.
pub const FUNCTION_LOOKS_MAX: usize = 16 << 20;
/// The values that meet in the loops of all functions of a component: as much as sixteen of the worst, and twenty embedded
/// Pythons.
pub const COMPONENT_JOINS_MAX: usize = 16 << 20;
/// Largest compiled component that is kept on disk: code takes two to four times a component's size.
pub const COMPILED_BYTES_MAX: usize = COMPONENT_BYTES_MAX * 4;
/// Compiled components that are kept on disk: each consumer's running version and a few before it.
pub const CODE_CACHE_FILES_MAX: usize = 256;
/// Bytes of compiled components that are kept on disk.
pub const CODE_CACHE_BYTES_MAX: u64 = 1 << 30;
/// Names of imports or exports that an error lists.
pub const LISTED_NAMES_MAX: usize = 8;
/// Topics that a plugin says it publishes to.
pub const PLUGIN_TOPICS_MAX: usize = 256;
/// Longest version of a plugin.
pub const PLUGIN_VERSION_BYTES_MAX: usize = 64;
/// Time that a delivery may take unless told otherwise.
pub const PLUGIN_DEADLINE: Duration = Duration::from_secs(5);
/// Ceiling of the setting above: a lane that waits for a plugin can't be stopped.
pub const PLUGIN_DEADLINE_MAX: Duration = Duration::from_mins(10);
/// Time between two ticks of the epoch: how long a spinning plugin keeps a thread from others.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// A guest's stack: deep recursion traps before it hurts the host.
pub const PLUGIN_STACK_BYTES: usize = 512 << 10;
/// Strings and lists that a guest hands to the host in one call.
pub const GUEST_CALL_BYTES_MAX: usize = EFFECT_BYTES_MAX + (1 << 20);
/// Longest line in the log from a plugin; longer ones are cut.
pub const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// Lines in the log that one lane's plugin may write in a second; what comes faster is counted and dropped.
pub const LOG_LINES_PER_SECOND: u32 = 100;

/// Longest question to a projection: it is a name, and stands in errors.
pub const QUESTION_BYTES_MAX: usize = 256;
/// Largest parameters of a question: as much as an event of the default size.
pub const QUESTION_PARAMETERS_BYTES_MAX: usize = EVENT_BYTES_MAX;
/// Largest answer to a question, of one lane or of all: it is in memory as a whole, here and in the guest.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// The answers of all lanes to a question, before they are made one: the guest has all of them in its memory.
pub const ANSWERS_BYTES_MAX: usize = 16 << 20;
/// Questions that a projection works on at one time: each has an instance of its own. Others wait. So many may also ask what the
/// aggregates of a consumer were, and have events lifted that they have read.
pub const QUESTIONS_AT_ONCE: usize = 8;
/// Places that a question asks to be reflected: one for each partition of a topic.
pub const QUESTION_PLACES_MAX: usize = PARTITIONS_MAX as usize;
/// Time that a question waits for a projection to reflect what it asks for, unless told otherwise.
pub const QUESTION_WAIT: Duration = Duration::from_secs(2);
/// Ceiling of the setting above: who waits longer asks again.
pub const QUESTION_WAIT_MAX: Duration = Duration::from_mins(10);
/// Dead letters of a projection, the newest first, among which an event is looked for that a question asks to be reflected.
pub const QUESTION_LETTERS_MAX: usize = 1000;
/// Rows of a replaced generation that one commit removes: bounds what the publishers beside it wait.
pub const GENERATION_ROWS_MAX: usize = 1000;
/// Time that the lanes of a projection stand still so that a rebuilt generation can come to where they are. Where it doesn't,
/// they go on, and it is tried again.
pub const REBUILD_SWITCH_WAIT: Duration = Duration::from_secs(5);

/// Outbox relays of a bus: each has a connection to its database, and with SQLite a thread.
pub const OUTBOXES_MAX: usize = 64;
/// Topics that an outbox's configuration lists.
pub const OUTBOX_TOPICS_MAX: usize = 256;
/// Rows that an outbox relay publishes in one commit.
pub const OUTBOX_ROWS_MAX: u32 = 256;
/// Bytes of rows after which an outbox relay reads no more into one commit. One row of the bus's largest event passes.
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;
/// What a row may have beside what its event takes, such as the quotes of its extensions in JSON. A row that is larger than
/// the largest event and this isn't fetched.
pub const OUTBOX_ROW_EXTRA_BYTES: usize = 64 << 10;
/// Time between two looks into an outbox that was empty, unless told otherwise.
pub const OUTBOX_POLL: Duration = Duration::from_millis(100);
/// Floor of the setting above: a look is a query.
pub const OUTBOX_POLL_MIN: Duration = Duration::from_millis(1);
/// Ceiling of the setting above: what comes later is a batch job.
pub const OUTBOX_POLL_MAX: Duration = Duration::from_hours(1);
/// Shortest time that published rows can be kept: what is shorter is `after = "delete"`.
pub const OUTBOX_KEEP_MIN: Duration = Duration::from_secs(1);
/// Time between two looks for kept rows that are old enough to go.
pub const OUTBOX_PURGE_EVERY: Duration = Duration::from_mins(1);
/// Kept rows that one step removes: bounds how long the application's writers wait for it.
pub const OUTBOX_PURGE_ROWS_MAX: u32 = 1000;
/// Failed rows that one step lists or puts back to work.
pub const OUTBOX_FAILED_ROWS_MAX: u32 = 1000;
/// Rows up to which a backlog is counted: counting more takes longer than anybody waits.
pub const OUTBOX_COUNT_MAX: u32 = 1_000_000;
/// Longest diagnosis of a row that is set aside; longer ones are cut.
pub const OUTBOX_FAILURE_BYTES_MAX: usize = 4 << 10;
/// First wait after an outbox's database could not be used. It doubles with each failure in a row.
pub const OUTBOX_RETRY_BASE: Duration = Duration::from_millis(200);
/// Longest such wait: about how soon after a database is back its rows are published.
pub const OUTBOX_RETRY_MAX: Duration = Duration::from_secs(10);
/// Time that one step on an outbox's database may take before the connection is given up.
pub const OUTBOX_STEP_MAX: Duration = Duration::from_secs(30);
/// Time that an outbox relay waits for SQLite's write lock: an application's transaction is shorter, or the relay says
/// that it waits.
pub const OUTBOX_BUSY_MAX: Duration = Duration::from_secs(5);

/// Attempts at a delivery to another system unless told otherwise. With the wait below, an outage of some seven hours
/// passes before the first event is given up on.
pub const PATIENT_ATTEMPTS: u32 = ATTEMPTS_CEILING;
/// First upper bound of the wait before such a retry: what answers again after half a second was hardly away.
pub const PATIENT_BACKOFF_BASE: Duration = Duration::from_millis(500);
/// Largest upper bound of that wait: about how long after an outage the last events come.
pub const PATIENT_BACKOFF_MAX: Duration = Duration::from_mins(10);

/// Time for one try to hand an event on, from connecting to the answer, unless told otherwise.
pub const RELAY_TIMEOUT: Duration = Duration::from_secs(10);
/// Floor of the setting above: less than a round trip to another continent fails by itself.
pub const RELAY_TIMEOUT_FLOOR: Duration = Duration::from_millis(100);
/// Ceiling of the setting above: a lane waits meanwhile, for its turn and then for the answer, and has to stay within a
/// handler's deadline.
pub const RELAY_TIMEOUT_MAX: Duration = Duration::from_mins(2);
/// Largest secret that a file or the environment may hold: a file of NATS credentials is under 2 KiB.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Longest URL of an endpoint or a server: what is longer, few servers take.
pub const URL_BYTES_MAX: usize = 2 << 10;
/// Most headers that a relay sends beside those of the event.
pub const RELAY_HEADERS_MAX: usize = 32;
/// Requests that an HTTP relay has under way at one time, and so its connections, unless told otherwise.
pub const RELAY_CONNECTIONS: usize = 16;
/// Ceiling of the setting above: each is an open file, here and at the endpoint.
pub const RELAY_CONNECTIONS_MAX: usize = 256;
/// Time after which an unused connection is closed: most servers close theirs after one to two minutes.
pub const RELAY_CONNECTION_IDLE: Duration = Duration::from_mins(1);
/// Largest head of an answer.
pub const RELAY_HEAD_BYTES_MAX: usize = 64 << 10;
/// Time for an answer's body once its status is there: what becomes of the event is known, and the lane waits only for
/// what a message repeats and for a connection that can be used again. After that, it is closed.
pub const RELAY_BODY_TIME: Duration = Duration::from_secs(1);
/// Bytes of an answer's body that are read, so that its connection can be used again. After more, it is closed.
pub const RELAY_BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer that a failure's message repeats.
pub const RELAY_EXCERPT_BYTES: usize = 1 << 10;
/// Time for which nothing is sent to an endpoint that says it is gone for good. A person has to act, and may have.
pub const RELAY_GONE_WAIT: Duration = Duration::from_hours(1);
/// Most NATS servers that a relay knows from its configuration.
pub const NATS_SERVERS_MAX: usize = 32;
/// Longest subject: a NATS server takes 4 KiB for a line with the subject, the reply's subject and the sizes.
pub const NATS_SUBJECT_BYTES_MAX: usize = 1 << 10;
/// Messages that may wait in the NATS client for its connection. Each lane has one under way; more lanes wait.
pub const NATS_CLIENT_MESSAGES_MAX: usize = 256;
/// Messages from a NATS server that may wait in the client: only acknowledgements come.
pub const NATS_SUBSCRIPTION_MESSAGES_MAX: usize = 1024;

/// Longest name of a timer: it is part of the id of the event that comes of it, which holds the names of consumer and topic too.
pub const TIMER_NAME_BYTES_MAX: usize = 256;
/// Largest data of a timer. It is copied into a row that stays until the timer is due, perhaps with a million others; what is
/// larger belongs into the state.
pub const TIMER_DATA_BYTES_MAX: usize = 64 << 10;
/// Timers that a lane may have set at one time: each is two rows of the database for as long as it is set.
pub const TIMERS_MAX: u64 = 1_000_000;
/// The last moment that a timer may be set for: the end of the year 9999, the last that RFC 3339 can write.
pub const TIMER_DUE_MAX: Timestamp = Timestamp(253_402_300_799_999_999);
/// Timers that a list for people has at once.
pub const TIMERS_LISTED_MAX: usize = 1000;
/// Sagas that a list for people has at once. What is stuck or has waited longest comes first, and nobody reads more.
pub const SAGAS_LISTED_MAX: usize = 1000;

/// Nodes of a trace unless told otherwise: nobody reads more of one correlation.
pub const TRACE_EVENTS: usize = 10_000;
/// Ceiling of the setting above: all of them are in memory until the tree is put together.
pub const TRACE_EVENTS_CEILING: usize = 100_000;
/// Texts of a trace's nodes, in bytes: attributes have 8 KiB each, and few have even a hundred bytes.
pub const TRACE_BYTES_MAX: usize = 32 << 20;
/// Other correlations that a trace follows, each of which may cost another reading of all, and that it names.
pub const TRACE_CORRELATIONS_MAX: usize = 10;
/// Dead letters that a trace reads at once: each may hold an event of the largest size.
pub const TRACE_LETTERS: usize = 16;

/// Newest events of a topic that `doctor` reads: enough to see what most of them are like, and read in milliseconds.
pub const DOCTOR_SAMPLE_EVENTS: u64 = 1024;
/// Those of a partition at least, where the topic has many: one or two say nothing of it.
pub const DOCTOR_SAMPLE_FLOOR: u64 = 8;
/// Oldest events of a partition that it reads, for the versions that are still there.
pub const DOCTOR_OLDEST_EVENTS: usize = 4;
/// Pages of a consumer's sagas that it reads, of [`STATE_SCAN_MAX`] each: some 16,000, in a tenth of a second.
pub const DOCTOR_SAGA_PAGES: usize = 16;
/// Event types that it tells apart in a topic.
pub const DOCTOR_TYPES_MAX: usize = 100;
/// Names that a finding lists.
pub const DOCTOR_NAMES_MAX: usize = 3;
/// Characters of a text from outside that a finding shows.
pub const DOCTOR_TEXT_CHARS: usize = 200;
/// Events of a topic below which its traffic says nothing.
pub const DOCTOR_TRAFFIC_EVENTS: u64 = 100;
/// In which times traffic is looked at: in the first that has enough of it, and else in all that is retained.
pub const DOCTOR_TRAFFIC_TIMES: [Duration; 2] = [Duration::from_hours(1), Duration::from_hours(24)];
/// An event that is larger than what `CloudEvents` wants to pass everywhere belongs elsewhere.
pub const DOCTOR_EVENT_BYTES: usize = EVENT_BYTES_FLOOR;
/// Partitions below which one that has more than half of the traffic is no wonder.
pub const DOCTOR_HOT_PARTITIONS_MIN: usize = 4;
/// What a deduplication window has to last for: a producer that got no answer tries again within minutes.
pub const DOCTOR_DEDUP_TIME_MIN: Duration = Duration::from_mins(10);
/// Correlations of several events below which it says nothing that they have different keys.
pub const DOCTOR_CHAINS_MIN: usize = 10;
/// Age of the oldest event of a lane that runs, from which on it doesn't keep up.
pub const DOCTOR_LAG_MAX: Duration = Duration::from_mins(15);
/// The part of a bound, as so many of so many, from which on it is nearly reached.
pub const DOCTOR_FULL_PART: (u64, u64) = (4, 5);
/// A disk is nearly full that has less than so many times what publishing leaves.
pub const DOCTOR_FREE_FLOORS: u64 = 4;
/// Age of an outbox's oldest row from which on its relay doesn't keep up.
pub const DOCTOR_OUTBOX_AGE_MAX: Duration = Duration::from_mins(5);

/// Largest configuration file.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// Largest settings of one plugin, as JSON: they are copied into each instance that asks for them.
pub const SETTINGS_BYTES_MAX: usize = 64 << 10;
/// Largest request or answer on the control socket; long answers come in pieces.
pub const FRAME_BYTES_MAX: usize = EVENT_BYTES_CEILING + (1 << 20);
/// Connections to the control socket at one time.
pub const CONNECTIONS_MAX: usize = 64;
/// Answers that a request may run ahead of who takes them.
pub const ANSWERS_AHEAD: usize = 16;
/// Time after which a client that says nothing is hung up on: it holds one of the connections.
pub const CONTROL_IDLE: Duration = Duration::from_mins(5);
/// Time after which a client that doesn't take its answer is hung up on. A reader in a pager may well take its time.
pub const CONTROL_STALLED: Duration = Duration::from_hours(1);
/// Pause after a connection that could not be accepted, so that the fault doesn't keep a thread busy.
pub const CONTROL_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for which a file has to stay as it is before it is read: whoever writes it is done by then.
pub const FILE_QUIET: Duration = Duration::from_millis(200);
/// Time between two looks at the watched files when nothing reports a change: network file systems report none, and a
/// symbolic link changes elsewhere.
pub const FILES_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest line of an input file: an event at its ceiling, with its data in base64.
pub const LINE_BYTES_MAX: usize = EVENT_BYTES_CEILING * 2;

const _: () = assert!(EFFECT_BYTES_MAX < COMMIT_BYTES_MAX, "the effects of one delivery fit into one commit");
const _: () = assert!(
    CLAIM_CHECK_BYTES_FLOOR < EVENT_BYTES_FLOOR,
    "data that goes to the blob store at the latest where its event would be too large is above what may go there"
);
const _: () = assert!(COMMIT_BYTES_MAX < ADMISSION_BYTES_MAX, "a commit can be filled from what waits");
const _: () = assert!(ANSWER_BYTES_MAX <= GUEST_CALL_BYTES_MAX, "a guest can hand over the largest answer");
const _: () =
    assert!(EVENT_BYTES_MAX <= EFFECT_BYTES_MAX, "a delivery can publish one event of the default size");
const _: () =
    assert!(STATE_VALUE_BYTES_MAX <= EFFECT_BYTES_MAX, "a delivery can write one value of the largest size");
const _: () = assert!(
    RELAY_TIMEOUT_MAX.as_secs() * 2 + RELAY_BODY_TIME.as_secs() < HANDLER_DEADLINE.as_secs(),
    "a relay waits for its turn, for the answer and for its body, within a handler's deadline"
);
