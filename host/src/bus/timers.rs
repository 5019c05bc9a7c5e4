//! The timers of consumers, for people.

use super::Bus;
use crate::clock::Timestamp;
use crate::event::Data;
use crate::log::{AdminError, ReadError};
use crate::timer::TimerStatus;

impl Bus {
    /// The timers of a consumer that are due first: of one partition or of all, of one key or of all, at most `limit` of
    /// them and at most 1000. Those of one key are looked for among all of its partition, which takes as long as reading these: a
    /// second or so for a million. So on a thread that others wait for, ask for few partitions and no key, or elsewhere.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// match bus.timers("reminder", None, Some("customer-4"), 10) {
    ///     Ok(timers) => println!("{} of this customer", timers.len()),
    ///     Err(error) => println!("{error}"), // there is no such consumer
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer or partition, or the log can't be read.
    pub fn timers(
        &self,
        consumer: &str,
        partition: Option<u32>,
        key: Option<&str>,
        limit: usize,
    ) -> Result<Vec<TimerStatus>, ReadError> {
        self.inner.log.timers(consumer, partition, key, limit)
    }

    /// Sets a timer of a consumer, whether it runs or not, in place of the one of this key and name if there is one: it comes as
    /// one that a delivery of this key has set, see [`Context::set_timer`](crate::Context::set_timer). A moment that has passed is
    /// now. So an operator, or another part of the application, has a say in the key's order.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # use tidegate::handler_fn;
    /// # bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// use std::time::Duration;
    ///
    /// bus.subscribe("reminder", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(()))).await?;
    /// let later = bus.clock().now().after(Duration::from_secs(3600));
    /// bus.set_timer("reminder", "customer-4", "unpaid", later, None).await?;
    /// assert_eq!(bus.timers("reminder", None, None, 10)?[0].due, later);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, the timer is none that may be ([`AdminError::Timer`]), or the log refuses: see [`AdminError`].
    pub async fn set_timer(
        &self,
        consumer: &str,
        key: &str,
        name: &str,
        due: Timestamp,
        data: Option<Data>,
    ) -> Result<(), AdminError> {
        self.inner.log.set_timer(consumer, key, name, due, data, None).await
    }

    /// Cancels a timer of a consumer, whether it runs or not: it doesn't come any more. One that has come already, and waits
    /// for a retry, is held as any event is, and no timer.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// let cancelled = bus.cancel_timer("reminder", "customer-4", "unpaid").await;
    /// assert!(matches!(cancelled, Err(tidegate::AdminError::UnknownConsumer(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer or timer, or the log refuses: see [`AdminError`].
    pub async fn cancel_timer(&self, consumer: &str, key: &str, name: &str) -> Result<(), AdminError> {
        self.inner.log.cancel_timer(consumer, key, name).await
    }
}
