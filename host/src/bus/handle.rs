//! The bus itself.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::components::Components;
use super::ending::{self, Ending};
use super::reader::{Partitions, Reader};
use super::rebuild::Rebuilds;
use super::roster::Roster;
use super::upcasters::Upcasters;
use super::{Blocking, BusError, Drained, Options, PartitionStatus, TopicStatus};
use crate::clock::Clock;
use crate::config::{BusConfig, TopicConfig, check_name};
use crate::delivery::Lanes;
use crate::event::Event;
use crate::limits::{BUS_THREADS_MAX, JOURNAL_FILE_PART, RETENTION_EVERY};
use crate::log::{
    AdminError, FileMedium, Log, LogOptions, Position, PublishError, Published, ReadError, Trimmed,
};
use crate::plugin;
use crate::stepper::Stepper;

/// A durable event bus on one data directory.
///
/// It is a handle: cheap to clone, and usable from any thread and any async runtime, as the bus runs on threads of its
/// own. For a program without async, [`blocking`](Self::blocking) offers the same.
///
/// [`shutdown`](Self::shutdown) ends it in good order. The last handle that is dropped without it, readers included, ends
/// the bus without waiting: consumers are cut off at their next await, what was admitted is written, and the directory is
/// free soon after. What was acknowledged is durable as ever, and what consumers were cut off from is delivered again.
///
/// ```
/// use tidegate::config::{ConsumerConfig, TopicConfig};
/// use tidegate::{Bus, Event, handler_fn};
///
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let bus = Bus::open(directory)?;
/// let bus = bus.blocking();
/// bus.create_topic("orders", TopicConfig::new(4))?;
/// bus.subscribe("greeter", ConsumerConfig::new(["orders"]), handler_fn(|delivery, context| {
///     context.set(b"last", delivery.event.id().as_bytes())?;
///     Ok(())
/// }))?;
/// let order = Event::new("order-17", "/shop", "OrderPlaced.v1").subject("customer-4").build()?;
/// let published = bus.publish("orders", order)?;
/// assert_eq!(published.offset, 0);
/// bus.shutdown(std::time::Duration::from_secs(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Bus {
    pub(super) inner: Arc<Inner>,
}

/// What all handles share.
pub(super) struct Inner {
    pub log: Arc<Log>,
    /// What runs plugins; nothing does in steps.
    pub plugins: Option<plugin::Runtime>,
    pub components: Components,
    pub upcasters: Upcasters,
    pub roster: Roster,
    pub lanes: Lanes,
    pub rebuilds: Rebuilds,
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub outboxes: crate::outbox::Roster,
    pub handle: tokio::runtime::Handle,
    directory: PathBuf,
    config: BusConfig,
    runtime: Mutex<Option<Runtime>>,
    /// What it works in steps with, where it has no threads.
    pub stepper: Option<Stepper>,
    pub ending: Ending,
}

impl Bus {
    /// Opens the bus on a data directory, and makes an empty one where there is none. It blocks for some milliseconds.
    ///
    /// ```
    /// let directory = tempfile::tempdir()?; // your application's data directory
    /// let bus = tidegate::Bus::open(directory.path())?;
    /// assert!(bus.topics().is_empty());
    ///
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`BusError`]. Nothing was changed then.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, BusError> {
        Self::open_with(Options::new(directory))
    }

    /// Opens the bus with other settings than the default ones.
    ///
    /// ```
    /// use tidegate::config::{BusConfig, CommitMode};
    /// use tidegate::{Bus, Options};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let mut config = BusConfig::default();
    /// config.commit = CommitMode::OnePhase;
    /// let bus = Bus::open_with(Options::new(directory.path()).config(config))?;
    ///
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`BusError`]. Nothing was changed then.
    pub fn open_with(options: Options) -> Result<Self, BusError> {
        options.config.validate()?;
        let directory = options.directory;
        let failed =
            |source: io::Error| BusError::Directory { path: directory.clone(), source: Arc::new(source) };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let log_options = LogOptions {
            commit: options.config.commit,
            event_bytes_max: options.config.event_bytes_max,
            cache_bytes: options.config.cache_bytes,
            journal_bytes: options.config.journal_bytes,
            journal_file_part: JOURNAL_FILE_PART,
            free_bytes_min: options.config.free_bytes_min,
            blobs_bytes_max: options.config.blobs_bytes_max,
            is_stepped: options.stepper.is_some(),
        };
        let medium = options.medium.unwrap_or_else(|| Box::new(FileMedium::new(&directory)));
        let stepper = options.stepper;
        let steps = stepper.as_ref().map(|stepper| stepper.steps().clone());
        let log = Log::open(log_options, medium, Arc::clone(&options.clock), options.random, steps)?;
        let log = Arc::new(log);
        let components = Components::open(&directory).map_err(failed)?;
        let (runtime, handle) = if let Some(stepper) = &stepper {
            (None, stepper.handle().clone())
        } else {
            let runtime = threads().map_err(|source| BusError::Threads(Arc::new(source)))?;
            let handle = runtime.handle().clone();
            (Some(runtime), handle)
        };
        let plugins = match &stepper {
            None => Some(plugin::Runtime::new(plugin::RuntimeOptions {
                cache: Some(directory.join("compiled")),
                clock: options.clock,
            })?),
            Some(_) => None,
        };
        let retention = keep_retention(Arc::clone(&log));
        match &stepper {
            None => drop(handle.spawn(retention)),
            Some(stepper) => drop(stepper.spawn(retention)),
        }
        let lanes = Lanes::new(Arc::clone(&log), handle.clone(), stepper.clone());
        let inner = Inner {
            log,
            plugins,
            components,
            upcasters: Upcasters::default(),
            roster: Roster::default(),
            lanes,
            rebuilds: Rebuilds::default(),
            #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
            outboxes: crate::outbox::Roster::default(),
            handle,
            directory,
            config: options.config,
            runtime: Mutex::new(runtime),
            stepper,
            ending: Ending::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same bus for a program without async.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// # let bus = bus.bus();
    /// let blocking = bus.blocking();
    /// blocking.create_topic("orders", tidegate::config::TopicConfig::new(4))?;
    /// assert_eq!(bus.topics().len(), 1, "it is the same bus");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn blocking(&self) -> Blocking {
        Blocking::new(self.clone())
    }

    /// The data directory.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// # let bus = bus.bus();
    /// assert_eq!(bus.directory(), directory.path());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// The settings that it was opened with.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// # let bus = bus.bus();
    /// assert_eq!(bus.config().event_bytes_max, 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn config(&self) -> &BusConfig {
        &self.inner.config
    }

    /// The clock that the bus goes by.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// # let bus = bus.bus();
    /// let now = bus.clock().now();
    /// assert!(bus.clock().now() >= now, "it never goes back");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.inner.log.clock()
    }

    /// The bus's own runtime.
    #[cfg(feature = "server")]
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.inner.handle
    }

    /// Creates a topic. Where there is one of the same name and number of partitions, it takes over the other settings.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use std::time::Duration;
    /// use tidegate::AdminError;
    /// use tidegate::config::{Retention, TopicConfig};
    ///
    /// let day = Retention::keep_for(Duration::from_secs(24 * 60 * 60));
    /// bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// bus.create_topic("orders", TopicConfig::new(4).retention(day)).await?;
    ///
    /// let other = bus.create_topic("orders", TopicConfig::new(8)).await;
    /// assert!(matches!(other, Err(AdminError::PartitionsFixed { partitions: 4, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AdminError`]. Durable when this returns; with `InDoubt` it may be.
    pub async fn create_topic(&self, name: &str, config: TopicConfig) -> Result<(), AdminError> {
        check_name(name)?;
        config.validate()?;
        self.check_stream(name, &config)?;
        self.inner.log.create_topic(name, config).await.map(drop)
    }

    /// All topics, by name.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # bus.create_topic("orders", tidegate::config::TopicConfig::new(4)).await?;
    /// # bus.publish("orders", tidegate::Event::new("1", "/shop", "OrderPlaced.v1").build()?).await?;
    /// for topic in bus.topics() {
    ///     println!("{}: {} events in {} bytes", topic.name, topic.events(), topic.bytes());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topics(&self) -> Vec<TopicStatus> {
        let topics = self.inner.log.topics().into_iter();
        let topic = |topic: crate::log::TopicInfo| TopicStatus {
            name: topic.name.to_string(),
            created: topic.created,
            config: topic.config,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| PartitionStatus {
                    first_offset: partition.low,
                    next_offset: partition.next,
                    bytes: partition.bytes,
                })
                .collect(),
        };
        topics.map(topic).collect()
    }

    /// Publishes an event: it is on the disk when this returns. Where the topic has a
    /// [claim check](TopicConfig::claim_check_over) and the data is large, it is written to the blob store first, on the thread
    /// that polls this.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::{Event, PublishError};
    ///
    /// # bus.create_topic("orders", tidegate::config::TopicConfig::new(4)).await?;
    /// let order = Event::new("order-17", "/shop", "OrderPlaced.v1").subject("customer-4").build()?;
    /// let published = bus.publish("orders", order.clone()).await?;
    /// let again = bus.publish("orders", order.clone()).await?;
    /// assert!(again.duplicate && again.offset == published.offset);
    ///
    /// match bus.publish("nowhere", order).await {
    ///     Err(PublishError::UnknownTopic(topic)) => assert_eq!(topic, "nowhere"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`PublishError`]. Nothing is durable then, but with `InDoubt` the event may be; publishing it again is safe.
    pub async fn publish(&self, topic: &str, event: Event) -> Result<Published, PublishError> {
        let published = self.publish_all(vec![(topic, event)]).await?;
        let [published] = published[..] else { unreachable!("each event has its place") };
        Ok(published)
    }

    /// Publishes many events, of one topic or several, in one commit: all of them are on the disk when this returns, or
    /// none. The answer has the place of each, in their order.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::Event;
    ///
    /// # bus.create_topic("orders", tidegate::config::TopicConfig::new(4)).await?;
    /// # bus.create_topic("invoices", tidegate::config::TopicConfig::new(4)).await?;
    /// let order = Event::new("order-17", "/shop", "OrderPlaced.v1").subject("customer-4").build()?;
    /// let invoice = Event::new("invoice-9", "/shop", "InvoiceSent.v1").subject("customer-4").build()?;
    /// let published = bus.publish_all(vec![("orders", order), ("invoices", invoice)]).await?;
    /// assert_eq!(published.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`PublishError`]. Nothing is durable then, but with `InDoubt` all of them may be.
    pub async fn publish_all(&self, events: Vec<(&str, Event)>) -> Result<Vec<Published>, PublishError> {
        self.inner.log.append(events).await
    }

    /// Reads a topic, all partitions or one, from a position on.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::{Event, Position};
    ///
    /// # bus.create_topic("orders", tidegate::config::TopicConfig::new(4)).await?;
    /// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// let mut orders = bus.read("orders", None, Position::Earliest)?;
    /// while let Some(record) = orders.try_next()? {
    ///     println!("partition {}, offset {}: {}", record.partition, record.offset, record.event.id());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such topic or partition, or the log can't be read.
    pub fn read(&self, topic: &str, partition: Option<u32>, from: Position) -> Result<Reader, ReadError> {
        let log = &self.inner.log;
        let unknown = || ReadError::UnknownTopic(topic.to_owned());
        let id = log.topic_id(topic).ok_or_else(unknown)?;
        let name = log.topic_name(id).ok_or_else(unknown)?;
        let count = log.partition_count(id).ok_or_else(unknown)?;
        let partitions = Partitions::new(
            name,
            count,
            partition,
            from,
            |partition| Ok((log.low_offset(id, partition), log.next_offset(id, partition))),
            |partition, time| log.offset_at(id, partition, time),
        )?;
        Ok(Reader::new(Arc::clone(log), id, partitions))
    }

    /// Removes what the topics' retention says, as far as one commit does, and then what the blob store has that nobody names any
    /// more. The bus does so by itself every half minute.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// let trimmed = bus.trim().await?;
    /// assert_eq!((trimmed.events, trimmed.more), (0, false), "nothing was too old");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn trim(&self) -> Result<Trimmed, AdminError> {
        let trimmed = self.inner.log.trim().await?;
        if !trimmed.more {
            // What retention has removed is gone, and they are looked at again the next time.
            if let Err(error) = self.inner.log.collect_blobs().await {
                tracing::warn!(%error, "blobs that nobody needs could not be removed");
            }
        }
        Ok(trimmed)
    }

    /// Ends the bus in good order, and says what was left.
    ///
    /// 1. Each consumer comes to the end of its current delivery and commits, and each outbox's relay to that of its step.
    ///    One that hasn't at the deadline is cut off: that delivery takes no effect, and is made again the next time; the
    ///    relay finds what it left half done. Until then other calls go on as ever, since a delivery may need them.
    /// 2. Calls are refused from here on, on any handle, and so are those that still wait for room in the queue to the
    ///    disk. Those that have room are written and answered.
    /// 3. The database is closed. When this returns, the directory can be opened again, by this or another process.
    ///
    /// The deadline is for all of it. A disk that hangs can't be hurried: it gets what is left of the deadline, at least a
    /// second; then this returns with [`StorageEnd::Pending`](crate::StorageEnd::Pending), and the rest goes on behind it. A deadline of zero cuts
    /// consumers off at once and still writes what was admitted. Dropping the future ends nothing of this.
    ///
    /// Called again, also meanwhile, it waits for the same end and says the same; a call with an earlier deadline brings
    /// the end forward. A handler or the closure of a transaction must not wait for it: it would wait for itself, until the
    /// deadline.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let bus = tidegate::Bus::open(directory.path())?;
    /// let drained = bus.shutdown(std::time::Duration::from_secs(10)).await;
    /// if !drained.is_complete() {
    ///     eprintln!("{drained}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        ending::shut_down(&self.inner, deadline).await
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("directory", &self.inner.directory).finish_non_exhaustive()
    }
}

impl Inner {
    /// Ends the bus's threads, without waiting for them: a runtime may not be dropped where waiting isn't allowed.
    pub(super) fn end_threads(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Inner {
    /// The last handle may be dropped anywhere.
    fn drop(&mut self) {
        self.end_threads();
    }
}

fn threads() -> io::Result<Runtime> {
    // One more than there are cores: busy plugins take turns on all but one, so that each core has one of them to run, and
    // what has little to do finds a thread, which the system puts before those that are always at work.
    let count = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, BUS_THREADS_MAX - 1) + 1;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(count)
        .max_blocking_threads(BUS_THREADS_MAX)
        .thread_name("tidegate")
        .enable_all()
        .build()
}

/// Runs retention again and again, until the log is closed.
async fn keep_retention(log: Arc<Log>) {
    loop {
        log.clock().sleep_until(log.clock().now().after(RETENTION_EVERY)).await;
        loop {
            match log.trim().await {
                Ok(trimmed) if trimmed.more => {}
                Ok(_) => break,
                Err(AdminError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "retention could not be run");
                    break;
                }
            }
        }
        match log.collect_blobs().await {
            Ok(_) => {}
            Err(AdminError::Closed) => return,
            Err(error) => tracing::warn!(%error, "blobs that nobody needs could not be removed"),
        }
    }
}
