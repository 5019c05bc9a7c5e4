//! A running consumer: its lanes as tasks, and what can be asked of them while they run.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::lane::{Control, LaneTask, Shared, topic_name};
use super::pace::Paced;
use super::status::{Board, LaneState, LaneStatus, Report, stored};
use crate::config::{ConsumerConfig, Order};
use crate::effects::{Authority, ContextOwner};
use crate::handler::{Program, ProgramVersion};
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::log::{Log, ReadError};
use crate::stepper::Stepper;
use crate::upcast::Lifts;

/// What all consumers of a bus share.
pub(crate) struct Lanes {
    log: Arc<Log>,
    runtime: Handle,
    stepper: Option<Stepper>,
    /// What the lanes of plugins take turns with, once they have used up their share of the threads.
    turns: Arc<Semaphore>,
    /// The lanes that have run since the log was opened. A mark that one of them left is not of a process before.
    started: Mutex<HashSet<LaneId>>,
}

/// What a consumer is to run with.
pub(crate) struct Setup {
    /// Its number, once it is registered with the log.
    pub id: ConsumerId,
    /// Its name.
    pub name: Arc<str>,
    /// Its topics, all of which have as many partitions.
    pub topics: Vec<TopicId>,
    /// How many.
    pub partitions: u32,
    /// Its settings.
    pub config: ConsumerConfig,
    /// What it may do.
    pub authority: Arc<Authority>,
    /// What runs it.
    pub program: Arc<dyn Program>,
    /// What the bus lifts, until [`Consumer::lift_by`].
    pub lifts: Arc<Lifts>,
    /// Whether it stands still until [`Consumer::resume`].
    pub paused: bool,
}

impl Lanes {
    /// Lanes on `log` that run on `runtime`, in steps where there is something to step them with.
    pub(crate) fn new(log: Arc<Log>, runtime: Handle, stepper: Option<Stepper>) -> Self {
        // A thread is left for those that have little to do.
        let turns = runtime.metrics().num_workers().saturating_sub(1).max(1);
        Self { log, runtime, stepper, turns: Arc::new(Semaphore::new(turns)), started: Mutex::default() }
    }

    /// Has something of a plugin's done that is no delivery: it takes no more of the threads than a lane may.
    pub(crate) fn spawn_paced(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(Paced::new(work, Arc::clone(self.log.clock()), Arc::clone(&self.turns)))
    }

    /// Starts a consumer's lanes, a task each.
    pub(crate) fn start(&self, setup: Setup) -> Consumer {
        let control = watch::Sender::new(Control {
            program: setup.program,
            generation: 0,
            lifts: setup.lifts,
            paused: setup.paused,
            stop: false,
        });
        let shared = Arc::new(Shared {
            owner: ContextOwner {
                consumer: Arc::clone(&setup.name),
                authority: setup.authority,
                topics: self.log.directory(),
                seed: self.log.seed(),
            },
            log: Arc::clone(&self.log),
            topics: setup.topics.into_iter().map(|topic| (topic, topic_name(&self.log, topic))).collect(),
            config: Arc::new(setup.config),
            board: Board::new(setup.partitions),
        });
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = (0..setup.partitions).map(|partition| {
            let lane = LaneId { consumer: setup.id, partition };
            let may_have_crashed = started.insert(lane) && self.log.was_unclean();
            let task = LaneTask::new(Arc::clone(&shared), lane, control.subscribe(), may_have_crashed);
            if let Some(stepper) = &self.stepper {
                return stepper.spawn(task.run());
            }
            match &*shared.owner.authority {
                // It is part of the application, and may block its thread: it is not kept waiting for others that do.
                Authority::Native => self.runtime.spawn(task.run()),
                Authority::Granted(_) | Authority::Reader => {
                    let clock = Arc::clone(self.log.clock());
                    self.runtime.spawn(Paced::new(task.run(), clock, Arc::clone(&self.turns)))
                }
            }
        });
        Consumer { id: setup.id, partitions: setup.partitions, tasks: tasks.collect(), control, shared }
    }
}

/// Follows what the lanes of a consumer do.
pub(crate) struct Changes(Arc<Shared>);

impl Changes {
    /// Ends with the first report of a lane that comes from now on: after each commit there is one.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + '_ {
        self.0.board.changed()
    }
}

/// What a consumer left undone when it ended.
#[derive(Clone, Debug)]
pub(crate) struct Undone {
    /// The consumer.
    pub consumer: ConsumerId,
    /// Lanes that were cut off in a delivery.
    pub lanes_cut_off: usize,
    /// Of each lane, by its partition, where it goes on in its topics, and how many events it holds. A lane that hasn't
    /// come to its first report has no topic here.
    lanes: Vec<(BTreeMap<TopicId, u64>, u64)>,
}

impl Undone {
    /// Events that none of its lanes has come to, and events that they hold.
    pub(crate) fn lag_and_held(&self, log: &Log) -> (u64, u64) {
        let (mut lag, mut held) = (0, 0);
        for (partition, (next, lane_held)) in (0..).zip(&self.lanes) {
            let to_come = |(topic, offset): (&TopicId, &u64)| {
                log.next_offset(*topic, partition).saturating_sub(*offset)
            };
            lag += next.iter().map(to_come).sum::<u64>();
            held += lane_held;
        }
        (lag, held)
    }

    /// Looks into the log for the lanes that have said nothing.
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub(crate) fn look_up(&mut self, log: &Log) -> Result<(), ReadError> {
        for (partition, lane) in (0..).zip(&mut self.lanes).filter(|(_, (next, _))| next.is_empty()) {
            let stored = stored(log, LaneId { consumer: self.consumer, partition })?;
            *lane = (stored.next, stored.held as u64);
        }
        Ok(())
    }
}

/// A consumer whose lanes run. Dropped without [`stop`](Self::stop), its lanes end after their batch.
pub(crate) struct Consumer {
    id: ConsumerId,
    partitions: u32,
    shared: Arc<Shared>,
    control: watch::Sender<Control>,
    tasks: Vec<JoinHandle<()>>,
}

impl Consumer {
    /// Its number.
    pub(crate) fn id(&self) -> ConsumerId {
        self.id
    }

    /// Follows what its lanes do, for as long as they run and after.
    pub(crate) fn changes(&self) -> Changes {
        Changes(Arc::clone(&self.shared))
    }

    /// Has each lane go over to another program, between two deliveries: it finishes the one it is at, commits its batch,
    /// and makes the next delivery with the new program. Attempts go on counting.
    pub(crate) fn switch(&self, program: Arc<dyn Program>) {
        self.control.send_modify(|control| {
            control.program = program;
            control.generation += 1;
        });
    }

    /// Ends when every lane has gone over to the program of the last [`switch`](Self::switch). A lane whose storage fails
    /// goes over when it works again.
    pub(crate) fn switched(&self) -> impl Future<Output = ()> + use<> {
        let generation = self.control.borrow().generation;
        let shared = Arc::clone(&self.shared);
        async move {
            let has_switched =
                |_, report: &Report| report.generation >= generation || report.state == LaneState::Stopped;
            shared.board.all(has_switched).await;
        }
    }

    /// Has each lane lift events by these from its next batch on. What is published after this has returned is delivered as
    /// they say.
    pub(crate) fn lift_by(&self, lifts: &Arc<Lifts>) {
        self.control.send_modify(|control| control.lifts = Arc::clone(lifts));
    }

    /// Ends when the lanes are done with every event that is durable now: handled, or dead letters. Returns whether they
    /// are; otherwise they have been stopped before.
    pub(crate) fn caught_up(&self) -> impl Future<Output = bool> + use<> {
        let shared = Arc::clone(&self.shared);
        let next = |partition| {
            let topics = shared.topics.keys();
            topics.map(|topic| (*topic, shared.log.next_offset(*topic, partition))).collect::<Vec<_>>()
        };
        let ends: Vec<_> = (0..self.partitions).map(next).collect();
        // A lane that was moved by hand has to have heard of it.
        let epochs: Vec<_> = (0..self.partitions)
            .map(|partition| shared.log.lane_epoch(LaneId { consumer: self.id, partition }))
            .collect();
        async move {
            let is_done = |partition: u32, report: &Report| {
                let has_come_to = |(topic, end): &(TopicId, u64)| report.next.get(topic) >= Some(end);
                // Behind a dead letter that parks its key others wait as well.
                report.next_retry.is_none()
                    && report.epoch >= epochs[partition as usize]
                    && ends[partition as usize].iter().all(has_come_to)
            };
            let was_stopped = |report: &Report| report.state == LaneState::Stopped;
            shared.board.all(|partition, report| is_done(partition, report) || was_stopped(report)).await;
            (0..).zip(shared.board.reports()).all(|(partition, report)| is_done(partition, &report))
        }
    }

    /// Ends when a lane stands still until an operator has settled a dead letter: nothing else brings it on.
    pub(crate) fn stands_still(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            let has_more = |partition: u32, report: &Report| {
                report.next.iter().any(|(topic, next)| *next < shared.log.next_offset(*topic, partition))
            };
            let stands = |partition: u32, report: &Report| {
                let takes_no_more = match report.state {
                    LaneState::Stalled { .. } => true,
                    // At the end of its topics it is done.
                    LaneState::Parked => {
                        shared.config.order == Order::Partition && has_more(partition, report)
                    }
                    _ => false,
                };
                takes_no_more && report.parked > 0 && report.next_retry.is_none()
            };
            shared.board.any(stands).await;
        }
    }

    /// The version of the program that the lanes run, or are going over to.
    pub(crate) fn version(&self) -> ProgramVersion {
        self.control.borrow().program.version().clone()
    }

    /// The program that the lanes run, or are going over to.
    pub(crate) fn program(&self) -> Arc<dyn Program> {
        Arc::clone(&self.control.borrow().program)
    }

    /// One of its lanes, for who waits for it.
    pub(crate) fn lane(&self, partition: u32) -> LaneView {
        let id = LaneId { consumer: self.id, partition };
        LaneView { id, shared: Arc::clone(&self.shared) }
    }

    /// Has each lane stand still after its batch.
    pub(crate) fn pause(&self) {
        self.control.send_modify(|control| control.paused = true);
    }

    /// Ends a pause.
    pub(crate) fn resume(&self) {
        self.control.send_modify(|control| control.paused = false);
    }

    /// Ends the lanes: each finishes the delivery it is at and commits its batch. Those that take longer than `grace` are
    /// cut off, and have ended when this returns. Returns how many were.
    pub(crate) async fn stop(mut self, grace: Duration) -> usize {
        let clock = Arc::clone(self.shared.log.clock());
        let mut cut_off = 0;
        for (partition, task) in self.end_lanes(clock.sleep_until(clock.now().after(grace))).await {
            // A task that panicked is as much at its end as one that was cancelled.
            cut_off += usize::from(task.await.is_err_and(|error| error.is_cancelled()));
            // It can't say so itself any more.
            self.shared.board.stopped(partition);
        }
        cut_off
    }

    /// Ends the lanes like [`stop`](Self::stop), but those that are not done when it is `over` are not waited for any
    /// more: a handler that blocks its thread ends when it likes, and takes no effect. Says what is left undone.
    pub(crate) async fn drain(mut self, over: impl Future<Output = ()>) -> Undone {
        let late = self.end_lanes(over).await;
        for (partition, _) in &late {
            self.shared.board.stopped(*partition);
        }
        let lanes = self.shared.board.reports().map(|report| (report.next, report.held as u64)).collect();
        Undone { consumer: self.id, lanes_cut_off: late.len(), lanes }
    }

    /// Tells the lanes to end and waits until all have, or it is `over`. Cancels and returns those that have not.
    async fn end_lanes(&mut self, over: impl Future<Output = ()>) -> Vec<(u32, JoinHandle<()>)> {
        self.control.send_modify(|control| control.stop = true);
        let mut over = pin!(over);
        let mut lanes = (0..).zip(std::mem::take(&mut self.tasks));
        let mut late = Vec::new();
        for (partition, mut task) in lanes.by_ref() {
            tokio::select! {
                biased;
                // A task that panicked is at its end, too.
                _ = &mut task => {}
                () = &mut over => {
                    late.push((partition, task));
                    break;
                }
            }
        }
        late.extend(lanes);
        late.retain(|(_, task)| !task.is_finished());
        for (_, task) in &late {
            task.abort();
        }
        late
    }

    /// What each lane is doing, for [`Look::status`]: reads nothing, so that nobody who looks waits for the disk.
    pub(crate) fn look(&self) -> Look {
        let reports = self.shared.board.reports().zip(&self.tasks);
        let lanes = reports.map(|(report, task)| (report, task.is_finished())).collect();
        Look { log: Arc::clone(&self.shared.log), consumer: self.id, lanes }
    }

    /// What each lane is doing.
    #[cfg(test)]
    pub(super) fn status(&self) -> Vec<LaneStatus> {
        self.look().status()
    }

    /// Waits until this is true of every lane, as tests do.
    #[cfg(test)]
    pub(super) async fn all(&self, is_so: impl Fn(&Report) -> bool) {
        self.shared.board.all(|_, report| is_so(report)).await;
    }
}

/// A lane, for who waits for it.
pub(crate) struct LaneView {
    /// Which.
    pub id: LaneId,
    shared: Arc<Shared>,
}

impl LaneView {
    /// Ends when the lane has come past an event, which is finished then, held or a dead letter, and this finds what it
    /// looks for; and when the lane has stopped: `None`.
    pub(crate) async fn past<T>(
        &self,
        topic: TopicId,
        offset: u64,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let see = |report: &Report| {
            let is_past = report.next.get(&topic).is_some_and(|next| *next > offset);
            (is_past, report.state == LaneState::Stopped)
        };
        let look = |(is_past, has_stopped): (bool, bool)| match if is_past { look() } else { None } {
            Some(found) => Some(Some(found)),
            None if has_stopped => Some(None),
            None => None,
        };
        self.shared.board.find(self.id.partition, see, look).await
    }
}

/// The lanes of a consumer at one moment.
pub(crate) struct Look {
    log: Arc<Log>,
    consumer: ConsumerId,
    /// What each has reported, and whether its task has ended.
    lanes: Vec<(Report, bool)>,
}

impl Look {
    /// The lanes for people. Reads one event for each topic in which a lane has some to come.
    pub(crate) fn status(self) -> Vec<LaneStatus> {
        let Self { log, consumer, lanes } = self;
        let lane = |(partition, (report, has_ended)): (u32, (Report, bool))| {
            let report = match report.state {
                // It hasn't said anything yet; what the log has is where it starts.
                LaneState::Starting => stored(&log, LaneId { consumer, partition }).unwrap_or(report),
                _ => report,
            };
            let mut status = report.status(&log, partition);
            if has_ended {
                status.state = LaneState::Stopped;
            }
            status
        };
        (0..).zip(lanes).map(lane).collect()
    }
}
