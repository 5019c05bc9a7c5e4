//! A lane's task: it does what the machine decides.
//!
//! It works in batches. A batch is as many deliveries as fit into its bounds, on one view of the state, with one commit
//! at its end. Between two batches it looks at what it was told (another program, pause, stop) and lets others run.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

use super::desk::{Ahead, Desk, Wake};
use super::interruption::Interruption;
use super::machine::Rest;
use super::panics::caught;
use super::status::{Board, LaneState};
use crate::clock::{Clock, Timestamp};
use crate::config::ConsumerConfig;
use crate::effects::ContextOwner;
use crate::handler::{Failure, FailureKind, Instance, LaneName, Lender, Lent, Program};
use crate::ids::{LaneId, TopicId};
use crate::limits::{
    LANE_BATCH_DELIVERIES, LANE_IDLE, MARKED_DELIVERIES, STORAGE_RETRY_BASE, STORAGE_RETRY_MAX,
    TRAP_DOUBLED_MAX, TRAP_REST, TRAP_REST_MAX,
};
use crate::log::{Log, Target, Watcher};
use crate::upcast::Lifts;

/// What the lanes of a consumer share.
pub(super) struct Shared {
    pub log: Arc<Log>,
    /// The consumer's topics and their names.
    pub topics: BTreeMap<TopicId, Arc<str>>,
    pub config: Arc<ConsumerConfig>,
    pub owner: ContextOwner,
    pub board: Board,
}

/// What a consumer tells its lanes.
#[derive(Clone)]
pub(super) struct Control {
    pub program: Arc<dyn Program>,
    /// Counts the programs, so that a lane sees when there is another.
    pub generation: u64,
    /// What the bus lifts.
    pub lifts: Arc<Lifts>,
    pub paused: bool,
    pub stop: bool,
}

/// See the module.
pub(super) struct LaneTask {
    shared: Arc<Shared>,
    id: LaneId,
    name: LaneName,
    watcher: Watcher,
    control: watch::Receiver<Control>,
    program: Arc<dyn Program>,
    generation: u64,
    instance: Option<Box<dyn Instance>>,
    /// Whether a mark in the lane's rows is of a process that ended during the delivery.
    may_have_crashed: bool,
    /// Deliveries that are still to be marked one by one.
    to_mark: usize,
    /// Deliveries that are still to be committed one by one, after somebody else has appended to a stream of theirs.
    alone: usize,
    /// The one that could not be committed even so.
    conflict: Option<(Target, Timestamp)>,
    /// Failures of the storage in a row.
    failures: u32,
    /// Traps in a row, with no delivery between them that succeeded.
    traps: u32,
    /// Until when it rests, after a trap.
    rests_until: Option<Timestamp>,
}

impl LaneTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: LaneId,
        control: watch::Receiver<Control>,
        may_have_crashed: bool,
    ) -> Self {
        let (program, generation) = {
            let control = control.borrow();
            (Arc::clone(&control.program), control.generation)
        };
        Self {
            watcher: shared.log.watch(id, shared.topics.keys().copied()),
            name: LaneName { consumer: Arc::clone(&shared.owner.consumer), partition: id.partition },
            shared,
            id,
            control,
            program,
            generation,
            instance: None,
            may_have_crashed,
            to_mark: if may_have_crashed { MARKED_DELIVERIES } else { 0 },
            alone: 0,
            conflict: None,
            failures: 0,
            traps: 0,
            rests_until: None,
        }
    }

    /// Runs until it is told to stop, its consumer is gone, or the log is closed.
    pub(super) async fn run(mut self) {
        // A lane that panics is our own fault, and no reason for its consumer to stand still for ever: it starts anew from
        // what is durable, like after a failure of the storage.
        while let Err(interruption) = caught(self.work(), Interruption::panicked).await {
            // The program may hold on to what it saw of effects that never were.
            self.instance = None;
            let goes_on = match interruption {
                Interruption::Stale | Interruption::Conflict => true,
                Interruption::Ended => false,
                Interruption::DiskFull { free, min } => {
                    self.report(LaneState::DiskFull { free, min }, None);
                    self.storage_works().await
                }
                Interruption::Storage(reason) => {
                    self.report(LaneState::Failing { reason }, None);
                    self.storage_works().await
                }
            };
            if !goes_on {
                break;
            }
        }
        self.report(LaneState::Stopped, None);
    }

    /// Reads the lane back and works on it. Returns when the lane is to stop.
    async fn work(&mut self) -> Result<(), Interruption> {
        let mut desk = Lent::new(Desk::open(&self.shared, self.id, self.control.clone())?);
        self.recover(&mut desk).await?;
        self.give_way(&mut desk).await?;
        loop {
            let control = self.control.borrow_and_update().clone();
            if control.stop || self.control.has_changed().is_err() {
                // What it leaves is told from here.
                self.report(LaneState::Stopped, Some(&desk));
                return Ok(());
            }
            self.adopt(&control, &mut desk);
            if control.paused {
                self.report(LaneState::Paused, Some(&desk));
                self.instance = None;
                desk.rewind();
                // A consumer that is gone ends the loop above.
                drop(self.control.changed().await);
                continue;
            }
            if desk.is_stale() {
                return Err(Interruption::Stale);
            }
            self.report(LaneState::Working, Some(&desk));
            let rest = self.batch(&mut desk).await?;
            if let Some(until) = self.rests_until.take() {
                self.rest_from_trap(&desk, until).await;
                continue;
            }
            match rest {
                Some((why, wake)) => self.rest(&mut desk, why, wake).await?,
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// Finds out which delivery ended the process before, if one did.
    async fn recover(&mut self, desk: &mut Desk) -> Result<(), Interruption> {
        if let Some(mark) = desk.machine.unmark()
            && self.may_have_crashed
        {
            desk.machine.set_version(self.program.version().clone());
            let chance = self.shared.log.random().next_u64();
            desk.recover(&mark, self.clock().now(), chance)?;
            self.commit(desk).await?;
        }
        // A mark from here on is this process's own.
        self.may_have_crashed = false;
        Ok(())
    }

    /// Counts a delivery as a failed attempt that has lost against others who append to its stream all the time: it is
    /// held and tried again later, and others go on.
    async fn give_way(&mut self, desk: &mut Desk) -> Result<(), Interruption> {
        let Some(delivery) = self.conflict.take() else { return Ok(()) };
        desk.machine.set_version(self.program.version().clone());
        let message = "others append to the stream of the event's key, and were faster twice in a row";
        let failure = Failure::transient("version-conflict", message);
        desk.uncommitted(delivery, failure, self.shared.log.random().next_u64())?;
        self.commit(desk).await.map(drop)
    }

    /// Goes over to the program that was asked for.
    fn adopt(&mut self, control: &Control, desk: &mut Desk) {
        if self.generation != control.generation {
            self.instance = None;
            self.traps = 0;
            self.program = Arc::clone(&control.program);
            self.generation = control.generation;
        }
        desk.machine.set_version(self.program.version().clone());
        desk.adopt(&control.lifts);
    }

    /// Makes deliveries until a bound of the batch is reached or there is nothing to do, and commits them. Returns what
    /// to wait for if there was nothing more to do.
    async fn batch(&mut self, desk: &mut Lent<Desk>) -> Result<Option<(Rest, Wake)>, Interruption> {
        desk.begin(&self.control, if self.alone > 0 { 1 } else { LANE_BATCH_DELIVERIES });
        desk.marks_each = self.to_mark > 0;
        let rest = loop {
            match desk.advance()? {
                Ahead::Delivery => {}
                Ahead::Mark => {
                    self.to_mark = self.to_mark.saturating_sub(1);
                    desk.marks_each = self.to_mark > 0;
                    desk.mark();
                    self.commit(desk).await?;
                    self.lift(desk).await?;
                }
                Ahead::Lift => self.lift(desk).await?,
                Ahead::Bound => break None,
                Ahead::Rest(why, wake) => break Some((why, wake)),
            }
            // There is none where its event could not be lifted.
            if desk.started().is_some() {
                self.deliver(desk).await;
            }
            if self.rests_until.is_some() {
                break None;
            }
        };
        let changed_timers = self.commit(desk).await?;
        Ok(rest.filter(|_| !changed_timers))
    }

    async fn commit(&mut self, desk: &mut Desk) -> Result<bool, Interruption> {
        let committed = desk.commit().await;
        let (made, last) = desk.made();
        match committed {
            Ok(_) => {
                self.failures = 0;
                self.alone = self.alone.saturating_sub(made);
            }
            // One by one, so that only whose stream it is has to give way.
            Err(Interruption::Conflict) if self.alone > 0 => self.conflict = last,
            Err(Interruption::Conflict) => self.alone = made.max(1),
            Err(_) => {}
        }
        committed
    }

    /// Makes the attempt that is under way, and those that can follow it at once.
    async fn deliver(&mut self, desk: &mut Lent<Desk>) {
        let handled = desk.machine.progress().counts.handled;
        let outcome = caught(self.call(desk), panicked).await;
        if desk.machine.progress().counts.handled != handled {
            self.traps = 0;
        }
        if let Err(failure) = outcome {
            self.instance = None;
            self.failed(desk, failure);
        }
    }

    /// Lifts the event of the delivery that is to be made, where that is needed, and has it begin. Where the event can't be
    /// lifted, the attempt has failed, and there is none to be made.
    async fn lift(&mut self, desk: &mut Desk) -> Result<(), Interruption> {
        let began = self.clock().now();
        match caught(desk.lift(), panicked).await {
            Ok(has_trapped) => {
                if has_trapped {
                    self.rest_after(began);
                }
                desk.start()
            }
            Err(failure) => {
                self.failed(desk, failure);
                Ok(())
            }
        }
    }

    /// The attempt under way has failed.
    fn failed(&mut self, desk: &mut Desk, failure: Failure) {
        let Some(started) = desk.started() else { return };
        if failure.kind.is_of_program() {
            self.rest_after(started);
        }
        let chance = self.shared.log.random().next_u64();
        desk.failed(failure, self.clock().now(), chance);
    }

    /// Has the lane rest after the batch, for a trap in what was begun then.
    fn rest_after(&mut self, began: Timestamp) {
        let now = self.clock().now();
        let rest = now.since(began).saturating_mul(TRAP_REST << self.traps.min(TRAP_DOUBLED_MAX));
        self.rests_until = Some(now.after(rest.min(TRAP_REST_MAX)));
        self.traps = self.traps.saturating_add(1);
    }

    async fn call(&mut self, lender: &mut dyn Lender) -> Result<(), Failure> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => none.insert(self.program.instantiate(&self.name).await?),
        };
        instance.deliver(lender).await
    }

    /// Lets others have the machine after a trap: to take an instance down and start another costs all of them, most of all
    /// where it had much memory, and a program that traps all the time would do nothing else.
    async fn rest_from_trap(&mut self, desk: &Desk, until: Timestamp) {
        self.report(LaneState::Waiting { until }, Some(desk));
        tokio::select! {
            biased;
            _ = self.control.changed() => {}
            () = self.shared.log.clock().sleep_until(until) => {}
        }
    }

    /// Waits until there may be something to do.
    async fn rest(&mut self, desk: &mut Desk, why: Rest, wake: Wake) -> Result<(), Interruption> {
        self.report(self.resting(desk, why, wake), Some(desk));
        let mut idle_at = Some(self.clock().now().after(LANE_IDLE));
        let due = wake.retry.into_iter().chain(wake.timer).min();
        loop {
            let wake_at = due.into_iter().chain(idle_at).min();
            tokio::select! {
                biased;
                _ = self.control.changed() => return Ok(()),
                () = self.watcher.changed() => {
                    desk.wake();
                    return Ok(());
                }
                () = sleep_until(&**self.shared.log.clock(), wake_at) => {
                    if due == wake_at {
                        // Should that moment have passed again and again, with nothing to do, others get their turn all the same.
                        tokio::task::yield_now().await;
                        return Ok(());
                    }
                    idle_at = None;
                    self.instance = None;
                    desk.rewind();
                }
            }
        }
    }

    fn resting(&self, desk: &Desk, why: Rest, wake: Wake) -> LaneState {
        match (why, wake.retry) {
            (Rest::Stalled, _) => LaneState::Stalled { held_max: self.shared.config.held_max },
            (_, Some(until)) => LaneState::Waiting { until },
            (Rest::Blocked, None) => LaneState::Parked,
            (Rest::Empty, None) if desk.machine.holds().parked() > 0 => LaneState::Parked,
            (Rest::Empty, None) => LaneState::Idle,
        }
    }

    /// Waits until the storage is worth another try. Returns whether the lane goes on.
    async fn storage_works(&mut self) -> bool {
        let wait = STORAGE_RETRY_BASE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let end = self.clock().now().after(wait.min(STORAGE_RETRY_MAX));
        let log = &self.shared.log;
        let works = async {
            log.clock().sleep_until(end).await;
            log.usable().await.is_ok()
        };
        tokio::pin!(works);
        loop {
            tokio::select! {
                biased;
                changed = self.control.changed() => {
                    if changed.is_err() || self.control.borrow_and_update().stop {
                        return false;
                    }
                }
                works = &mut works => return works,
            }
        }
    }

    fn report(&self, state: LaneState, desk: Option<&Desk>) {
        self.shared.board.report(self.id.partition, |report| {
            report.state = state;
            report.generation = self.generation;
            report.version.clone_from(self.program.version());
            if let Some(desk) = desk {
                let progress = desk.machine.progress();
                report.next.clone_from(&progress.next);
                report.counts = progress.counts;
                report.held = desk.machine.holds().len();
                report.parked = desk.machine.holds().parked();
                report.next_retry = desk.machine.holds().next_due();
                report.timers = progress.timers.set;
                report.epoch = desk.epoch();
            }
        });
    }

    fn clock(&self) -> &dyn Clock {
        &**self.shared.log.clock()
    }
}

/// A program that panics has failed its attempt, like a plugin that traps.
fn panicked(message: &str) -> Failure {
    Failure::new(FailureKind::Trap, "panic", message)
}

async fn sleep_until(clock: &dyn Clock, moment: Option<Timestamp>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => pending().await,
    }
}

/// A topic's name. One that the log doesn't know any more goes by its number.
pub(super) fn topic_name(log: &Log, topic: TopicId) -> Arc<str> {
    log.topic_name(topic).unwrap_or_else(|| topic.to_string().into())
}
