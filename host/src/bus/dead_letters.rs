//! The dead-letter queues.

use super::Bus;
use crate::ids::ConsumerId;
use crate::log::{AdminError, DeadLetter, ReadError};

impl Bus {
    /// Dead letters of a consumer with ids above `after`, in ascending order, at most `limit` of them, at most 1000 and at
    /// most about 8 MiB; empty only where there are none. To go on, call it with the last one's id.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # use tidegate::{Event, Failure, handler_fn};
    /// # bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// # let handler = handler_fn(|_, _| Err(Failure::permanent("no-stock", "there is none left")));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// # bus.caught_up("billing").await?;
    /// for letter in bus.dead_letters("billing", 0, 100)? {
    ///     println!("{}: {} after {} attempts", letter.id, letter.reason, letter.attempts.len());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log can't be read.
    pub fn dead_letters(
        &self,
        consumer: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, ReadError> {
        self.inner.log.dead_letters(self.consumer_id(consumer)?, after, limit)
    }

    /// One dead letter of a consumer; `None` where there is none of this id.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # use tidegate::{Event, Failure, handler_fn};
    /// # bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// # let handler = handler_fn(|_, _| Err(Failure::permanent("no-stock", "there is none left")));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// # bus.caught_up("billing").await?;
    /// let first = bus.dead_letters("billing", 0, 1)?.remove(0).id;
    /// let letter = bus.dead_letter("billing", first)?.ok_or("gone")?;
    /// assert_eq!(letter.reason.code, "no-stock");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log can't be read.
    pub fn dead_letter(&self, consumer: &str, letter: u64) -> Result<Option<DeadLetter>, ReadError> {
        self.inner.log.dead_letter(self.consumer_id(consumer)?, letter)
    }

    /// Puts dead letters back to work: they move to the consumer's held events, due at once, with their attempts counted
    /// anew; never back to the topic. All of them or none, at most 1000 in a call. A lane has at most 10,000 redriven events,
    /// and 64 MiB of held ones, to work off at one time: then [`AdminError::RedrivenWait`].
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # use tidegate::{Event, Failure, handler_fn};
    /// # bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// # let handler = handler_fn(|_, _| Err(Failure::permanent("no-stock", "there is none left")));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// # bus.caught_up("billing").await?;
    /// let letters = bus.dead_letters("billing", 0, 1000)?;
    /// bus.redrive("billing", letters.iter().map(|letter| letter.id).collect()).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AdminError`]. Durable when this returns; with `InDoubt` it may be.
    pub async fn redrive(&self, consumer: &str, letters: Vec<u64>) -> Result<(), AdminError> {
        self.inner.log.redrive(consumer, letters).await
    }

    /// Discards dead letters. A key that was parked behind one goes on. All of them or none, at most 1000 in a call.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # use tidegate::{Event, Failure, handler_fn};
    /// # bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// # let handler = handler_fn(|_, _| Err(Failure::permanent("no-stock", "there is none left")));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// # bus.caught_up("billing").await?;
    /// let letters = bus.dead_letters("billing", 0, 1000)?;
    /// bus.discard("billing", letters.iter().map(|letter| letter.id).collect()).await?;
    /// assert!(bus.dead_letters("billing", 0, 1)?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AdminError`]. Durable when this returns; with `InDoubt` it may be.
    pub async fn discard(&self, consumer: &str, letters: Vec<u64>) -> Result<(), AdminError> {
        self.inner.log.discard(consumer, letters).await
    }

    fn consumer_id(&self, consumer: &str) -> Result<ConsumerId, ReadError> {
        let found = self.inner.log.consumer(consumer).map(|(id, _)| id);
        found.ok_or_else(|| ReadError::UnknownConsumer(consumer.to_owned()))
    }
}
