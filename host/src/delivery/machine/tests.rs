//! The machine against a simple model of what a lane promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{OnDeadLetter, Order, RetryPolicy};

const TOPIC: TopicId = TopicId(7);

fn config() -> ConsumerConfig {
    ConsumerConfig::new(["orders"]).retry(RetryPolicy::default().attempts(4))
}

fn machine(config: ConsumerConfig) -> Machine {
    Machine::new(Arc::new(config), 0, Progress::default(), BTreeMap::new())
}

fn fresh(offset: u64, key: u64) -> Subject {
    Subject {
        target: Target::Fresh(TOPIC, offset),
        topic: TOPIC,
        topic_name: "orders".into(),
        offset,
        commit: offset + 1,
        appended: appended(offset),
        key,
        event: None,
    }
}

fn appended(offset: u64) -> Timestamp {
    Timestamp(1_000_000 + i64::try_from(offset).unwrap())
}

fn held(machine: &Machine, id: u64) -> Subject {
    let held = machine.holds().get(id).unwrap();
    Subject { target: Target::Held(id), ..fresh(held.offset, held.key) }
}

fn busy() -> Failure {
    Failure::transient("busy", "try later")
}

const NOW: Timestamp = Timestamp(2_000_000_000);

#[test]
fn a_held_event_holds_back_its_own_key_and_no_other() {
    let mut machine = machine(config());
    machine.failed(fresh(0, 1), busy(), NOW, NOW, u64::MAX);
    assert_eq!(machine.step(NOW, Some(1), None), Step::Hold);
    machine.hold(&fresh(1, 1));
    assert_eq!(machine.step(NOW, Some(2), None), Step::DeliverFresh);
    machine.succeeded(Target::Fresh(TOPIC, 2));
    let due = NOW.after(Duration::from_millis(200));
    assert_eq!(machine.step(NOW, None, None), Step::Rest(Rest::Empty, Some(due)));
    assert_eq!(machine.step(due, None, None), Step::DeliverHeld(0));
    machine.succeeded(Target::Held(0));
    assert_eq!(machine.step(due, None, None), Step::DeliverHeld(1), "the next of the key runs at once");
}

#[test]
fn order_of_the_partition_holds_the_whole_lane_back() {
    let mut machine = machine(config().order(Order::Partition));
    machine.failed(fresh(0, 1), busy(), NOW, NOW, u64::MAX);
    let due = NOW.after(Duration::from_millis(200));
    assert_eq!(machine.step(NOW, Some(2), None), Step::Rest(Rest::Blocked, Some(due)));
    assert_eq!(machine.step(due, Some(2), None), Step::DeliverHeld(0));
    machine.succeeded(Target::Held(0));
    assert_eq!(machine.step(due, Some(2), None), Step::DeliverFresh);
}

#[test]
fn without_an_order_a_held_event_holds_nothing_back() {
    let mut machine = machine(config().order(Order::None).on_dead_letter(OnDeadLetter::Park));
    machine.failed(fresh(0, 1), busy(), NOW, NOW, u64::MAX);
    assert_eq!(machine.step(NOW, Some(1), None), Step::DeliverFresh);
    machine.failed(fresh(1, 1), Failure::permanent("bad", "bad"), NOW, NOW, 0);
    assert_eq!(machine.step(NOW, Some(1), None), Step::DeliverFresh);
    assert_eq!(machine.take_changes().unwrap().dead_letters[0].parked, None);
}

#[test]
fn at_held_max_the_lane_stops_and_still_runs_what_is_due() {
    let mut machine = machine(config().held_max(2));
    machine.failed(fresh(0, 1), busy(), NOW, NOW, u64::MAX);
    machine.failed(fresh(1, 2), busy(), NOW, NOW, u64::MAX);
    let due = NOW.after(Duration::from_millis(200));
    assert_eq!(machine.step(NOW, Some(3), None), Step::Rest(Rest::Stalled, Some(due)));
    assert_eq!(machine.step(due, Some(3), None), Step::DeliverHeld(0));
    machine.succeeded(Target::Held(0));
    machine.failed(held(&machine, 1), busy(), due, due, u64::MAX);
    assert_eq!(machine.step(due, Some(3), None), Step::DeliverFresh, "it goes on below the bound");
}

#[test]
fn retries_come_first_but_never_starve_what_is_new() {
    let mut machine = machine(config().order(Order::None));
    for offset in 0..100 {
        machine.failed(fresh(offset, offset), busy(), NOW, NOW, 0);
    }
    let mut offset = 100;
    let mut turns = Vec::new();
    for _ in 0..64 {
        match machine.step(NOW, Some(1000), None) {
            Step::DeliverHeld(id) => {
                machine.succeeded(Target::Held(id));
                turns.push('h');
            }
            Step::DeliverFresh => {
                machine.succeeded(Target::Fresh(TOPIC, offset));
                offset += 1;
                turns.push('f');
            }
            step => panic!("{step:?}"),
        }
    }
    let turns: String = turns.into_iter().collect();
    assert_eq!(turns.matches('f').count(), 8, "{turns}");
    assert!(!turns.contains("ff") && !turns.contains("hhhhhhhh"), "{turns}");
}

#[test]
fn a_dead_letter_has_the_whole_diagnosis() {
    let mut machine = machine(config());
    machine.set_version(ProgramVersion { name: "mailer".into(), version: "1.0.0".into(), hash: "ab".into() });
    let trap = Failure::new(FailureKind::Trap, "trap", "unreachable").with_backtrace("0: send");
    let failures = [busy(), trap, Failure::new(FailureKind::Timeout, "timeout", "over 5 s"), busy()];
    let mut subject = fresh(0, 1);
    let mut starts = Vec::new();
    for (at, failure) in failures.iter().enumerate() {
        if at == 2 {
            machine.set_version(ProgramVersion {
                name: "mailer".into(),
                version: "1.0.1".into(),
                hash: "cd".into(),
            });
        }
        let started = NOW.after(Duration::from_secs(at as u64));
        machine.failed(subject, failure.clone(), started, started.after(Duration::from_millis(5)), 0);
        starts.push(started);
        subject = Subject { target: Target::Held(0), ..fresh(0, 1) };
    }
    let letter = machine.take_changes().unwrap().dead_letters.remove(0);
    assert_eq!((letter.topic.as_str(), letter.partition, letter.offset, letter.commit), ("orders", 0, 0, 1));
    assert_eq!(letter.reason, busy());
    assert!(letter.attempts.iter().map(|attempt| &attempt.failure).eq(&failures));
    assert!(letter.attempts.iter().map(|attempt| attempt.at).eq(starts));
    let versions: Vec<_> = letter.attempts.iter().map(|attempt| attempt.version.version.as_str()).collect();
    assert_eq!(versions, ["1.0.0", "1.0.0", "1.0.1", "1.0.1"]);
    assert_eq!((letter.first_attempt, letter.version.hash.as_str()), (NOW, "cd"));
    assert_eq!(machine.holds().len(), 0);
    assert_eq!(machine.progress().counts, LaneCounts { handled: 0, retries: 3, dead_letters: 1 });
}

#[test]
fn a_permanent_failure_is_given_up_on_at_once_and_its_key_goes_on() {
    let mut machine = machine(config());
    machine.failed(fresh(0, 1), Failure::permanent("bad", "no such account"), NOW, NOW, 0);
    let changes = machine.take_changes().unwrap();
    assert_eq!(changes.dead_letters.len(), 1);
    assert_eq!(changes.dead_letters[0].attempts.len(), 1);
    assert_eq!(changes.progress.next[&TOPIC], 1);
    assert_eq!(machine.step(NOW, Some(1), None), Step::DeliverFresh);
}

#[test]
fn where_dead_letters_park_their_key_waits_behind_them() {
    let mut machine = machine(config().on_dead_letter(OnDeadLetter::Park));
    machine.failed(fresh(0, 1), Failure::permanent("bad", "no such account"), NOW, NOW, 0);
    assert_eq!(machine.step(NOW, Some(1), None), Step::Hold);
    machine.hold(&fresh(1, 1));
    assert_eq!(machine.step(NOW, Some(2), None), Step::DeliverFresh);
    assert_eq!(machine.step(NOW, None, None), Step::Rest(Rest::Empty, None), "until an operator comes");
    let changes = machine.take_changes().unwrap();
    assert_eq!(changes.dead_letters[0].parked, Some(0));
    assert_eq!(changes.held[&0].as_ref().unwrap().wait, Wait::Operator);
    assert_eq!(machine.holds().parked(), 1);

    // The operator discards the letter: the log removes the row, and the lane reads itself back.
    let mut durable = Durable::default();
    durable.apply(changes);
    durable.held.remove(&0);
    let machine = durable.load(config().on_dead_letter(OnDeadLetter::Park));
    assert_eq!(machine.step(NOW, Some(2), None), Step::DeliverHeld(1));
}

#[test]
fn a_redriven_event_comes_behind_what_is_held_of_its_key_and_holds_nothing_back() {
    let mut machine = machine(config());
    machine.failed(fresh(0, 1), busy(), NOW, NOW, 0);
    machine.hold(&fresh(1, 1));
    let mut durable = Durable::default();
    durable.apply(machine.take_changes().unwrap());
    let letter = Held { redriven: true, wait: Wait::Until(Timestamp(5)), ..Held::waiting(&fresh(9, 1)) };
    durable.held.insert(REDRIVEN + 3, letter);
    let mut machine = durable.load(config());
    for id in [0, 1] {
        assert_eq!(machine.step(NOW, None, None), Step::DeliverHeld(id));
        machine.succeeded(Target::Held(id));
    }
    let redriven = Subject { target: Target::Held(REDRIVEN + 3), ..fresh(9, 1) };
    let timing = machine.timing(&redriven, NOW);
    assert_eq!((timing.attempt, timing.now, timing.redriven), (1, Timestamp(5), true));
    assert_eq!(machine.step(NOW, None, None), Step::DeliverHeld(REDRIVEN + 3));
    machine.failed(redriven, busy(), NOW, NOW, u64::MAX);
    assert_eq!(machine.step(NOW, Some(1), None), Step::DeliverFresh);
}

#[test]
fn a_deliverys_time_is_recorded_and_so_the_same_on_every_run() {
    let mut machine = machine(config());
    let first = machine.timing(&fresh(0, 1), NOW);
    assert_eq!((first.attempt, first.now, first.first_attempt), (1, appended(0), NOW));
    machine.failed(fresh(0, 1), busy(), NOW, NOW, u64::MAX);
    machine.hold(&fresh(1, 1));
    let later = NOW.after(Duration::from_mins(1));
    let second = machine.timing(&held(&machine, 0), later);
    assert_eq!((second.attempt, second.now), (2, NOW.after(Duration::from_millis(200))));
    assert_eq!(second.first_attempt, NOW);
    machine.succeeded(Target::Held(0));
    let waited = machine.timing(&held(&machine, 1), later);
    assert_eq!((waited.attempt, waited.now, waited.first_attempt), (1, appended(1), later));
}

#[test]
fn a_delivery_that_ends_the_process_is_found_out_by_its_mark() {
    let mut durable = Durable::default();
    let mut subject = fresh(0, 1);
    for crash in 0..3 {
        let mut machine = durable.load(config());
        machine.mark(subject.target, NOW);
        durable.apply(machine.take_changes().unwrap());
        // The process ends here, and the next one reads the lane back.
        let mut machine = durable.load(config());
        let mark = machine.unmark().unwrap();
        assert_eq!((mark.target, mark.crashes, mark.at), (subject.target, crash, NOW));
        machine.crashed(subject, &mark, NOW, 0);
        durable.apply(machine.take_changes().unwrap());
        assert_eq!(durable.progress.marked, None);
        subject = Subject { target: Target::Held(0), ..fresh(0, 1) };
    }
    let letter = durable.dead.remove(0);
    assert!(durable.held.is_empty());
    assert_eq!(letter.reason.kind, FailureKind::HostCrash);
    assert_eq!(letter.attempts.len(), 3);
}

#[test]
fn what_cannot_be_read_becomes_a_dead_letter_and_the_lane_goes_on() {
    let mut machine = machine(config());
    let target = Target::Fresh(TOPIC, 9);
    let missing = Missing { target, topic: TOPIC, topic_name: "orders".into(), offset: 0, offset_last: 9 };
    machine.missing(&missing, Failure::new(FailureKind::Damaged, "damaged", "checksum"), NOW);
    machine.failed(fresh(10, 1), busy(), NOW, NOW, 0);
    machine.unreadable(held(&machine, 0), Failure::new(FailureKind::Damaged, "damaged", "checksum"), NOW);
    let changes = machine.take_changes().unwrap();
    let places: Vec<_> =
        changes.dead_letters.iter().map(|letter| (letter.offset, letter.offset_last)).collect();
    assert_eq!(places, [(0, 9), (10, 10)]);
    assert_eq!(changes.dead_letters[1].attempts.len(), 1, "the attempts made so far are kept");
    assert_eq!(changes.progress.next[&TOPIC], 11);
    assert_eq!(machine.holds().len(), 0);
}

/// How the attempts at an event turn out.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Succeeds after so many failures.
    Succeeds(u32),
    /// Fails for good after so many failures that are worth a retry.
    Permanent(u32),
}

impl Fate {
    /// Whether it succeeds in the end, and with how many attempts: the model.
    fn model(self, attempts: u32) -> (bool, u32) {
        match self {
            Self::Succeeds(failures) if failures < attempts => (true, failures + 1),
            Self::Permanent(failures) if failures < attempts => (false, failures + 1),
            Self::Succeeds(_) | Self::Permanent(_) => (false, attempts),
        }
    }

    fn outcome(self, attempt: u32) -> Result<(), Failure> {
        match self {
            Self::Succeeds(failures) if attempt > failures => Ok(()),
            Self::Permanent(failures) if attempt > failures => Err(Failure::permanent("bad", "bad")),
            Self::Succeeds(_) | Self::Permanent(_) => Err(busy()),
        }
    }
}

/// What happens in one run.
#[derive(Clone, Debug)]
struct Run {
    order: Order,
    on_dead_letter: OnDeadLetter,
    held_max: usize,
    events: Vec<(u64, Fate)>,
    /// For each step: commit or crash, by chance, and the jitter.
    chances: Vec<(u8, u64)>,
}

fn runs() -> impl Strategy<Value = Run> {
    let fate = prop_oneof![
        4 => Just(Fate::Succeeds(0)),
        3 => (1_u32..6).prop_map(Fate::Succeeds),
        1 => (0_u32..6).prop_map(Fate::Permanent),
    ];
    let order = prop_oneof![2 => Just(Order::Key), 1 => Just(Order::Partition), 1 => Just(Order::None)];
    let on_dead_letter = prop_oneof![Just(OnDeadLetter::Continue), Just(OnDeadLetter::Park)];
    let events = proptest::collection::vec((0_u64..4, fate), 1..60);
    let chances = proptest::collection::vec((any::<u8>(), any::<u64>()), 64);
    (order, on_dead_letter, 1_usize..12, events, chances).prop_map(
        |(order, on_dead_letter, held_max, events, chances)| Run {
            order,
            on_dead_letter,
            held_max,
            events,
            chances,
        },
    )
}

/// What is durable, and what the world outside has been told.
#[derive(Clone, Debug, Default)]
struct Durable {
    progress: Progress,
    held: BTreeMap<u64, Held>,
    succeeded: Vec<(u64, u32)>,
    dead: Vec<DeadLetter>,
}

impl Durable {
    fn apply(&mut self, changes: Changes) {
        self.progress = changes.progress;
        for (id, held) in changes.held {
            match held {
                Some(held) => self.held.insert(id, held),
                None => self.held.remove(&id),
            };
        }
        self.dead.extend(changes.dead_letters);
    }

    fn load(&self, config: ConsumerConfig) -> Machine {
        Machine::new(Arc::new(config), 0, self.progress.clone(), self.held.clone())
    }
}

/// Works through a run until there is nothing to do but to wait for ever.
fn work_through(run: &Run) -> Result<Durable, TestCaseError> {
    let config = || config().order(run.order).on_dead_letter(run.on_dead_letter).held_max(run.held_max);
    let mut durable = Durable::default();
    let mut machine = durable.load(config());
    let mut succeeded = Vec::new();
    let mut now = NOW;
    let mut chances = run.chances.iter().copied().cycle();
    for _ in 0..100_000 {
        let (what, jitter) = chances.next().unwrap();
        match what {
            // A crash: what was not committed never was.
            0..16 => {
                machine = durable.load(config());
                succeeded.clear();
            }
            16..64 => {
                if let Some(changes) = machine.take_changes() {
                    durable.apply(changes);
                    durable.succeeded.append(&mut succeeded);
                }
                prop_assert_eq!(&machine, &durable.load(config()), "the rows are all there is to a lane");
            }
            _ => {}
        }
        let next = machine.next(TOPIC).unwrap_or(0);
        let event = run.events.get(usize::try_from(next).unwrap());
        let step = machine.step(now, event.map(|(key, _)| *key), None);
        let subject = match (step, event) {
            (Step::Hold, Some((key, _))) => {
                machine.hold(&fresh(next, *key));
                continue;
            }
            (Step::DeliverFresh, Some((key, _))) => fresh(next, *key),
            (Step::DeliverHeld(id), _) => held(&machine, id),
            (Step::Rest(_, Some(due)), _) => {
                prop_assert!(due > now);
                now = due;
                continue;
            }
            (Step::Rest(why, None), _) => {
                // Only parked keys leave events behind.
                prop_assert!(event.is_none() || (why != Rest::Empty && machine.holds().parked() > 0));
                if machine.clone().take_changes().is_none() {
                    return Ok(durable);
                }
                continue;
            }
            (step, event) => return Err(TestCaseError::fail(format!("{step:?} for {event:?}"))),
        };
        prop_assert!(machine.holds().len() <= run.held_max);
        let timing = machine.timing(&subject, now);
        match run.events[usize::try_from(subject.offset).unwrap()].1.outcome(timing.attempt) {
            Ok(()) => {
                succeeded.push((subject.offset, timing.attempt));
                machine.succeeded(subject.target);
            }
            Err(failure) => machine.failed(subject, failure, now, now, jitter),
        }
        prop_assert!(machine.holds().len() <= run.held_max, "held_max bounds what is held");
    }
    Err(TestCaseError::fail("the lane never came to rest"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_event_is_done_once_in_order_whenever_the_process_ends(run in runs()) {
        let end = work_through(&run)?;
        let done: Vec<u64> = end.succeeded.iter().map(|(offset, _)| *offset).collect();
        let dead: Vec<u64> = end.dead.iter().map(|letter| letter.offset).collect();
        let waiting: BTreeSet<u64> = end
            .held
            .values()
            .filter(|held| held.wait != Wait::Operator)
            .map(|held| held.offset)
            .collect();
        let unread = end.progress.next.get(&TOPIC).copied().unwrap_or(0)..run.events.len() as u64;

        // Nothing is lost and nothing is done twice.
        let mut all: Vec<u64> = done.iter().chain(&dead).chain(&waiting).copied().chain(unread.clone()).collect();
        all.sort_unstable();
        prop_assert!(all.iter().copied().eq(0..run.events.len() as u64), "{:?}", all);
        if run.on_dead_letter == OnDeadLetter::Continue || run.order == Order::None {
            prop_assert!(waiting.is_empty() && unread.is_empty());
        }

        // Each attempt was made, and not one more.
        for (offset, attempts) in &end.succeeded {
            let fate = run.events[usize::try_from(*offset).unwrap()].1;
            prop_assert_eq!((true, *attempts), fate.model(config().retry.attempts));
        }
        for letter in &end.dead {
            let fate = run.events[usize::try_from(letter.offset).unwrap()].1;
            prop_assert_eq!((false, u32::try_from(letter.attempts.len()).unwrap()), fate.model(config().retry.attempts));
        }

        // Order.
        let key_of = |offset: u64| run.events[usize::try_from(offset).unwrap()].0;
        let by_key = |key: u64| done.iter().copied().filter(|at| key_of(*at) == key).collect::<Vec<u64>>();
        match run.order {
            Order::Key => prop_assert!((0..4).all(|key| by_key(key).is_sorted())),
            Order::Partition => prop_assert!(done.is_sorted()),
            Order::None => {}
        }
        if run.on_dead_letter == OnDeadLetter::Park && run.order == Order::Key {
            for letter in &end.dead {
                let done = by_key(key_of(letter.offset));
                prop_assert!(done.iter().all(|at| *at < letter.offset), "the key is parked");
            }
        }
        prop_assert_eq!(end.progress.counts.handled, done.len() as u64);
        prop_assert_eq!(end.progress.counts.dead_letters, dead.len() as u64);
    }
}
