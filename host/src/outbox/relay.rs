//! The relay: reads rows, has the bus commit their events, marks the rows, and begins anew wherever it was cut off.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::OutboxState;
use super::desk::within;
use super::history::{Course, Entry, compare};
use super::ledger::{Ledger, LedgerError};
use super::row::{Failure, Outbound, Row};
use super::step::{Crash, OutboxStep};
use super::store::{Claim, ReadBounds, Settle, Store, StoreError};
use super::view::View;
use crate::clock::{BoxFuture, Clock, Timestamp};
use crate::config::{AfterPublish, OutboxConfig};
use crate::handler::panic_message;
use crate::limits::{
    COMMIT_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_PURGE_EVERY, OUTBOX_PURGE_ROWS_MAX, OUTBOX_RETRY_BASE,
    OUTBOX_RETRY_MAX, OUTBOX_ROW_EXTRA_BYTES, OUTBOX_ROWS_MAX,
};
use crate::log::{Published, ReadError};

/// See the module.
pub(super) struct Relay {
    pub name: String,
    pub config: OutboxConfig,
    pub event_bytes_max: usize,
    pub store: Box<dyn Store>,
    pub ledger: Ledger,
    pub clock: Arc<dyn Clock>,
    pub view: Arc<View>,
    pub crash: Option<Crash>,
}

/// How far it is.
struct Progress {
    /// The outbox's identity.
    outbox: String,
    /// The batch that was settled last, and the position of its last row.
    token: String,
    position: u64,
    /// The batch that was claimed last.
    claimed: String,
    /// Whether the last look found nothing.
    is_idle: bool,
    /// When kept rows are looked at for their age.
    purge_due: Timestamp,
}

/// Why a relay stops working through its outbox.
enum Interruption {
    /// It was told to, or the bus has ended.
    Ended,
    /// It can't go on for now, and begins anew from both sides' rows.
    Trouble(OutboxState, String),
}

impl From<ReadError> for Interruption {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::Ended,
            other => Self::Trouble(OutboxState::Away, format!("the bus: {other}")),
        }
    }
}

impl From<LedgerError> for Interruption {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Closed => Self::Ended,
            other => Self::Trouble(OutboxState::Away, format!("the bus: {other}")),
        }
    }
}

type Worked<T> = Result<T, Interruption>;

impl Relay {
    /// Relays until it is told to end, or the bus has ended.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            let worked = caught(self.work(&mut failures)).await;
            let Err(Interruption::Trouble(state, trouble)) = worked else { break };
            self.note_trouble(state, &trouble);
            let wait = OUTBOX_RETRY_BASE.saturating_mul(1 << failures.min(16)).min(OUTBOX_RETRY_MAX);
            failures += 1;
            if self.wait(wait).await.is_err() {
                break;
            }
        }
        self.view.ended();
    }

    /// Connects and works through the outbox until something interrupts it.
    async fn work(&mut self, failures: &mut u32) -> Worked<()> {
        self.view.update(|seen| {
            if seen.trouble.is_none() {
                seen.state = OutboxState::Starting;
            }
        });
        let mut progress = self.begin().await?;
        loop {
            self.check_stop()?;
            let rows = self.look(&mut progress).await?;
            progress.is_idle = rows.is_empty();
            if !rows.is_empty() {
                self.publish(&mut progress, rows).await?;
            }
            // A look that finds rows says nothing of whether they can be published.
            *failures = 0;
            self.note_recovery(progress.is_idle);
            if progress.is_idle {
                self.view.look_was_empty();
            }
            self.purge(&mut progress).await?;
            if progress.is_idle {
                self.wait(self.config.poll).await?;
            }
        }
    }

    /// Finds out how far both sides are, and brings them together.
    async fn begin(&mut self) -> Worked<Progress> {
        self.step(|store| store.connect()).await?;
        self.ledger.decided().await?;
        let history = self.step(|store| store.history()).await?;
        let entry = self.ledger.read()?;
        let course = compare(entry.as_ref(), &history).map_err(|mismatch| {
            let why = format!("{mismatch}. `tidegate outbox adopt {}` publishes from it as it is", self.name);
            Interruption::Trouble(OutboxState::Refused, why)
        })?;
        let (token, position) = match (course, entry) {
            (Course::Begin, _) | (_, None) => {
                let token = self.ledger.token();
                let entry = Entry {
                    outbox: history.outbox.clone(),
                    token: token.clone(),
                    position: history.position,
                };
                self.ledger.commit(None, entry, Arc::default()).await?;
                self.after(OutboxStep::Introduced)?;
                self.step(|store| store.introduce(token.clone())).await?;
                (token, history.position)
            }
            (Course::Introduce, Some(entry)) => {
                self.step(|store| store.introduce(entry.token.clone())).await?;
                (entry.token, entry.position)
            }
            (Course::Settle, Some(entry)) => {
                self.settle(entry.token.clone(), history.position, entry.position).await?;
                (entry.token, entry.position)
            }
            (Course::Resume, Some(entry)) => (entry.token, entry.position),
        };
        self.view.update(|seen| seen.position = position);
        let purge_due = self.clock.now();
        // One that was claimed and never committed is claimed anew.
        let claimed = history.claimed.unwrap_or_else(|| token.clone());
        Ok(Progress { outbox: history.outbox, token, position, claimed, is_idle: false, purge_due })
    }

    /// The next rows, as many as one batch takes.
    async fn look(&mut self, progress: &mut Progress) -> Worked<Vec<Row>> {
        self.view.look_begins();
        let after = progress.position;
        let may_have_rows = !progress.is_idle || self.step(|store| store.has_changed()).await?;
        let rows = if may_have_rows {
            let bounds = ReadBounds {
                rows: OUTBOX_ROWS_MAX,
                bytes: OUTBOX_BYTES_MAX,
                row_bytes: self.event_bytes_max.saturating_add(OUTBOX_ROW_EXTRA_BYTES),
            };
            self.step(|store| store.read(after, bounds)).await?
        } else {
            Vec::new()
        };
        if !rows.is_empty() {
            self.after(OutboxStep::Read)?;
        }
        Ok(rows)
    }

    /// Publishes a batch: the table notes it, the bus commits it, the table marks it.
    async fn publish(&mut self, progress: &mut Progress, rows: Vec<Row>) -> Worked<()> {
        let (mut events, mut failures) = (Vec::new(), Vec::new());
        let (mut position, mut bytes) = (progress.position, 0);
        for row in rows {
            let at = row.position;
            match row.into_event(&self.config, self.event_bytes_max) {
                Ok(outbound) => {
                    bytes += outbound.event.size();
                    // One that is too large for a commit with others goes into the next one, by itself.
                    if !events.is_empty() && bytes > COMMIT_BYTES_MAX {
                        break;
                    }
                    events.push(outbound);
                }
                Err(failure) => failures.push(failure),
            }
            position = at;
        }
        let mut events = Arc::new(events);
        loop {
            let token = self.ledger.token();
            self.claim(progress, &token, failures).await?;
            let entry = Entry { outbox: progress.outbox.clone(), token: token.clone(), position };
            match self.ledger.commit(Some(progress.token.clone()), entry, Arc::clone(&events)).await {
                Ok(published) => {
                    self.after(OutboxStep::Committed)?;
                    self.note_published(position, &published);
                    self.settle(token.clone(), progress.position, position).await?;
                    progress.token = token;
                    progress.position = position;
                    return Ok(());
                }
                // Nothing was committed: the others go in without it.
                Err(LedgerError::Row(failure)) => {
                    events = Arc::new(without(&events, failure.position));
                    failures = vec![failure];
                }
                Err(other) => return Err(other.into()),
            }
        }
    }

    async fn claim(&mut self, progress: &mut Progress, token: &str, failures: Vec<Failure>) -> Worked<()> {
        for failure in &failures {
            let (outbox, position, reason) = (&self.name, failure.position, &failure.reason);
            tracing::warn!(outbox, position, reason, "a row of the outbox is no event and is set aside");
        }
        let set_aside = failures.len() as u64;
        let (settled, claimed) = (progress.token.clone(), progress.claimed.clone());
        let claim = Claim { settled, claimed, token: token.to_owned(), failures };
        self.step(|store| store.claim(claim)).await?;
        token.clone_into(&mut progress.claimed);
        self.view.update(|seen| seen.counts.set_aside += set_aside);
        self.after(OutboxStep::Claimed)
    }

    async fn settle(&mut self, token: String, from: u64, position: u64) -> Worked<()> {
        let settle = Settle { token, from, position, after: self.config.after, now: self.clock.now() };
        self.step(|store| store.settle(settle)).await?;
        self.after(OutboxStep::Settled)
    }

    /// Removes kept rows that are old enough, some at a time.
    async fn purge(&mut self, progress: &mut Progress) -> Worked<()> {
        let (AfterPublish::Keep, Some(age)) = (self.config.after, self.config.keep_for) else {
            return Ok(());
        };
        let now = self.clock.now();
        if now < progress.purge_due {
            return Ok(());
        }
        let purged = self.step(|store| store.purge(now.before(age), OUTBOX_PURGE_ROWS_MAX)).await?;
        self.view.update(|seen| seen.counts.purged += purged);
        if purged < u64::from(OUTBOX_PURGE_ROWS_MAX) {
            progress.purge_due = now.after(OUTBOX_PURGE_EVERY.min(age));
        }
        Ok(())
    }

    /// A step on the database, which may take only so long.
    async fn step<T>(
        &mut self,
        step: impl FnOnce(&mut dyn Store) -> BoxFuture<'_, Result<T, StoreError>>,
    ) -> Worked<T> {
        let outcome = within(&*self.clock, step(&mut *self.store)).await;
        outcome.map_err(|error| {
            let state = match error {
                // Another bus has it: what that means, the next look at its history says.
                StoreError::Away(_) | StoreError::Overtaken => OutboxState::Away,
                StoreError::NoTables | StoreError::NewerFormat { .. } => OutboxState::Refused,
            };
            Interruption::Trouble(state, error.to_string())
        })
    }

    /// Waits, unless it is woken or told to end.
    async fn wait(&self, wait: Duration) -> Worked<()> {
        let mut stop = self.view.stop.subscribe();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Err(Interruption::Ended),
            () = self.ledger.closed() => Err(Interruption::Ended),
            () = self.view.woken.notified() => Ok(()),
            () = self.clock.sleep_until(self.clock.now().after(wait)) => Ok(()),
        }
    }

    fn check_stop(&self) -> Worked<()> {
        if self.view.is_stopping() { Err(Interruption::Ended) } else { Ok(()) }
    }

    fn after(&self, step: OutboxStep) -> Worked<()> {
        match &self.crash {
            Some(crash) if (crash.0)(step) => Err(Interruption::Ended),
            _ => Ok(()),
        }
    }

    fn note_published(&self, position: u64, published: &[Published]) {
        let now = self.clock.now();
        let duplicates = published.iter().filter(|published| published.duplicate).count() as u64;
        self.view.update(|seen| {
            seen.position = position;
            seen.counts.published += published.len() as u64 - duplicates;
            seen.counts.duplicates += duplicates;
            if duplicates < published.len() as u64 {
                seen.last_published = Some(now);
            }
        });
    }

    /// Shows what is wrong, and logs it once.
    fn note_trouble(&self, state: OutboxState, trouble: &str) {
        let mut is_news = false;
        self.view.update(|seen| {
            is_news = seen.trouble.as_deref() != Some(trouble);
            seen.state = state;
            seen.trouble = Some(trouble.to_owned());
        });
        let outbox = &self.name;
        if is_news && state == OutboxState::Refused {
            tracing::error!(outbox, trouble, "the outbox isn't published from");
        } else if is_news {
            tracing::warn!(outbox, trouble, "the outbox can't be published from for now");
        }
    }

    fn note_recovery(&self, is_idle: bool) {
        let mut trouble = None;
        self.view.update(|seen| {
            trouble = seen.trouble.take();
            seen.state = if is_idle { OutboxState::Idle } else { OutboxState::Working };
        });
        if trouble.is_some() {
            tracing::info!(outbox = self.name, "the outbox is published from again");
        }
    }
}

/// All events but that of one row.
fn without(events: &[Outbound], position: u64) -> Vec<Outbound> {
    events.iter().filter(|outbound| outbound.position != position).cloned().collect()
}

/// Drives the work to its end; a panic in it is trouble like any other, as all begins anew from rows.
async fn caught(work: impl Future<Output = Worked<()>>) -> Worked<()> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|panic| {
            let why = format!("the relay panicked: {}", panic_message(&*panic));
            Err(Interruption::Trouble(OutboxState::Away, why)).into()
        })
    })
    .await
}
