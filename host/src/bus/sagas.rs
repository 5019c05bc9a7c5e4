//! The sagas of consumers, for people.

use super::Bus;
use super::saga::{
    SAGA_COMPENSATE, SAGA_PREFIX, SAGA_RESOLVE, SAGA_RETRY, Saga, SagaError, SagaPlace, SagaQuery, SagaState,
    SagaStatus, saga, status,
};
use super::state::StateView;
use crate::clock::Timestamp;
use crate::ids::{ConsumerId, LaneId};
use crate::limits::{SAGAS_LISTED_MAX, STATE_SCAN_MAX};
use crate::log::ReadError;

impl Bus {
    /// Sagas of a consumer or of all: those first that are stuck, then those that have been in their step longest, and at last
    /// those that have ended. All are read, and only so many are kept in memory as are asked for.
    ///
    /// A consumer that keeps something else under keys that begin with `saga/` has no sagas there.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::{SagaQuery, SagaState};
    ///
    /// let stuck = bus.sagas(SagaQuery::default().state(SagaState::Stuck)).await?;
    /// assert!(stuck.is_empty(), "nothing waits for an operator");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log can't be read.
    pub async fn sagas(&self, query: SagaQuery) -> Result<Vec<SagaStatus>, ReadError> {
        let log = &self.inner.log;
        let consumers: Vec<(ConsumerId, String, u32)> = match &query.consumer {
            Some(name) => {
                let unknown = || ReadError::UnknownConsumer(name.clone());
                let (id, row) = log.consumer(name).ok_or_else(unknown)?;
                vec![(id, name.clone(), row.partitions)]
            }
            None => log
                .consumers()
                .into_iter()
                .map(|(id, row)| (id, row.name.to_string(), row.partitions))
                .collect(),
        };
        let mut first = First::new(&query);
        for (consumer, name, partitions) in consumers {
            for partition in 0..partitions {
                let lane = LaneId { consumer, partition };
                let mut after: Option<Vec<u8>> = None;
                while let Some(last) =
                    self.sagas_behind(lane, &name, after.as_deref(), &mut |saga| first.take(saga))?
                {
                    after = Some(last);
                    // There may be a million, and others wait for this thread.
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(first.found())
    }

    /// Looks at some sagas of a lane, those behind `after`. Returns the key of the last one; nothing at the end.
    pub(super) fn sagas_behind(
        &self,
        lane: LaneId,
        consumer: &str,
        after: Option<&[u8]>,
        take: &mut dyn FnMut(SagaStatus),
    ) -> Result<Option<Vec<u8>>, ReadError> {
        // A view for each page: one that lives long keeps pages of the file from being used again.
        let view = StateView::new(self.inner.log.state(lane)?);
        let now = self.clock().now();
        let entries = view.scan(SAGA_PREFIX, after, STATE_SCAN_MAX)?;
        for (key, record) in &entries {
            let id = key.get(SAGA_PREFIX.len()..).and_then(|id| std::str::from_utf8(id).ok());
            let Some(id) = id else { continue };
            if let Ok(saga) = status(&SagaPlace { consumer, partition: lane.partition, id }, record, now) {
                take(saga);
            }
        }
        Ok(entries.into_iter().next_back().map(|(key, _)| key))
    }

    /// A saga with its steps, its data and what happened to it.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// if let Ok(saga) = bus.saga("order-saga", "17") {
    ///     println!("{} took {} steps", saga.status.id, saga.steps.len());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer or saga, or the log can't be read: see [`SagaError`].
    pub fn saga(&self, consumer: &str, id: &str) -> Result<Saga, SagaError> {
        let lane = self.inner.log.lane_of(consumer, id)?;
        let key = [SAGA_PREFIX, id.as_bytes()].concat();
        let record = StateView::new(self.inner.log.state(lane)?).get(&key)?;
        let unknown = || SagaError::Unknown { consumer: consumer.to_owned(), id: id.to_owned() };
        let place = SagaPlace { consumer, partition: lane.partition, id };
        let read = saga(&place, &record.ok_or_else(unknown)?, self.clock().now());
        let (consumer, id) = (consumer.to_owned(), id.to_owned());
        read.map_err(|reason| SagaError::Unreadable { consumer, id, reason })
    }

    /// Has a saga ask again for what it waits for: one that is stuck for its compensation, one that runs for its step. It does so
    /// in its key's order, as with a timer that is due now, when its consumer runs.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::{SagaQuery, SagaState};
    ///
    /// // The participant that they waited for is back.
    /// for saga in bus.sagas(SagaQuery::default().state(SagaState::Stuck)).await? {
    ///     bus.retry_saga(&saga.consumer, &saga.id).await?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such saga, it has ended, or the log refuses: see [`SagaError`].
    pub async fn retry_saga(&self, consumer: &str, id: &str) -> Result<(), SagaError> {
        let _ = self.unfinished(consumer, id)?;
        self.tell(consumer, id, SAGA_RETRY).await
    }

    /// Has a saga that runs compensated: the step that it waits for, which may have happened, and those before it. It does so in
    /// its key's order, as with a timer that is due now, when its consumer runs.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::{ReadError, SagaError};
    ///
    /// let refused = bus.compensate_saga("order-saga", "17").await;
    /// assert!(matches!(refused, Err(SagaError::Read(ReadError::UnknownConsumer(_)))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such saga, it has ended or is being compensated, or the log refuses: see [`SagaError`].
    pub async fn compensate_saga(&self, consumer: &str, id: &str) -> Result<(), SagaError> {
        let saga = self.unfinished(consumer, id)?;
        let state = saga.status.state;
        let is_asked = saga.steps.iter().any(|step| step.status == "asked");
        if state != SagaState::Running && !is_asked {
            let (consumer, id) = (consumer.to_owned(), id.to_owned());
            return Err(SagaError::CompensatedAlready { consumer, id, state });
        }
        self.tell(consumer, id, SAGA_COMPENSATE).await
    }

    /// Says that nothing is left of the step where a saga is stuck, as somebody has undone it by other means: the saga takes it as
    /// compensated, and goes on to those before it. It does so in its key's order, as with a timer that is due now, when its
    /// consumer runs.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::{ReadError, SagaError};
    ///
    /// // The money was paid back by hand.
    /// let refused = bus.resolve_saga("order-saga", "17").await;
    /// assert!(matches!(refused, Err(SagaError::Read(ReadError::UnknownConsumer(_)))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such saga, it isn't stuck, or the log refuses: see [`SagaError`].
    pub async fn resolve_saga(&self, consumer: &str, id: &str) -> Result<(), SagaError> {
        let state = self.unfinished(consumer, id)?.status.state;
        if state != SagaState::Stuck {
            return Err(SagaError::NotStuck { consumer: consumer.to_owned(), id: id.to_owned(), state });
        }
        self.tell(consumer, id, SAGA_RESOLVE).await
    }

    fn unfinished(&self, consumer: &str, id: &str) -> Result<Saga, SagaError> {
        let saga = self.saga(consumer, id)?;
        let state = saga.status.state;
        if state.is_ended() {
            return Err(SagaError::Ended { consumer: consumer.to_owned(), id: id.to_owned(), state });
        }
        Ok(saga)
    }

    async fn tell(&self, consumer: &str, id: &str, timer: &str) -> Result<(), SagaError> {
        // What is past is due now. What comes of it belongs to the saga, as all that it does.
        Ok(self.inner.log.set_timer(consumer, id, timer, Timestamp(0), None, Some(id)).await?)
    }
}

/// Those that come first of all that it is shown.
struct First<'q> {
    query: &'q SagaQuery,
    limit: usize,
    /// Up to twice as many, of which those behind are cut off now and then.
    found: Vec<SagaStatus>,
}

impl<'q> First<'q> {
    fn new(query: &'q SagaQuery) -> Self {
        Self { query, limit: query.limit.min(SAGAS_LISTED_MAX), found: Vec::new() }
    }

    fn take(&mut self, saga: SagaStatus) {
        if !self.query.fits(&saga) {
            return;
        }
        self.found.push(saga);
        if self.found.len() > 2 * self.limit {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.found.sort_by_key(SagaStatus::rank);
        self.found.truncate(self.limit);
    }

    fn found(mut self) -> Vec<SagaStatus> {
        self.cut();
        self.found
    }
}
