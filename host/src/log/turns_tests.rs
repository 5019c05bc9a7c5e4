//! What the committer takes first, in steps.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::lane_rows::LaneCommit;
use super::*;
use crate::clock::{Clock, Timestamp};
use crate::config::{CommitMode, TopicConfig};
use crate::event::Event;
use crate::ids::LaneId;
use crate::limits::{
    CACHE_BYTES, EVENT_BYTES_MAX, JOURNAL_BYTES, JOURNAL_FILE_PART, LANE_COMMIT_LARGE, LARGE_COMMIT_WAIT_MAX,
};
use crate::testing::{ManualClock, SeededRandom};

/// A call that is under way.
type Call<'l> = Pin<Box<dyn Future<Output = ()> + 'l>>;

struct Rig {
    log: Log,
    steps: Steps,
    clock: Arc<ManualClock>,
    lanes: Vec<LaneId>,
}

impl Rig {
    /// A log with topic `t` and consumers of it, of which each has a lane.
    fn new(consumers: usize) -> Self {
        let options = LogOptions {
            commit: CommitMode::QuickRepair,
            event_bytes_max: EVENT_BYTES_MAX,
            cache_bytes: CACHE_BYTES,
            journal_bytes: JOURNAL_BYTES,
            journal_file_part: JOURNAL_FILE_PART,
            free_bytes_min: 0,
            blobs_bytes_max: crate::limits::BLOBS_BYTES_MAX,
            is_stepped: false,
        };
        let (steps, clock) = (Steps::default(), Arc::new(ManualClock::new(Timestamp(1))));
        let random = Arc::new(SeededRandom::new(1));
        let medium = Box::new(MemoryMedium::new());
        let handed_in = Arc::clone(&clock) as Arc<dyn Clock>;
        let log = Log::open(options, medium, handed_in, random, Some(steps.clone())).unwrap();
        let mut rig = Self { log, steps, clock, lanes: Vec::new() };
        rig.done(Box::pin(async { _ = rig.log.create_topic("t", TopicConfig::new(1)).await.unwrap() }));
        for number in 0..consumers {
            let name = format!("c{number}");
            let topics = ["t".to_owned()];
            rig.done(Box::pin(async {
                drop(rig.log.register(&name, &topics, Position::Earliest).await.unwrap());
            }));
            let (consumer, _) = rig.log.consumer(&name).unwrap();
            rig.lanes.push(LaneId { consumer, partition: 0 });
        }
        // Nobody else has been about for some time.
        rig.clock.advance(LARGE_COMMIT_WAIT_MAX * 2);
        rig
    }

    fn done(&self, mut call: Call<'_>) {
        assert!(!is_done(&mut call));
        assert_eq!(self.steps.step(), Step::Worked);
        assert!(is_done(&mut call));
    }

    fn publish(&self, id: &str) -> Call<'_> {
        let event = Event::new(id, "/tests", "Test.v1").build().unwrap();
        begun(Box::pin(async move { drop(self.log.append(vec![("t", event)]).await.unwrap()) }))
    }

    /// The batch of a lane, so large that it takes turns.
    fn batch(&self, lane: usize) -> Call<'_> {
        let lane = self.lanes[lane];
        let now = self.log.lane(lane).unwrap();
        let mut effects = crate::effects::Effects { bytes: LANE_COMMIT_LARGE, ..<_>::default() };
        effects.state.insert(b"k".to_vec(), Some(vec![0; LANE_COMMIT_LARGE]));
        let commit = LaneCommit {
            lane,
            epoch: now.epoch,
            progress: now.progress,
            held: <_>::default(),
            dead_letters: Vec::new(),
            came: Vec::new(),
            effects,
        };
        begun(Box::pin(async move { _ = self.log.commit(commit).await.unwrap() }))
    }
}

fn is_done(call: &mut Call<'_>) -> bool {
    matches!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()))
}

fn begun(mut call: Call<'_>) -> Call<'_> {
    assert!(!is_done(&mut call));
    call
}

#[test]
fn a_commit_takes_one_large_batch_and_who_waits_already_goes_first_but_once() {
    let rig = Rig::new(2);
    let (mut first, mut second, mut publish) = (rig.batch(0), rig.batch(1), rig.publish("a"));
    assert_eq!(rig.steps.step(), Step::Worked);
    assert!(is_done(&mut publish) && !is_done(&mut first) && !is_done(&mut second));
    let mut publish = rig.publish("b");
    assert_eq!(rig.steps.step(), Step::Worked);
    assert!(is_done(&mut publish) && is_done(&mut first) && !is_done(&mut second));
    assert_eq!(rig.steps.step(), Step::Worked);
    assert!(is_done(&mut second));
}

#[test]
fn large_batches_leave_most_of_the_time_to_others_that_are_about() {
    const TOOK: Duration = Duration::from_millis(10);
    let rig = Rig::new(2);
    let slow = |takes: Duration| {
        let clock = Arc::clone(&rig.clock);
        let slow = rig.log.transact("app/", move |_: &mut Transaction<'_>| {
            clock.advance(takes);
            Ok::<_, ()>(())
        });
        begun(Box::pin(async move { slow.await.unwrap() }))
    };
    let mut first = rig.batch(0);
    let mut before = slow(TOOK);
    assert_eq!(rig.steps.step(), Step::Worked);
    assert!(is_done(&mut before) && !is_done(&mut first));
    let mut beside = slow(TOOK);
    assert_eq!(rig.steps.step(), Step::Worked);
    assert!(is_done(&mut beside) && is_done(&mut first));
    let mut second = rig.batch(1);
    assert_eq!(rig.steps.step(), Step::Idle);
    rig.clock.advance(TOOK * 10);
    assert_eq!(rig.steps.step(), Step::Idle);
    let mut publish = rig.publish("b");
    assert_eq!(rig.steps.step(), Step::Worked);
    assert!(is_done(&mut publish) && !is_done(&mut second));
    rig.clock.advance(LARGE_COMMIT_WAIT_MAX);
    assert_eq!(rig.steps.step(), Step::Worked);
    assert!(is_done(&mut second));
}

#[test]
fn large_batches_that_wait_are_written_when_the_log_is_closed() {
    let rig = Rig::new(2);
    let (mut first, mut second) = (rig.batch(0), rig.batch(1));
    assert!(matches!(rig.log.close(), Some((Closing::Marked, 0))));
    assert!(is_done(&mut first) && is_done(&mut second));
}
