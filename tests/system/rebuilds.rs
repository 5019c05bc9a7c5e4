//! Rebuilds of projections: where they begin, what comes between, and how those end that can't come to their end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tidegate::config::{ConsumerConfig, OnDeadLetter, Order, RetryPolicy, Start, TopicConfig};
use tidegate::upcast::Lifted;
use tidegate::{Blocking, Clock, ConsumerError, LaneState, ModelStatus, Rebuild, RebuildOutcome, handler_fn};
use tidegate_guests::Counted;

use crate::house::{House, PluginFile, at_once, consumer, event, letters, topic};
use crate::projections::{ask, caught_up, count, in_a_minute, plugin, publish, rebuilt, stuck, typed};

/// How far the rebuild of the model is.
fn rebuild(bus: &Blocking) -> Option<ModelStatus> {
    bus.bus().projections().unwrap()[0].rebuild.clone()
}

/// Begins to make the model anew, and returns how that has ended.
fn rebuild_with(bus: &Blocking, how: Rebuild) -> RebuildOutcome {
    bus.rebuild("model", how).unwrap();
    rebuilt(bus)
}

/// Lets the clock run, a second at each look, until the rebuild has ended whose event waits for a retry.
fn ends(house: &House, bus: &Blocking) -> RebuildOutcome {
    house.until(|| {
        house.clock.advance(Duration::from_secs(1));
        rebuild(bus).is_none()
    });
    rebuilt(bus)
}

#[test]
fn a_rebuild_begins_where_its_projection_did_and_one_that_began_at_the_end_with_the_first_event() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(1)).unwrap();
    for n in 0..3 {
        publish(&bus, n);
    }
    house.clock.advance(Duration::from_hours(1));
    for start in [Start::Time(house.clock.now()), Start::Latest] {
        let file = PluginFile::of("model");
        let before = bus.bus().topics()[0].partitions[0].next_offset;
        bus.subscribe_plugin("model", at_once().start(start), plugin(&file)).unwrap();
        for n in 0..2 {
            bus.publish("in", event(&format!("{before}/{n}"), "k")).unwrap();
        }
        caught_up(&bus);
        assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 2, layout: 1 });
        file.becomes("model_v2");
        assert_eq!(rebuild_with(&bus, Rebuild::new()), RebuildOutcome::Switched { generation: 1 });
        let all = if start == Start::Latest { before } else { 0 } + 2;
        assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: all, layout: 2 });
        bus.unsubscribe("model").unwrap();
        bus.forget("model").unwrap();
    }
}

#[test]
fn the_old_model_goes_on_where_the_new_one_can_not_take_over_in_time() {
    let house = House::new();
    let bus = house.open();
    let file = PluginFile::of("model");
    for name in ["in", "elsewhere"] {
        topic(&bus, name);
    }
    // Within the time of a switch no retry comes.
    let day = Duration::from_hours(24);
    let config = ConsumerConfig::new(["in"]).retry(RetryPolicy::default().backoff(day, day));
    bus.subscribe_plugin("model", config, plugin(&file)).unwrap();
    bus.subscribe("other", ConsumerConfig::new(["elsewhere"]), handler_fn(|_, _| Ok(()))).unwrap();
    publish(&bus, 0);
    caught_up(&bus);
    file.becomes("model_v2");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let waits = |mut work: Pin<&mut dyn Future<Output = Result<(), ConsumerError>>>| {
        let look = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending()));
        runtime.block_on(look)
    };
    let mut begun = pin!(bus.bus().rebuild("model", Rebuild::new()));
    let mut next = pin!(bus.bus().unsubscribe("other"));
    assert!(waits(begun.as_mut()), "it has its turn to change consumers");
    assert!(waits(next.as_mut()), "it comes next, and nobody behind it before it has ended");
    runtime.block_on(begun).unwrap();
    house.settles(|| rebuild(&bus).unwrap().lag_events == 0);
    // Who sees to the rebuild has found that by then, and waits for its turn.
    for n in 0..100 {
        bus.publish("elsewhere", event(&n.to_string(), "k")).unwrap();
        crate::house::caught_up(&bus, "other");
    }
    bus.publish("in", typed("busy", "Busy.v1")).unwrap();
    caught_up(&bus);
    house.settles(|| rebuild(&bus).unwrap().held == 1);
    runtime.block_on(next).unwrap();
    let is_paused = || consumer(&bus, "model").lanes[0].state == LaneState::Paused;
    house.settles(is_paused);
    house.until(|| !is_paused());
    publish(&bus, 1);
    caught_up(&bus);
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 3, layout: 1 });
    assert_eq!(rebuild(&bus).unwrap().held, 1, "it is tried again");
}

#[test]
fn a_rebuild_does_not_go_on_after_a_restart_with_other_topics() {
    let house = House::new();
    let file = PluginFile::of("model");
    let bus = house.cut_power(stuck(&house, &file));
    bus.create_topic("more", TopicConfig::new(2)).unwrap();
    let config = ConsumerConfig::new(["in", "more"]).retry(in_a_minute().retry);
    bus.subscribe_plugin("model", config, plugin(&file)).unwrap();
    let outcome = rebuilt(&bus);
    let RebuildOutcome::Cancelled { reason } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("its configuration or its component is another"), "{reason}");
    assert!(rebuild(&bus).is_none());
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 101, layout: 1 });
}

#[test]
fn a_rebuild_that_the_storage_does_not_call_off_goes_on_and_can_be_called_off_later() {
    for is_called_off in [false, true] {
        let house = House::new();
        let bus = stuck(&house, &PluginFile::of("model"));
        house.disk.fail_syncs(true);
        bus.publish("in", event("in doubt", "k")).unwrap_err();
        bus.cancel_rebuild("model").unwrap_err();
        house.disk.fail_syncs(false);
        house.settles(|| bus.publish("in", event("in doubt", "k")).is_ok());
        assert!(rebuild(&bus).is_some());
        if is_called_off {
            bus.cancel_rebuild("model").unwrap();
            assert!(matches!(rebuilt(&bus), RebuildOutcome::Cancelled { .. }));
            assert!(rebuild(&bus).is_none());
        } else {
            assert_eq!(ends(&house, &bus), RebuildOutcome::Switched { generation: 1 });
        }
        house.meanwhile(|| caught_up(&bus));
        let layout = if is_called_off { 1 } else { 2 };
        assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 102, layout });
    }
}

#[test]
fn a_rebuild_that_stands_still_behind_a_dead_letter_ends() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let config = at_once().on_dead_letter(OnDeadLetter::Park).order(Order::Partition);
    let file = PluginFile::of("model");
    bus.subscribe_plugin("model", config, plugin(&file)).unwrap();
    bus.publish("in", typed("fails", "Fail.v1")).unwrap();
    publish(&bus, 0);
    house.settles(|| letters(&bus, "model").len() == 1);
    bus.discard("model", vec![letters(&bus, "model")[0].id]).unwrap();
    caught_up(&bus);
    file.becomes("model_v2");
    for (how, words) in [
        (Rebuild::new(), "has 1 dead letters, and the one that answers 0"),
        (Rebuild::new().allow_dead_letters(), "stands still behind a dead letter"),
    ] {
        let outcome = rebuild_with(&bus, how);
        let RebuildOutcome::Refused { reason } = &outcome else { panic!("{outcome:?}") };
        assert!(reason.contains(words), "{reason}");
        assert!(rebuild(&bus).is_none());
    }
    assert_eq!(count(&ask(&bus, "count").unwrap()), Counted { count: 1, layout: 1 });
}

#[test]
fn a_rebuild_that_is_under_way_lifts_by_an_upcaster_that_comes_meanwhile() {
    let house = House::new();
    let bus = stuck(&house, &PluginFile::of("model"));
    bus.add_upcaster("up", "Test.v1", "Test.v2", |_| Lifted::json(&())).unwrap();
    publish(&bus, 100);
    caught_up(&bus);
    house.settles(|| rebuild(&bus).unwrap().lag_events == 0);
    assert_eq!(ends(&house, &bus), RebuildOutcome::Switched { generation: 1 });
    let answer = bus.query("model", tidegate::Query::new("types")).unwrap();
    let mut types = answer.data_as::<Vec<String>>().unwrap();
    types.sort();
    types.dedup();
    assert_eq!(types, ["type/Busy.v1", "type/Test.v1", "type/Test.v2"]);
}
