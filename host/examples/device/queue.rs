//! The queue: a topic, and the consumer that forwards.

use std::path::Path;
use std::time::Duration;

use tidegate::config::{ConsumerConfig, OnDeadLetter, Retention, RetryPolicy, TopicConfig};
use tidegate::{
    AdminError, Bus, BusError, ConsumerError, Event, EventError, Handler, PublishError, ReadError,
};

use crate::reading::Reading;

const TOPIC: &str = "readings";
const CONSUMER: &str = "forward";

/// The first pause between two attempts.
const RETRY_BASE: Duration = Duration::from_millis(500);

/// Time from the first attempt after which a reading is put aside, if it hasn't run out of attempts before, of which there
/// are 100. `put_back` then begins anew.
const ATTEMPT_AGE: Duration = Duration::from_hours(30 * 24);

/// Readings that are put back in one commit.
const PUT_BACK_MAX: usize = 100;

/// How often a reading is published again whose commit failed, and the pause between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// Time for requests that are under way at the end.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Why the queue can't be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error(transparent)]
    Open(#[from] BusError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a reading is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// The queue of readings.
pub struct Queue {
    bus: Bus,
}

impl Queue {
    /// Opens the queue, and lets what is in it be forwarded.
    pub async fn open(
        directory: &Path,
        keep: Duration,
        retry_max: Duration,
        forward: impl Handler,
    ) -> Result<Self, QueueError> {
        let bus = Bus::open(directory)?;
        // Retention waits for the consumer: what was not forwarded stays, however old. With `force(true)` it would go, for
        // a device whose newest readings matter most; the consumer's dead letters would then tell of the gap.
        let retention = Retention::keep_for(keep);
        bus.create_topic(TOPIC, TopicConfig::new(4).retention(retention)).await?;
        let retry = RetryPolicy::patient().backoff(RETRY_BASE.min(retry_max), retry_max).age(ATTEMPT_AGE);
        // While a reading waits, later ones of its sensor wait behind it, and all other sensors go on. `Park` keeps it so
        // when the reading runs out of attempts.
        let config = ConsumerConfig::new([TOPIC]).retry(retry).on_dead_letter(OnDeadLetter::Park);
        bus.subscribe(CONSUMER, config, forward).await?;
        Ok(Self { bus })
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Keeps a reading: it is on the disk when this returns. One that the
    /// queue has had, within its deduplication window, is dropped.
    pub async fn keep(&self, reading: &Reading) -> Result<(), KeepError> {
        let event = reading.event()?;
        let mut pause = tokio::time::interval(PAUSE);
        for _ in 1..TRIES {
            pause.tick().await;
            match self.publish(&event).await {
                // It may be there or not: publishing it again is safe, as it is known by its id.
                Err(PublishError::InDoubt(_) | PublishError::Reopening) => {}
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.publish(&event).await?)
    }

    async fn publish(&self, event: &Event) -> Result<(), PublishError> {
        self.bus.publish(TOPIC, event.clone()).await.map(drop)
    }

    /// Puts readings back to work that ran out of attempts, in their order. Returns how many.
    ///
    /// What the endpoint refused for good stays: `tidegate dlq show forward` says why, and `dlq redrive` or `dlq discard`
    /// lets the sensor's later readings go on.
    pub async fn put_back(&self) -> Result<usize, QueueError> {
        let (mut after, mut count) = (0, 0);
        loop {
            let letters = self.bus.dead_letters(CONSUMER, after, PUT_BACK_MAX)?;
            let Some(last) = letters.last() else { return Ok(count) };
            after = last.id;
            let retryable = letters.iter().filter(|letter| letter.reason.kind.is_retryable());
            let ids: Vec<u64> = retryable.map(|letter| letter.id).collect();
            count += ids.len();
            if !ids.is_empty() {
                self.bus.redrive(CONSUMER, ids).await?;
            }
        }
    }

    /// Ends when all readings are forwarded.
    pub async fn all_forwarded(&self) -> Result<(), QueueError> {
        let mut pause = tokio::time::interval(PAUSE);
        loop {
            self.bus.caught_up(CONSUMER).await?;
            match self.left() {
                Ok(0) => return Ok(()),
                // What was put aside counts as done for the consumer, and not here. A storage that failed comes back.
                Ok(_) | Err(ReadError::Reopening) => {}
                Err(error) => return Err(error.into()),
            }
            pause.tick().await;
        }
    }

    /// How many readings are not forwarded yet.
    pub fn left(&self) -> Result<u64, ReadError> {
        let consumers = self.bus.consumers()?;
        let forward = consumers.iter().find(|consumer| consumer.name == CONSUMER);
        Ok(forward.map_or(0, |forward| forward.lag_events + forward.held + forward.dead_letters))
    }

    /// Ends the bus in good order. A request that is cut off is sent again at the next start.
    pub async fn close(&self) {
        self.bus.shutdown(SHUTDOWN).await;
    }
}
