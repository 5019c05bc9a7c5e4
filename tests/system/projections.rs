//! Projections: what they answer, which position that reflects, and how they are made anew.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tidegate::config::{
    ConsumerConfig, Grants, PluginConfig, PluginLimits, Retention, RetryPolicy, TopicConfig,
};
use tidegate::upcast::Lifted;
use tidegate::{
    Blocking, Clock, ConsumerError, Data, Event, EventPlace, FailureKind, LoadError, Published, Query,
    QueryAnswer, QueryError, Rebuild, RebuildOutcome, handler_fn,
};
use tidegate_guests::Counted;

use crate::house::{House, PluginFile, SHUTDOWN, at_once, consumer, event, guest_file, handled, letters};

/// A plugin of this file, with what a projection is granted.
pub fn plugin(file: &PluginFile) -> PluginConfig {
    granted(PluginConfig::new(file.path()))
}

fn granted(plugin: PluginConfig) -> PluginConfig {
    plugin.grants(Grants::nothing().state())
}

/// A bus with a topic of some partitions, and a projection of it.
pub fn model(house: &House, partitions: u32, file: &PluginFile) -> Blocking {
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(partitions)).unwrap();
    bus.subscribe_plugin("model", at_once(), plugin(file)).unwrap();
    bus
}

/// An event of this type.
pub fn typed(id: &str, kind: &str) -> Event {
    Event::new(id, "/tests", kind).extension("partitionkey", "k").build().unwrap()
}

pub fn publish(bus: &Blocking, n: usize) -> Published {
    bus.publish("in", event(&format!("{n:06}"), &format!("key-{}", n % 7))).unwrap()
}

pub fn count(answer: &QueryAnswer) -> Counted {
    answer.data_as().unwrap()
}

/// How many events the answer says that it reflects.
fn position(answer: &QueryAnswer) -> u64 {
    answer.positions.iter().map(|position| position.next["in"]).sum()
}

fn next(answer: &QueryAnswer) -> BTreeMap<u32, u64> {
    answer.positions.iter().map(|position| (position.partition, position.next["in"])).collect()
}

pub fn ask(bus: &Blocking, question: &str) -> Result<QueryAnswer, QueryError> {
    bus.query("model", Query::new(question))
}

/// A flag that others go on by: down with this, so that none goes on for ever where a test fails.
struct Lowered<'a>(&'a AtomicBool);

impl Drop for Lowered<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

pub fn caught_up(bus: &Blocking) {
    crate::house::caught_up(bus, "model");
}

/// How the last rebuild of the model has ended.
///
/// # Panics
///
/// It doesn't end within a minute of real time.
#[track_caller]
pub fn rebuilt(bus: &Blocking) -> RebuildOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let rebuilt = async { tokio::time::timeout(Duration::from_mins(1), bus.bus().rebuilt("model")).await };
    runtime.block_on(rebuilt).expect("the rebuild doesn't end within a minute").unwrap()
}

#[test]
fn an_answer_reflects_exactly_the_position_that_it_says() {
    const EVENTS: usize = 3000;
    let house = House::new();
    let bus = model(&house, 4, &PluginFile::of("model"));
    let goes_on = AtomicBool::new(true);
    let (is_asking, asking) = mpsc::sync_channel(2);
    thread::scope(|scope| {
        let (bus, goes_on) = (&bus, &goes_on);
        for key in [None, Some("key-3")] {
            let mut is_asking = Some(is_asking.clone());
            scope.spawn(move || {
                let (mut before, mut is_last) = (0, false);
                while !is_last {
                    is_last = !goes_on.load(Ordering::SeqCst);
                    let query = Query::new("count");
                    let query = key.into_iter().fold(query, Query::key);
                    let answer = bus.query("model", query).unwrap();
                    assert_eq!(count(&answer).count, position(&answer), "{answer:?}");
                    assert_eq!(answer.positions.len(), if key.is_some() { 1 } else { 4 });
                    assert!(before <= position(&answer), "it never goes back");
                    before = position(&answer);
                    is_asking.take().into_iter().for_each(|is_asking| is_asking.send(()).unwrap());
                }
            });
        }
        drop(is_asking);
        scope.spawn(move || {
            let _end = Lowered(goes_on);
            // Each has its first answer before the first event, and its last one behind the last event.
            for _ in 0..2 {
                asking.recv().unwrap();
            }
            for n in 0..EVENTS {
                publish(bus, n);
            }
        });
    });
    caught_up(&bus);
    let answer = ask(&bus, "count").unwrap();
    assert_eq!((count(&answer).count, position(&answer)), (EVENTS as u64, EVENTS as u64));
}

#[test]
fn who_has_published_reads_it_from_the_model() {
    let house = House::new();
    let bus = model(&house, 4, &PluginFile::of("model"));
    thread::scope(|scope| {
        for writer in 0..4 {
            let bus = &bus;
            scope.spawn(move || {
                let key = format!("writer-{writer}");
                for n in 1..=50_u64 {
                    let published = bus.publish("in", event(&format!("{key}/{n}"), &key)).unwrap();
                    let query =
                        Query::new("count-of").json(&key).unwrap().key(&key).at_least("in", &published);
                    let answer = bus.query("model", query).unwrap();
                    assert_eq!(answer.data_as::<u64>().unwrap(), n);
                    assert!(answer.positions[0].next["in"] > published.offset);
                }
            });
        }
    });
}

/// Asks while the clock runs until the question has its answer.
pub fn wait_for(house: &House, bus: &Blocking, query: Query) -> Result<QueryAnswer, QueryError> {
    thread::scope(|scope| {
        let asking = scope.spawn(|| bus.query("model", query));
        house.until(|| asking.is_finished());
        asking.join().unwrap()
    })
}

#[test]
fn a_wait_that_is_over_says_where_the_model_is() {
    let house = House::new();
    let bus = model(&house, 1, &PluginFile::of("model"));
    publish(&bus, 0);
    caught_up(&bus);
    bus.pause("model").unwrap();
    house.settles(|| consumer(&bus, "model").lanes[0].state == tidegate::LaneState::Paused);
    let published = publish(&bus, 1);
    let query = Query::new("count").at_least("in", &published).wait(Duration::from_millis(20));
    let error = wait_for(&house, &bus, query.clone()).unwrap_err();
    let message = error.to_string();
    let QueryError::Behind { place, next, is_held, waited, .. } = error else { panic!("{error:?}") };
    assert_eq!((place.offset, next, is_held), (1, 1, false));
    assert!(waited >= Duration::from_millis(20), "{waited:?}");
    assert!(message.contains("doesn't reflect in/0/1 after") && message.contains("it is at 1"), "{message}");
    bus.resume("model").unwrap();
    assert_eq!(count(&bus.query("model", query).unwrap()).count, 2);
}

#[test]
fn an_event_that_waits_for_its_retry_is_not_said_to_be_reflected() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(1)).unwrap();
    bus.subscribe_plugin("model", in_a_minute(), plugin(&PluginFile::of("model_v2"))).unwrap();
    let busy = bus.publish("in", typed("busy", "Busy.v1")).unwrap();
    let other = bus.publish("in", event("other", "other")).unwrap();
    let after = bus.query("model", Query::new("count").at_least("in", &other)).unwrap();
    assert_eq!((count(&after).count, position(&after), after.positions[0].held), (1, 2, 1));
    let query = Query::new("count").at_least("in", &busy).wait(Duration::from_millis(5));
    let error = wait_for(&house, &bus, query.clone()).unwrap_err();
    assert!(matches!(error, QueryError::Behind { next: 2, is_held: true, .. }), "{error:?}");
    let answer = wait_for(&house, &bus, query.wait(Duration::from_mins(10))).unwrap();
    assert_eq!((count(&answer).count, answer.positions[0].held), (2, 0));
}

#[test]
fn an_event_that_was_given_up_on_is_never_said_to_be_reflected() {
    let house = House::new();
    let bus = model(&house, 1, &PluginFile::of("model"));
    let lost = bus.publish("in", typed("lost", "Fail.v1")).unwrap();
    let error = bus.query("model", Query::new("count").at_least("in", &lost)).unwrap_err();
    let message = error.to_string();
    let QueryError::GivenUp { letter: Some(letter), .. } = error else { panic!("{error:?}") };
    assert_eq!(letter, letters(&bus, "model")[0].id);
    assert!(message.contains(&format!("tidegate dlq show model {letter}")), "{message}");
    let published = publish(&bus, 1);
    let answer = bus.query("model", Query::new("count").at_least("in", &published)).unwrap();
    assert_eq!((count(&answer).count, position(&answer), answer.positions[0].dead_letters), (1, 2, 1));
}

#[test]
fn a_rebuild_switches_from_the_old_model_to_the_new_one_at_once_and_never_goes_back() {
    const BEFORE: usize = 4000;
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = model(&house, 4, &file);
    for n in 0..BEFORE {
        publish(&bus, n);
    }
    caught_up(&bus);
    file.becomes("model_v2");
    let refused = bus.reload("model").unwrap_err();
    assert!(matches!(refused, ConsumerError::StateVersion { is_projection: true, .. }), "{refused:?}");
    assert!(refused.to_string().contains("`tidegate projections rebuild model`"), "{refused}");

    let goes_on = AtomicBool::new(true);
    let (is_asking, asking) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let (bus, goes_on) = (&bus, &goes_on);
        let end = Lowered(goes_on);
        scope.spawn(move || {
            let mut n = BEFORE;
            while goes_on.load(Ordering::SeqCst) {
                let published = publish(bus, n);
                let answer = bus.query("model", Query::new("count").at_least("in", &published)).unwrap();
                assert!(next(&answer)[&published.partition] > published.offset, "{answer:?}");
                n += 1;
            }
        });
        let watch = scope.spawn(move || {
            let mut before = ask(bus, "count").unwrap();
            is_asking.send(()).unwrap();
            let mut is_last = false;
            while !is_last {
                is_last = !goes_on.load(Ordering::SeqCst);
                let answer = ask(bus, "count").unwrap();
                let Counted { count, layout } = count(&answer);
                assert_eq!(count, position(&answer), "it is one model's, whole: {answer:?}");
                assert_eq!(u64::from(layout), answer.generation + 1, "{answer:?}");
                assert!(answer.generation >= before.generation, "no way back: {before:?} {answer:?}");
                let (was, is) = (next(&before), next(&answer));
                assert!(was.iter().all(|(partition, next)| is[partition] >= *next), "{before:?} {answer:?}");
                before = answer;
            }
            before
        });
        // It has an answer from before, and one from after.
        asking.recv().unwrap();
        bus.rebuild("model", Rebuild::new()).unwrap();
        assert_eq!(rebuilt(bus), RebuildOutcome::Switched { generation: 1 });
        assert_eq!(count(&ask(bus, "count").unwrap()).layout, 2, "from then on the new one answers");
        drop(end);
        assert_eq!(watch.join().unwrap().generation, 1);
    });
    let projection = bus.bus().projections().unwrap().remove(0);
    assert_eq!((projection.generation, projection.model.state_version), (1, 2));
    assert!(projection.rebuild.is_none());
    assert_eq!(bus.bus().consumers().unwrap().len(), 1);

    // The version that was rebuilt with is the accepted one.
    bus.shutdown(SHUTDOWN);
    let bus = house.open();
    file.becomes("model");
    bus.subscribe_plugin("model", at_once(), plugin(&file)).unwrap();
    caught_up(&bus);
    let answer = ask(&bus, "count").unwrap();
    assert_eq!((count(&answer).count, count(&answer).layout), (position(&answer), 2));
}

#[test]
fn a_model_is_made_of_lifted_events_the_first_time_and_anew() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = model(&house, 1, &file);
    bus.add_upcaster("up", "Test.v1", "Test.v2", |_| Lifted::json(&())).unwrap();
    for (id, kind) in [("a", "Test.v1"), ("b", "Test.v2")] {
        bus.publish("in", typed(id, kind)).unwrap();
    }
    caught_up(&bus);
    let types = || ask(&bus, "types").unwrap().data_as::<Vec<String>>().unwrap();
    assert_eq!(types(), ["type/Test.v2"]);
    file.becomes("model_v2");
    bus.rebuild("model", Rebuild::new()).unwrap();
    assert_eq!(rebuilt(&bus), RebuildOutcome::Switched { generation: 1 });
    assert_eq!((types(), count(&ask(&bus, "count").unwrap()).count), (vec!["type/Test.v2".to_owned()], 2));
    bus.publish("in", typed("c", "Test.v1")).unwrap();
    caught_up(&bus);
    assert_eq!(types(), ["type/Test.v2"], "the generation that has taken over lifts as before");
}

/// A rebuild that can't end while the clock stands still: an event waits for its retry.
pub fn stuck(house: &House, file: &PluginFile) -> Blocking {
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(2)).unwrap();
    bus.subscribe_plugin("model", in_a_minute(), plugin(file)).unwrap();
    for n in 0..100 {
        publish(&bus, n);
    }
    bus.publish("in", typed("busy", "Busy.v1")).unwrap();
    caught_up(&bus);
    file.becomes("model_v2");
    bus.rebuild("model", Rebuild::new()).unwrap();
    let rebuild = || bus.bus().projections().unwrap()[0].rebuild.clone().unwrap();
    house.settles(|| rebuild().lag_events == 0 && rebuild().held == 1);
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 101, layout: 1 });
    bus
}

pub fn in_a_minute() -> ConsumerConfig {
    let minute = Duration::from_mins(1);
    ConsumerConfig::new(["in"]).retry(RetryPolicy::default().backoff(minute, minute))
}

#[test]
fn a_rebuild_goes_on_after_a_crash_and_the_old_model_answers_until_it_is_done() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = stuck(&house, &file);
    let bus = house.cut_power(bus);
    bus.subscribe_plugin("model", in_a_minute(), plugin(&file)).unwrap();
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 101, layout: 1 });
    assert!(bus.bus().projections().unwrap()[0].rebuild.is_some());
    house.until(|| bus.bus().projections().unwrap()[0].last_rebuild.is_some());
    assert_eq!(rebuilt(&bus), RebuildOutcome::Switched { generation: 1 });
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 101, layout: 2 });
}

#[test]
fn a_rebuild_that_is_called_off_leaves_the_old_model_and_nothing_of_the_new_one() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = stuck(&house, &file);
    assert!(matches!(
        bus.rebuild("model", Rebuild::new()),
        Err(ConsumerError::Admin(tidegate::AdminError::Rebuilding(name))) if name == "model"
    ));
    bus.cancel_rebuild("model").unwrap();
    assert!(matches!(rebuilt(&bus), RebuildOutcome::Cancelled { .. }));
    assert!(bus.bus().projections().unwrap()[0].rebuild.is_none());
    assert!(matches!(bus.cancel_rebuild("model"), Err(ConsumerError::NotRebuilding(_))));
    publish(&bus, 100);
    caught_up(&bus);
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 102, layout: 1 });
    // Another one begins from nothing.
    file.becomes("model");
    bus.rebuild("model", Rebuild::new()).unwrap();
    assert_eq!(rebuilt(&bus), RebuildOutcome::Switched { generation: 1 });
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 102, layout: 1 });
    bus.unsubscribe("model").unwrap();
    bus.forget("model").unwrap();
    assert!(bus.bus().consumers().unwrap().is_empty());
}

#[test]
fn a_rebuild_that_is_cut_off_wherever_it_waits_can_be_begun_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut was_cut_off = 0;
    for polls in 1.. {
        let house = House::new();
        let file = PluginFile::of("model");
        let bus = model(&house, 1, &file);
        publish(&bus, 0);
        caught_up(&bus);
        let is_begun = runtime.block_on(async {
            let mut rebuild = pin!(bus.bus().rebuild("model", Rebuild::new()));
            let mut left = polls;
            poll_fn(|context| {
                left -= 1;
                match rebuild.as_mut().poll(context) {
                    Poll::Pending if left > 0 => Poll::Pending,
                    outcome => Poll::Ready(outcome.is_ready()),
                }
            })
            .await
        });
        if is_begun {
            break;
        }
        was_cut_off += 1;
        bus.rebuild("model", Rebuild::new()).unwrap();
        assert_eq!(rebuilt(&bus), RebuildOutcome::Switched { generation: 1 });
        bus.shutdown(SHUTDOWN);
    }
    assert!(was_cut_off > 0, "it never waits");
}

#[test]
fn a_rebuild_ends_where_no_plugin_runs_its_consumer_any_more() {
    let house = House::new();
    let bus = house.cut_power(stuck(&house, &PluginFile::of("model")));
    bus.subscribe("model", at_once(), handler_fn(|_, _| Ok(()))).unwrap();
    assert!(matches!(bus.cancel_rebuild("model"), Err(ConsumerError::NotRebuilding(_))));
}

#[test]
fn another_configuration_calls_a_rebuild_off() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = stuck(&house, &file);
    file.becomes("model");
    bus.reconfigure_plugin("model", at_once(), plugin(&file)).unwrap();
    let outcome = rebuilt(&bus);
    assert!(
        matches!(&outcome, RebuildOutcome::Cancelled { reason } if reason.contains("another configuration")),
        "{outcome:?}"
    );
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 101, layout: 1 });
}

#[test]
fn a_model_with_more_dead_letters_than_before_does_not_take_over() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = model(&house, 1, &file);
    bus.publish("in", typed("bad", "Bad.v1")).unwrap();
    bus.publish("in", typed("fails", "Fail.v1")).unwrap();
    caught_up(&bus);
    file.becomes("model_v2");
    bus.rebuild("model", Rebuild::new()).unwrap();
    let outcome = rebuilt(&bus);
    let RebuildOutcome::Refused { reason } = &outcome else { panic!("{outcome:?}") };
    for words in
        ["has 2 dead letters", "answers 1", "offset 0 of partition 0", "this layout has no place for it"]
    {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    let answer = ask(&bus, "count").unwrap();
    assert_eq!((count(&answer).layout, answer.generation), (1, 0));
    bus.rebuild("model", Rebuild::new().allow_dead_letters()).unwrap();
    assert_eq!(rebuilt(&bus), RebuildOutcome::Switched { generation: 1 });
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 0, layout: 2 });
    assert_eq!(letters(&bus, "model").len(), 2);
}

#[test]
fn a_model_is_not_made_of_what_retention_has_left_unless_that_is_asked_for() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = house.open();
    let retention = Retention::keep_for(Duration::from_hours(1));
    bus.create_topic("in", TopicConfig::new(1).retention(retention)).unwrap();
    bus.subscribe_plugin("model", at_once(), plugin(&file)).unwrap();
    publish(&bus, 0);
    caught_up(&bus);
    house.clock.advance(Duration::from_hours(2));
    publish(&bus, 1);
    caught_up(&bus);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    house.settles(|| {
        runtime.block_on(bus.bus().trim()).unwrap();
        bus.bus().topics()[0].partitions[0].first_offset == 1
    });
    let refused = bus.rebuild("model", Rebuild::new()).unwrap_err().to_string();
    for words in ["before offset 1 of partition 0", "`model`", "--partial"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert!(bus.bus().projections().unwrap()[0].rebuild.is_none());
    bus.rebuild("model", Rebuild::new().partial()).unwrap();
    assert_eq!(rebuilt(&bus), RebuildOutcome::Switched { generation: 1 });
    let answer = ask(&bus, "count").unwrap();
    assert_eq!((count(&answer).count, position(&answer)), (1, 2));
    // With a dead letter, whose event may be gone, that would lose it.
    bus.publish("in", typed("fails", "Fail.v1")).unwrap();
    caught_up(&bus);
    let refused = bus.rebuild("model", Rebuild::new().partial()).unwrap_err();
    assert!(matches!(refused, ConsumerError::OpenEnds { dead_letters: 1, .. }), "{refused:?}");
}

#[test]
fn a_paused_projection_answers_and_stays_paused_over_a_rebuild() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = model(&house, 1, &file);
    publish(&bus, 0);
    caught_up(&bus);
    bus.pause("model").unwrap();
    bus.rebuild("model", Rebuild::new()).unwrap();
    assert_eq!(rebuilt(&bus), RebuildOutcome::Switched { generation: 1 });
    let handled_before = handled(&bus, "model");
    publish(&bus, 1);
    assert!(consumer(&bus, "model").paused);
    house.settles(|| consumer(&bus, "model").lanes[0].state == tidegate::LaneState::Paused);
    assert_eq!((handled_before, count(&ask(&bus, "count").unwrap()).count), (1, 1));
    bus.resume("model").unwrap();
    caught_up(&bus);
    assert_eq!(count(&ask(&bus, "count").unwrap()).count, 2);
}

#[test]
fn a_question_that_spins_or_traps_costs_its_answer_and_nothing_else() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(1)).unwrap();
    let mut limits = PluginLimits::default();
    limits.deadline = Duration::from_secs(1);
    bus.subscribe_plugin("model", at_once(), plugin(&PluginFile::of("model")).limits(limits)).unwrap();
    let spinning = AtomicBool::new(true);
    thread::scope(|scope| {
        let _end = Lowered(&spinning);
        for _ in 0..4 {
            scope.spawn(|| {
                while spinning.load(Ordering::SeqCst) {
                    let error = ask(&bus, "spin").unwrap_err();
                    let QueryError::Failed { failure, .. } = &error else { panic!("{error:?}") };
                    assert_eq!(failure.kind, FailureKind::Timeout);
                }
            });
        }
        for n in 0..200 {
            publish(&bus, n);
        }
        caught_up(&bus);
    });
    let error = ask(&bus, "trap").unwrap_err();
    let QueryError::Failed { failure, question, .. } = &error else { panic!("{error:?}") };
    assert_eq!((failure.kind, question.as_str()), (FailureKind::Trap, "trap"));
    assert!(failure.backtrace.is_some());
    let status = consumer(&bus, "model");
    assert_eq!((status.counts.handled, status.counts.retries, status.dead_letters), (200, 0, 0));
    assert_eq!(count(&ask(&bus, "count").unwrap()).count, 200);
}

#[test]
fn a_question_changes_nothing() {
    let house = House::new();
    let bus = model(&house, 1, &PluginFile::of("model"));
    publish(&bus, 0);
    caught_up(&bus);
    let answer = bus.query("model", Query::new("write").key("key-0")).unwrap();
    let Some(Data::Text(said)) = answer.data else { panic!("{answer:?}") };
    assert_eq!(said.matches("NotGranted").count(), 2, "{said}");
    assert_eq!(bus.bus().state("model", 0).unwrap().get(b"written").unwrap(), None);
    assert_eq!(count(&ask(&bus, "count").unwrap()).count, 1);
}

#[test]
fn a_question_is_answered_at_its_own_time_with_data_of_any_kind_within_bounds() {
    let house = House::new();
    let bus = model(&house, 1, &PluginFile::of("model"));
    house.clock.advance(Duration::from_hours(7));
    let now = |key| bus.query("model", Query::new("now").key(key)).unwrap().data_as::<i64>().unwrap();
    assert_eq!(now("k"), house.clock.now().0);
    assert_eq!(ask(&bus, "nothing").unwrap().data, None);
    let large = |bytes: usize| bus.query("model", Query::new("large").json(&bytes).unwrap().key("k"));
    let Ok(QueryAnswer { data: Some(Data::Text(text)), .. }) = large(4 << 20) else {
        panic!("4 MiB are allowed")
    };
    assert_eq!(text.len(), 4 << 20);
    let error = large((4 << 20) + 1).unwrap_err();
    assert!(error.to_string().contains("at most 4194304 bytes"), "{error}");
    let house = House::new();
    let bus = model(&house, 5, &PluginFile::of("model"));
    let all = |bytes: usize| bus.query("model", Query::new("large").json(&bytes).unwrap());
    let error = all(4 << 20).unwrap_err();
    assert!(error.to_string().contains("the answers of all lanes have at most 16777216 bytes"), "{error}");
    let error = all(3 << 20).unwrap_err();
    assert!(matches!(&error, QueryError::Refused { code, .. } if code == "not-combinable"), "{error:?}");
    let error = bus.query("model", Query::new("x".repeat(257))).unwrap_err();
    assert!(matches!(error, QueryError::Size { max: 256, .. }), "{error:?}");
    let error = bus.query("model", Query::new("large").parameters(Data::Json("{".into()))).unwrap_err();
    assert!(matches!(error, QueryError::Parameters(_)), "{error:?}");
}

#[test]
fn a_question_without_a_key_is_answered_by_all_lanes_and_one_with_a_key_by_one() {
    let house = House::new();
    let bus = model(&house, 4, &PluginFile::of("model"));
    for n in 0..70 {
        publish(&bus, n);
    }
    caught_up(&bus);
    let mut keys: Vec<String> = ask(&bus, "keys").unwrap().data_as().unwrap();
    keys.sort();
    assert_eq!(keys, (0..7).map(|n| format!("key/key-{n}")).collect::<Vec<_>>());
    let one = bus.query("model", Query::new("count-of").json("key-3").unwrap().key("key-3")).unwrap();
    assert_eq!((one.data_as::<u64>().unwrap(), one.positions.len()), (10, 1));
    let refused = bus.query("model", Query::new("count-of").json("key-3").unwrap()).unwrap_err();
    assert!(matches!(&refused, QueryError::Refused { code, .. } if code == "not-combinable"), "{refused:?}");
}

#[test]
fn who_asks_what_nobody_answers_is_told_why() {
    let house = House::new();
    let bus = model(&house, 1, &PluginFile::of("model"));
    bus.subscribe_plugin("plain", at_once(), granted(PluginConfig::new(guest_file("tally")))).unwrap();
    let error = bus.query("nobody", Query::new("count")).unwrap_err();
    assert!(matches!(error, QueryError::UnknownProjection(_)), "{error:?}");
    let error = bus.query("plain", Query::new("count")).unwrap_err();
    assert!(matches!(error, QueryError::NotProjection(_)), "{error:?}");
    assert!(error.to_string().contains("doesn't export `queries`"), "{error}");
    assert!(matches!(bus.rebuild("plain", Rebuild::new()), Err(ConsumerError::NotProjection(_))));
    let error = ask(&bus, "what").unwrap_err();
    assert!(matches!(&error, QueryError::Refused { code, .. } if code == "unknown-question"), "{error:?}");
    for (topic, partition) in [("elsewhere", 0), ("in", 1)] {
        let place = EventPlace { topic: topic.into(), partition, offset: 0 };
        let error = bus.query("model", Query::new("count").at_least_place(place)).unwrap_err();
        assert!(matches!(error, QueryError::NotRead { .. }), "{error:?}");
    }
    bus.unsubscribe("model").unwrap();
    assert!(matches!(ask(&bus, "count"), Err(QueryError::NotRunning(_))));
}

#[test]
fn a_projection_may_not_publish() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(1)).unwrap();
    let plugin = PluginConfig::new(guest_file("model")).grants(Grants::nothing().state().publish("in"));
    let refused = bus.subscribe_plugin("model", at_once(), plugin).unwrap_err();
    let ConsumerError::Load { source, .. } = &refused else { panic!("{refused:?}") };
    assert!(matches!(**source, LoadError::ProjectionPublishes { .. }), "{refused:?}");
    assert!(refused.to_string().contains("remove `publish`"), "{refused}");
}
