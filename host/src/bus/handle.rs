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
use super::reader::{Partitions, Reader};
use super::roster::Roster;
use super::{Blocking, BusError, Options, PartitionStatus, TopicStatus};
use crate::clock::Clock;
use crate::config::{BusConfig, TopicConfig, check_name};
use crate::delivery::Lanes;
use crate::event::Event;
use crate::limits::{BUS_THREADS_MAX, RETENTION_EVERY};
use crate::log::{
    AdminError, FileMedium, Log, LogOptions, Position, PublishError, Published, ReadError, Trimmed,
};
use crate::plugin;

/// A durable event bus on one data directory.
///
/// It is a handle: cheap to clone, and usable from any thread and any async runtime, as the bus runs on threads of its
/// own. For a program without async, [`blocking`](Self::blocking) offers the same.
///
/// The last handle that is dropped ends the bus without waiting; what was acknowledged is durable then as ever.
/// [`shutdown`](Self::shutdown) ends it in good order.
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
    pub plugins: plugin::Runtime,
    pub components: Components,
    pub roster: Roster,
    pub lanes: Lanes,
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub outboxes: crate::outbox::Roster,
    pub handle: tokio::runtime::Handle,
    directory: PathBuf,
    config: BusConfig,
    runtime: Mutex<Option<Runtime>>,
}

/// What [`Bus::shutdown`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Consumers that had not come to the end of their current delivery within the deadline and were cut off. They lose
    /// nothing: what they had not committed is delivered again.
    pub cut_off: Vec<String>,
}

impl Bus {
    /// Opens the bus on a data directory, and makes an empty one where there is none. It blocks for some milliseconds.
    ///
    /// # Errors
    ///
    /// See [`BusError`]. Nothing was changed then.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, BusError> {
        Self::open_with(Options::new(directory))
    }

    /// Opens the bus with other settings than the default ones.
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
            free_bytes_min: options.config.free_bytes_min,
        };
        let medium = options.medium.unwrap_or_else(|| Box::new(FileMedium::new(&directory)));
        let log = Arc::new(Log::open(log_options, medium, Arc::clone(&options.clock), options.random)?);
        let components = Components::open(&directory).map_err(failed)?;
        let runtime = threads().map_err(|source| BusError::Threads(Arc::new(source)))?;
        let plugins = plugin::Runtime::new(plugin::RuntimeOptions {
            cache: Some(directory.join("compiled")),
            clock: options.clock,
        })?;
        let handle = runtime.handle().clone();
        handle.spawn(keep_retention(Arc::clone(&log)));
        let lanes = Lanes::new(Arc::clone(&log), handle.clone());
        let inner = Inner {
            log,
            plugins,
            components,
            roster: Roster::default(),
            lanes,
            #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
            outboxes: crate::outbox::Roster::default(),
            handle,
            directory,
            config: options.config,
            runtime: Mutex::new(Some(runtime)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same bus for a program without async.
    pub fn blocking(&self) -> Blocking {
        Blocking::new(self.clone())
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// The settings that it was opened with.
    pub fn config(&self) -> &BusConfig {
        &self.inner.config
    }

    /// The clock that the bus goes by.
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
    /// # Errors
    ///
    /// See [`AdminError`]. Durable when this returns; with `InDoubt` it may be.
    pub async fn create_topic(&self, name: &str, config: TopicConfig) -> Result<(), AdminError> {
        check_name(name).map_err(|error| AdminError::Invalid(error.to_string()))?;
        config.validate().map_err(|error| AdminError::Invalid(error.to_string()))?;
        self.inner.log.create_topic(name, config).await.map(drop)
    }

    /// All topics, by name.
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

    /// Publishes an event: it is on the disk when this returns.
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
    /// # Errors
    ///
    /// See [`PublishError`]. Nothing is durable then, but with `InDoubt` all of them may be.
    pub async fn publish_all(&self, events: Vec<(&str, Event)>) -> Result<Vec<Published>, PublishError> {
        self.inner.log.append(events).await
    }

    /// Reads a topic, all partitions or one, from a position on.
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

    /// Removes what the topics' retention says, as far as one commit does. The bus does so by itself every half minute.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn trim(&self) -> Result<Trimmed, AdminError> {
        self.inner.log.trim().await
    }

    /// Ends the bus: consumers come to the end of their current delivery and commit, within the deadline; whatever waits
    /// for the disk is written; the data directory is free for another process when this returns. Whatever is called
    /// later, on any handle, is refused.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
        self.stop_outboxes(deadline).await;
        let cut_off = self.stop_consumers(deadline).await;
        let log = Arc::clone(&self.inner.log);
        let (done, closed) = tokio::sync::oneshot::channel();
        // Closing waits for the disk, which no async runtime should.
        let thread = std::thread::Builder::new().name("tidegate-close".to_owned()).spawn(move || {
            log.close();
            // Who called doesn't wait any more: the log is closed all the same.
            let _ = done.send(());
        });
        if thread.is_ok() {
            // The thread answers, or has ended: either way it is over.
            drop(closed.await);
        }
        if let Some(runtime) = self.inner.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
        Drained { cut_off }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("directory", &self.inner.directory).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    /// A runtime may not be dropped where waiting isn't allowed, and the last handle may be dropped anywhere.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

fn threads() -> io::Result<Runtime> {
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(BUS_THREADS_MAX);
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
    }
}
