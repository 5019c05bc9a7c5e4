//! Making a projection's state anew, beside the one that answers.
//!
//! The new generation is a consumer of its own, from the first event on. When it is done with all that is durable, the lanes of
//! the one before stand still, the new one comes to where they are, and one commit gives it the name. The lanes of what it
//! replaces end then, and it is removed in steps. A crash leaves one of three: a generation that goes on, one that answers, or
//! one that is still to be removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::handle::Inner;
use super::programs::Candidate;
use super::projections::RebuildOutcome;
use super::roster::Running;
use super::{Bus, ConsumerError};
use crate::config::{ConsumerConfig, PluginConfig, Start};
use crate::delivery::{Consumer, Setup};
use crate::ids::ConsumerId;
use crate::limits::{REBUILD_SWITCH_WAIT, STORAGE_RETRY_BASE, UNSUBSCRIBE_WAIT};
use crate::log::{AdminError, ConsumerRow, Position, ReadError, Rebuilding, rebuilt_name};

/// How a projection is made anew.
///
/// ```
/// use tidegate::Rebuild;
///
/// // From what is left of topics whose first events retention has removed.
/// let rebuild = Rebuild::new().partial();
/// assert_ne!(rebuild, Rebuild::new());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuild {
    partial: bool,
    allows_letters: bool,
}

impl Rebuild {
    /// From every event, and with no more dead letters than the generation before.
    pub fn new() -> Self {
        Self::default()
    }

    /// From what is left, where retention has removed events: what the projection comes to may be something else.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Even where the new generation has more dead letters than the one before.
    #[must_use]
    pub fn allow_dead_letters(mut self) -> Self {
        self.allows_letters = true;
        self
    }
}

/// The rebuilds that were begun since the bus was opened, by projection, each with its outcome once it has one.
#[derive(Default)]
pub(super) struct Rebuilds(Mutex<BTreeMap<String, watch::Sender<Option<RebuildOutcome>>>>);

impl Rebuilds {
    fn begin(&self, projection: &str) {
        self.all().insert(projection.to_owned(), watch::Sender::new(None));
    }

    /// Notes how one ended, if that isn't known yet.
    fn end(&self, projection: &str, outcome: RebuildOutcome) {
        let mut all = self.all();
        let rebuild = all.entry(projection.to_owned()).or_insert_with(|| watch::Sender::new(None));
        rebuild.send_if_modified(|known| {
            let is_new = known.is_none();
            known.get_or_insert(outcome);
            is_new
        });
    }

    fn follow(&self, projection: &str) -> Option<watch::Receiver<Option<RebuildOutcome>>> {
        self.all().get(projection).map(watch::Sender::subscribe)
    }

    /// How the last one ended.
    pub fn last(&self, projection: &str) -> Option<RebuildOutcome> {
        self.all().get(projection)?.borrow().clone()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Option<RebuildOutcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    /// Begins to make a projection's state anew from the first event on, or from the time at which its configuration says that
    /// it starts, with what its plugin's file holds now: another version, and one with another layout of its state. The
    /// state that is there goes on and answers, until the new one is where it is; from then on the new one answers.
    /// [`rebuilt`](Self::rebuilt) waits for that.
    ///
    /// A rebuild goes on after a restart, if the projection reads the same topics then and the version that makes the new state
    /// is kept. It is called off when the projection gets another configuration while it runs, or is unsubscribed. A projection
    /// that is paused is made anew as well: the new generation comes to the end of its topics, beyond where the one before stands
    /// still, and is paused there.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), tidegate::ConsumerError> {
    /// use tidegate::{Rebuild, RebuildOutcome};
    ///
    /// bus.rebuild("quake-board", Rebuild::new()).await?;
    /// let outcome = bus.rebuilt("quake-board").await?;
    /// assert!(matches!(outcome, RebuildOutcome::Switched { .. }), "{outcome:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. Nothing was begun then.
    pub async fn rebuild(&self, name: &str, rebuild: Rebuild) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        self.settle_switch(name).await;
        let program = self.running_program(name)?;
        let not_projection = || ConsumerError::NotProjection(name.to_owned());
        let plugin = program.plugin().ok_or_else(not_projection)?;
        let config = self.inner.roster.with(name, |running| running.config.clone());
        let config = config.ok_or_else(|| ConsumerError::NotRunning(name.to_owned()))?;
        let candidate = self.rebuild_candidate(name, plugin).await?;
        if candidate.program.answering().is_none() {
            return Err(not_projection());
        }
        if rebuild.partial {
            self.check_nothing_is_lost(name)?;
        }
        self.keep(name, &candidate)?;
        let rebuilding = Rebuilding {
            program: candidate.program.version().clone(),
            state_version: candidate.state_version().unwrap_or(0),
            start: match config.start {
                Start::Time(time) => Position::Time(time),
                Start::Earliest | Start::Latest => Position::Earliest,
            },
            partial: rebuild.partial,
            allows_letters: rebuild.allows_letters,
        };
        let log = &self.inner.log;
        let mut begun = log.begin_generation(name, &config.topics, rebuilding.clone()).await;
        let is_running = self.inner.roster.with(&rebuilt_name(name), |_| ()).is_some();
        if !is_running && matches!(begun, Err(AdminError::Rebuilding(_))) {
            // Whoever began that one was cut off before its lanes were started, so it goes no further.
            self.call_off(name, cancelled("another one was begun before its lanes were started")).await?;
            begun = log.begin_generation(name, &config.topics, rebuilding).await;
        }
        begun?;
        self.start_generation(name, config, candidate).await
    }

    /// Ends when the last rebuild of a projection has ended that was begun since the bus was opened, and says how.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// use tidegate::ConsumerError;
    ///
    /// assert!(matches!(bus.rebuilt("quake-board"), Err(ConsumerError::NotRebuilding(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There was none, or the bus is shut down before it ends: then it goes on when the projection runs again.
    pub async fn rebuilt(&self, name: &str) -> Result<RebuildOutcome, ConsumerError> {
        self.outside_transaction()?;
        let not_rebuilding = || ConsumerError::NotRebuilding(name.to_owned());
        let mut rebuild = self.inner.rebuilds.follow(name).ok_or_else(not_rebuilding)?;
        tokio::select! {
            biased;
            outcome = rebuild.wait_for(Option::is_some) => {
                outcome.ok().and_then(|outcome| outcome.clone()).ok_or_else(not_rebuilding)
            }
            () = self.inner.log.closed() => Err(ConsumerError::NotRunning(name.to_owned())),
        }
    }

    /// Calls a rebuild off. What there is of the new generation is removed, and the one before goes on.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::ConsumerError;
    ///
    /// let nothing = bus.cancel_rebuild("quake-board").await;
    /// assert!(matches!(nothing, Err(ConsumerError::NotRebuilding(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is none, or the log refuses.
    pub async fn cancel_rebuild(&self, name: &str) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        if self.call_off(name, cancelled("an operator cancelled it")).await? {
            return Ok(());
        }
        Err(ConsumerError::NotRebuilding(name.to_owned()))
    }

    /// Goes on with what a process before has begun, once a projection runs: a generation that it was making, and the removal
    /// of one that was replaced.
    pub(super) async fn resume_generations(
        &self,
        name: &str,
        config: &ConsumerConfig,
        plugin: &PluginConfig,
    ) -> Result<(), ConsumerError> {
        if let Some((_, row)) = self.inner.log.consumer(&rebuilt_name(name)) {
            let reads =
                |topic: &String| self.inner.log.topic_id(topic).is_some_and(|id| row.topics.contains(&id));
            let is_same = config.topics.len() == row.topics.len() && config.topics.iter().all(reads);
            match self.resumed(name, &row, plugin).await {
                Ok(Some(candidate)) if is_same => {
                    self.start_generation(name, config.clone(), candidate).await?;
                }
                outcome => {
                    let reason = match outcome {
                        Err(error) => format!("it could not go on: {error}"),
                        Ok(_) => {
                            "it could not go on: its configuration or its component is another".to_owned()
                        }
                    };
                    tracing::warn!(projection = name, reason, "the rebuild of a projection ends");
                    self.call_off(name, cancelled(reason)).await?;
                }
            }
        }
        self.sweep(name);
        Ok(())
    }

    /// What was making a generation, where it is kept and still can.
    async fn resumed(
        &self,
        name: &str,
        row: &ConsumerRow,
        plugin: &PluginConfig,
    ) -> Result<Option<Candidate>, ConsumerError> {
        let candidate = self.kept_candidate(name, row, plugin).await?;
        Ok(candidate.filter(|candidate| {
            candidate.program.answering().is_some() && candidate.state_version() == row.state_version
        }))
    }

    /// Ends a rebuild, if there is one, and removes what there is of its generation.
    pub(super) async fn call_off(&self, name: &str, outcome: RebuildOutcome) -> Result<bool, ConsumerError> {
        self.settle_switch(name).await;
        let generation = rebuilt_name(name);
        let is_running = self.inner.roster.with(&generation, |_| ()).is_some();
        if !is_running && self.inner.log.consumer(&generation).is_none() {
            return Ok(false);
        }
        // First: where it fails or is cut off, the rebuild goes on; what is cut off after it leaves lanes that end by
        // themselves, and nothing that seems to be under way.
        self.inner.log.give_up_generation(name).await?;
        self.inner.rebuilds.end(name, outcome);
        if let Some(running) = self.inner.roster.take(&generation) {
            self.stop(running).await;
        }
        self.sweep(name);
        Ok(true)
    }

    /// Has what runs follow a switch whose commit was in doubt, where it has taken place.
    async fn settle_switch(&self, name: &str) {
        let rebuilt = self.inner.roster.with(&rebuilt_name(name), |running| running.consumer.id());
        let live = self.inner.log.consumer(name).filter(|(id, _)| Some(*id) == rebuilt);
        if let Some((_, row)) = live {
            if let Some(before) = self.take_over(name, &row).await {
                before.stop(UNSUBSCRIBE_WAIT).await;
            }
            self.sweep(name);
        }
    }

    /// Ends what there is of generations, as no plugin runs the consumer any more.
    pub(super) async fn end_generations(&self, name: &str) -> Result<(), ConsumerError> {
        self.call_off(name, cancelled("no plugin runs the consumer any more")).await?;
        self.sweep(name);
        Ok(())
    }

    /// Removes a consumer's generations that don't have its name, as it is forgotten.
    pub(super) async fn forget_generations(&self, name: &str) -> Result<(), ConsumerError> {
        self.inner.log.give_up_generation(name).await?;
        while self.inner.log.sweep_generations(name).await? {}
        Ok(())
    }

    /// Starts the lanes of a generation that is registered, and whoever sees to it that it takes the name over.
    async fn start_generation(
        &self,
        name: &str,
        config: ConsumerConfig,
        candidate: Candidate,
    ) -> Result<(), ConsumerError> {
        let generation = rebuilt_name(name);
        let Some((id, row)) = self.inner.log.consumer(&generation) else {
            return Err(ConsumerError::NotRebuilding(name.to_owned()));
        };
        let Candidate { program, authority, .. } = candidate;
        let consumer = self.inner.lanes.start(Setup {
            id,
            // Its plugin is to see what the one before saw.
            name: name.into(),
            topics: row.topics,
            partitions: row.partitions,
            config: config.clone(),
            authority: Arc::new(authority),
            program,
            lifts: self.inner.upcasters.lifts(),
            paused: row.paused,
        });
        self.inner.rebuilds.begin(name);
        if let Err(too_late) = self.inner.roster.insert(&generation, Running::new(consumer, config, None)) {
            self.stop(*too_late).await;
            return Err(AdminError::Closed.into());
        }
        drop(self.inner.handle.spawn(see_to(Arc::downgrade(&self.inner), name.to_owned(), id)));
        Ok(())
    }

    /// A generation that is made of what is left replaces one whose open ends may be of events that are gone.
    fn check_nothing_is_lost(&self, name: &str) -> Result<(), ConsumerError> {
        let status = self.consumers()?.into_iter().find(|status| status.name == name);
        match status {
            Some(status) if status.dead_letters + status.held > 0 => Err(ConsumerError::OpenEnds {
                consumer: name.to_owned(),
                held: status.held,
                dead_letters: status.dead_letters,
            }),
            _ => Ok(()),
        }
    }

    /// Removes what replaced generations have, in the background.
    fn sweep(&self, name: &str) {
        let (log, name) = (Arc::clone(&self.inner.log), name.to_owned());
        drop(self.inner.handle.spawn(async move {
            loop {
                match log.sweep_generations(&name).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    // It goes on when the projection is started again.
                    Err(error) => {
                        return tracing::debug!(projection = name, %error, "what a generation had stays for now");
                    }
                }
            }
        }));
    }

    /// Has a generation that has caught up take the name over. Whether the rebuild has ended.
    async fn try_to_switch(&self, name: &str, looked_at: ConsumerId) -> Result<bool, ConsumerError> {
        let turn = self.turn().await?;
        let (log, roster) = (&self.inner.log, &self.inner.roster);
        let rebuilt = roster.with(&rebuilt_name(name), |running| running.consumer.id());
        // Another one may have been begun meanwhile, which somebody else sees to.
        if rebuilt != Some(looked_at) {
            return Ok(true);
        }
        let Some((live, live_row)) = log.consumer(name) else { return Ok(true) };
        // A commit that was in doubt may have made it so.
        if Some(live) != rebuilt {
            let Some((id, row)) = log.consumer(&rebuilt_name(name)) else { return Ok(true) };
            if let Some(reason) = self.unfit(id, &row, live)? {
                tracing::warn!(projection = name, reason, "the rebuild of a projection ends");
                return self.call_off(name, RebuildOutcome::Refused { reason }).await;
            }
            // From here on the one before comes no further, and the new one comes to where it is.
            roster.with(name, |running| running.consumer.pause()).unwrap_or(());
            let has_switched = self.meet(name).await;
            if !matches!(has_switched, Ok(true)) {
                if !live_row.paused {
                    roster.with(name, |running| running.consumer.resume()).unwrap_or(());
                }
                return has_switched;
            }
        }
        let before = self.take_over(name, &live_row).await;
        drop(turn);
        if let Some(before) = before {
            before.stop(UNSUBSCRIBE_WAIT).await;
        }
        self.sweep(name);
        Ok(true)
    }

    /// What runs follows what the log says since a switch. Returns what ran before.
    async fn take_over(&self, name: &str, live: &ConsumerRow) -> Option<Consumer> {
        let before = self.inner.roster.rename(&rebuilt_name(name), name);
        if live.paused {
            self.inner.roster.with(name, |running| running.consumer.pause()).unwrap_or(());
        }
        let generation = self.inner.log.consumer(name).map_or(0, |(_, row)| row.generation);
        tracing::info!(projection = name, generation, "a rebuilt projection answers");
        self.inner.rebuilds.end(name, RebuildOutcome::Switched { generation });
        // The file may hold another version by now.
        if let Ok(program) = self.running_program(name) {
            let outcome = self.switch(name, &program).await;
            self.note_outcome(name, &outcome);
        }
        before
    }

    /// Why a generation isn't to answer, if it isn't.
    fn unfit(
        &self,
        id: ConsumerId,
        row: &ConsumerRow,
        live: ConsumerId,
    ) -> Result<Option<String>, ReadError> {
        let log = &self.inner.log;
        let (letters, before) = (log.dead_letter_count(id)?, log.dead_letter_count(live)?);
        if row.allows_letters || letters <= before {
            return Ok(None);
        }
        let first = log.dead_letters(id, 0, 1)?.pop();
        let first = first.map_or_else(String::new, |letter| {
            format!(
                ", the first of offset {} of partition {} of topic `{}`: {}",
                letter.offset, letter.partition, letter.topic, letter.reason
            )
        });
        Ok(Some(format!(
            "the new generation has {letters} dead letters, and the one that answers {before}{first}. Mend the plugin and \
             rebuild again, or allow it more dead letters (`--allow-dead-letters`)"
        )))
    }

    /// Notes the end of a generation whose lanes have ended by themselves, as a commit that was in doubt has given it up.
    async fn clear_generation(&self, name: &str, id: ConsumerId) -> Result<bool, ConsumerError> {
        let _turn = self.turn().await?;
        let rebuilt = rebuilt_name(name);
        // Whoever stops the lanes has taken it out before.
        let runs = self.inner.roster.with(&rebuilt, |running| running.consumer.id()) == Some(id);
        let has = |name: &str| self.inner.log.consumer(name).is_some_and(|(found, _)| found == id);
        if runs && !has(&rebuilt) && !has(name) {
            self.call_off(name, cancelled("it was called off while the storage failed")).await?;
        }
        Ok(true)
    }

    /// Ends the rebuild of a generation that stands still behind a dead letter. Whether it has ended.
    async fn refuse_generation(&self, name: &str, looked_at: ConsumerId) -> Result<bool, ConsumerError> {
        let _turn = self.turn().await?;
        let log = &self.inner.log;
        let (Some((live, _)), Some((id, row))) = (log.consumer(name), log.consumer(&rebuilt_name(name)))
        else {
            return Ok(true);
        };
        // Another one may have been begun meanwhile, which somebody else sees to.
        if id != looked_at {
            return Ok(true);
        }
        let reason = self.unfit(id, &row, live)?.unwrap_or_else(|| {
            "the new generation stands still behind a dead letter, as its `order` and `on_dead_letter` say: mend the plugin and \
             rebuild again"
                .to_owned()
        });
        tracing::warn!(projection = name, reason, "the rebuild of a projection ends");
        self.call_off(name, RebuildOutcome::Refused { reason }).await
    }

    /// Tries to switch with each step of the new generation, for some time.
    async fn meet(&self, name: &str) -> Result<bool, ConsumerError> {
        let log = &self.inner.log;
        let end = log.clock().now().after(REBUILD_SWITCH_WAIT);
        let generation = rebuilt_name(name);
        loop {
            let changes = self.inner.roster.with(&generation, |running| running.consumer.changes());
            let Some(changes) = changes else { return Ok(false) };
            let changed = changes.next();
            if log.switch_generation(name).await? {
                return Ok(true);
            }
            tokio::select! {
                biased;
                // First: lanes that report all the time are not to keep it from coming.
                () = log.clock().sleep_until(end) => return Ok(false),
                () = changed => {}
            }
        }
    }
}

/// How far the lanes of a generation have come.
enum Standing {
    /// To the end.
    CaughtUp,
    /// They stand still behind a dead letter.
    Still,
    /// They have ended.
    Ended,
}

/// Waits until the new generation of a projection has caught up, and has it take over; again, where it can't yet. It ends with
/// the lanes of the generation, and keeps no bus open.
async fn see_to(bus: Weak<Inner>, name: String, id: ConsumerId) {
    let generation = rebuilt_name(&name);
    loop {
        let look = |running: &mut Running| {
            let Running { consumer, .. } = running;
            (consumer.id(), consumer.caught_up(), consumer.stands_still())
        };
        let ends = bus.upgrade().and_then(|inner| inner.roster.with(&generation, look));
        let Some((_, caught_up, stands_still)) = ends.filter(|(found, ..)| *found == id) else { return };
        let standing = tokio::select! {
            biased;
            is_there = caught_up => if is_there { Standing::CaughtUp } else { Standing::Ended },
            () = stands_still => Standing::Still,
        };
        let Some(inner) = bus.upgrade() else { return };
        let clock = Arc::clone(inner.log.clock());
        let bus = Bus { inner };
        let ended = match standing {
            Standing::CaughtUp => bus.try_to_switch(&name, id).await,
            Standing::Still => bus.refuse_generation(&name, id).await,
            Standing::Ended => bus.clear_generation(&name, id).await,
        };
        match ended {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(projection = name, %error, "a rebuilt projection can't take over yet");
                clock.sleep_until(clock.now().after(STORAGE_RETRY_BASE)).await;
            }
        }
    }
}

/// A rebuild that was called off.
pub(super) fn cancelled(reason: impl Into<String>) -> RebuildOutcome {
    RebuildOutcome::Cancelled { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bus::Options;
    use crate::config::TopicConfig;
    use crate::handler::{ProgramVersion, handler_fn};
    use crate::testing::MemoryMedium;

    #[tokio::test]
    async fn what_a_process_before_has_left_of_a_replaced_generation_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let bus = Bus::open_with(Options::new(directory.path()).medium(MemoryMedium::new())).unwrap();
        let config = ConsumerConfig::new(["in"]);
        bus.create_topic("in", TopicConfig::new(1)).await.unwrap();
        bus.subscribe("c", config.clone(), handler_fn(|_, _| Ok(()))).await.unwrap();
        let log = &bus.inner.log;
        let rebuilding = Rebuilding {
            program: ProgramVersion::default(),
            state_version: 1,
            start: Position::Earliest,
            partial: false,
            allows_letters: false,
        };
        log.begin_generation("c", &config.topics, rebuilding).await.unwrap();
        log.give_up_generation("c").await.unwrap();
        assert_eq!(log.generations().len(), 2);
        bus.resume_generations("c", &config, &PluginConfig::new("nowhere.wasm")).await.unwrap();
        let is_swept = async {
            while log.generations().len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), is_swept).await.expect("it is removed");
    }
}
