//! Timers: what a consumer has the bus deliver to it at a later moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, TopicConfig};
use tidegate::{Attribute, Blocking, Clock, Event, Failure, FailureKind, TIMER_TYPE, TimerError, handler_fn};

use crate::cli_process::Directory;
use crate::house::{House, SHUTDOWN, all, at_once, caught_up, consumer, handled, letters, publish, topic};

const HOUR: Duration = Duration::from_hours(1);

/// The component of `plugins/order-reminder`.
fn reminder() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins/order_reminder.wasm");
    assert!(path.exists(), "{} is not there: `cargo xtask plugins` builds it", path.display());
    path
}

fn order(event_type: &str, order: &str) -> Event {
    let data = json!({ "customer": "c4", "total_cents": 995 });
    let id = format!("{order}/{event_type}");
    Event::new(id, "/shop", event_type)
        .subject(order)
        .extension("correlationid", "cart-9")
        .json(&data)
        .build()
        .unwrap()
}

fn start(bus: &Blocking) {
    let plugin = PluginConfig::new(reminder()).grants(Grants::nothing().publish("reminders").state());
    bus.subscribe_plugin(
        "reminder",
        ConsumerConfig::new(["orders"]),
        plugin.settings(r#"{"wait_seconds": 3600}"#),
    )
    .unwrap();
}

/// How many reminders each order has had.
fn reminders(bus: &Blocking) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for record in all(bus, "reminders") {
        *found.entry(record.event.key().to_owned()).or_default() += 1;
    }
    found
}

#[test]
fn a_plugins_timers_come_once_in_spite_of_power_cuts() {
    const ORDERS: usize = 60;
    let house = House::new();
    let mut bus = house.open();
    for name in ["orders", "reminders"] {
        bus.create_topic(name, TopicConfig::new(2)).unwrap();
    }
    start(&bus);
    let mut unpaid = Vec::new();
    for at in 0..ORDERS {
        let number = at.to_string();
        bus.publish("orders", order("OrderPlaced.v1", &number)).unwrap();
        house.clock.advance(HOUR / 30);
        if at % 3 == 0 {
            bus.publish("orders", order("OrderPaid.v1", &number)).unwrap();
        } else {
            unpaid.push(number);
        }
        if at % 10 == 9 {
            bus = house.cut_power(bus);
            start(&bus);
        }
    }
    // What the last cut has cut off waits for its retry, so the clock runs meanwhile, and its hour begins then.
    house.until(|| {
        let reminder = consumer(&bus, "reminder");
        reminder.lag_events == 0 && reminder.held == 0
    });
    house.clock.advance(HOUR);
    let wanted = unpaid.len();
    house.until(|| reminders(&bus).len() >= wanted);
    house.until(|| consumer(&bus, "reminder").lanes.iter().all(|lane| lane.timers == 0));
    let expected: BTreeMap<_, _> = unpaid.into_iter().map(|order| (order, 1)).collect();
    assert_eq!(reminders(&bus), expected);
    assert!(letters(&bus, "reminder").is_empty());
    // What caused it goes on through the timer.
    let reminder = &all(&bus, "reminders")[0].event;
    let text = |name| reminder.extension(name).and_then(Attribute::as_text).map(str::to_owned);
    assert_eq!(text("correlationid").as_deref(), Some("cart-9"));
    assert!(text("causationid").unwrap().ends_with("/timers/unpaid"));
}

#[test]
fn a_plugin_without_a_grant_for_state_sets_no_timers_and_is_told() {
    let house = House::new();
    let bus = house.open();
    for name in ["orders", "reminders"] {
        topic(&bus, name);
    }
    let plugin = PluginConfig::new(reminder()).grants(Grants::nothing().publish("reminders"));
    let refused = bus.subscribe_plugin("reminder", ConsumerConfig::new(["orders"]), plugin).unwrap_err();
    assert!(refused.to_string().contains("`state = true`"), "{refused}");
}

#[test]
fn what_a_timer_may_not_be_is_refused_with_its_bound() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handler = handler_fn(|_, context| {
        let now = context.now();
        let long = "n".repeat(257);
        for name in ["", &long] {
            assert!(matches!(context.set_timer(name, now, None), Err(TimerError::NameSize { max: 256, .. })));
            assert!(matches!(context.cancel_timer(name), Err(TimerError::NameSize { .. })));
        }
        let large = tidegate::Data::Binary(vec![0; (64 << 10) + 1]);
        assert!(matches!(context.set_timer("n", now, Some(large)), Err(TimerError::DataSize { .. })));
        for due in [-1, 253_402_300_800_000_000] {
            let due = tidegate::Timestamp(due);
            assert_eq!(context.set_timer("n", due, None), Err(TimerError::Due(due)));
        }
        let bad = tidegate::Data::Json("{".to_owned());
        assert!(matches!(context.set_timer("n", now, Some(bad)), Err(TimerError::Invalid(_))));
        for at in 0.. {
            match context.set_timer(&at.to_string(), now, None) {
                Ok(()) => {}
                Err(TimerError::EffectsSize { timers_max, .. }) => {
                    assert_eq!(at, timers_max);
                    break;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        Err(Failure::permanent("done", "nothing of it is to stay"))
    });
    bus.subscribe("c", at_once(), handler).unwrap();
    publish(&bus, "in", "1", "k");
    caught_up(&bus, "c");
    assert_eq!(letters(&bus, "c")[0].reason.code, "done", "{:?}", letters(&bus, "c")[0].reason);
    assert!(bus.bus().timers("c", None, None, 10).unwrap().is_empty());
}

#[test]
fn timers_of_a_consumer_that_is_gone_for_a_while_come_when_it_is_back() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handler = || {
        handler_fn(|delivery, context| match delivery.event.kind() {
            TIMER_TYPE => Ok(()),
            _ => Ok(context.set_timer("t", context.now().after(HOUR), None)?),
        })
    };
    bus.subscribe("c", at_once(), handler()).unwrap();
    publish(&bus, "in", "1", "k");
    caught_up(&bus, "c");
    bus.unsubscribe("c").unwrap();
    house.clock.advance(HOUR * 3);
    let timer = bus.bus().timers("c", None, None, 10).unwrap().remove(0);
    assert_eq!((timer.due.after(HOUR * 2), &*timer.key), (house.clock.now(), "k"));
    bus.subscribe("c", at_once(), handler()).unwrap();
    house.settles(|| handled(&bus, "c") == 2);
    assert!(bus.bus().timers("c", None, None, 10).unwrap().is_empty());
}

#[test]
fn a_timer_that_is_damaged_is_a_dead_letter_and_the_others_come() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handler = || handler_fn(|_, _| Ok(()));
    bus.subscribe("c", at_once(), handler()).unwrap();
    let marker = "the-timer-that-is-damaged";
    for (name, data) in [("a", "fine"), ("b", marker), ("c", "fine")] {
        let data = tidegate::Data::Json(json!(data).to_string());
        bus.set_timer("c", "k", name, house.clock.now().after(HOUR), Some(data)).unwrap();
    }
    bus.shutdown(SHUTDOWN);
    drop(bus);
    house.damage(marker.as_bytes());

    let bus = house.open();
    house.clock.advance(HOUR);
    bus.subscribe("c", at_once(), handler()).unwrap();
    house.settles(|| handled(&bus, "c") == 2);
    let found = letters(&bus, "c");
    let [letter] = &found[..] else { panic!("{found:?}") };
    assert_eq!((letter.reason.kind, &*letter.reason.code), (FailureKind::Damaged, "damaged"));
    assert!(letter.event.is_none());
    house.settles(|| consumer(&bus, "c").lanes[0].timers == 0);
}

#[test]
fn the_command_line_lists_timers_and_cancels_them() {
    let directory = Directory::new(
        "[topics.orders]\npartitions = 2\n[topics.reminders]\n[consumers.reminder]\nplugin = \"reminder.wasm\"\n\
         topics = [\"orders\"]\ngrants = { publish = [\"reminders\"], state = true }\nsettings = { wait_seconds = 86400 }\n",
    );
    directory.put("reminder.wasm", &std::fs::read(reminder()).unwrap());
    let running = directory.serve();
    let lines: Vec<_> = ["17", "18"].map(|number| order("OrderPlaced.v1", number).to_json()).into();
    assert_eq!(directory.run_with(&["publish", "orders", "-"], &lines.join("\n")).code, 0);
    directory.until_handled("reminder", 2);
    let keys = || -> Vec<String> {
        let timers = directory.json(&["timers", "list", "reminder"]);
        timers.iter().map(|timer| timer["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(), ["17", "18"]);
    assert!(directory.done(&["consumers", "show", "reminder"]).contains("TIMERS"));
    let told = directory.done(&["timers", "cancel", "reminder", "17", "unpaid"]);
    assert!(told.contains("`unpaid` of key `17` is cancelled"), "{told}");
    assert_eq!(keys(), ["18"]);
    running.end();
    // Without a process as well.
    let table = directory.done(&["timers", "list", "reminder", "--key", "18"]);
    assert!(table.contains("DUE") && table.contains("unpaid"), "{table}");
    assert!(directory.done(&["timers", "list", "reminder", "--key", "17"]).contains("no timers"));
    let again = directory.run(&["timers", "cancel", "reminder", "17", "unpaid"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("has no timer `unpaid` of key `17`"), "{again:?}");
}
