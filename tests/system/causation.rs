//! Causation: what caused what is known of everything that the bus does by itself, and `trace` shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use tidegate::config::{
    AggregateConfig, ConsumerConfig, HttpRelayConfig, NatsRelayConfig, OutboxConfig, Retention, RetryPolicy,
    TopicConfig,
};
use tidegate::outbox::create_tables;
use tidegate::upcast::Lifted;
use tidegate::{
    Aggregate, Blocking, Clock, Delivery, Event, Fact, Failure, HttpRelay, NatsRelay, Outcome, Outgoing,
    ReadError, Rejection, TIMER_TYPE, Trace, TraceBy, TraceLink, TraceOptions, Traced, handler_fn,
};

use crate::cli_process::Directory;
use crate::endpoint::Endpoint;
use crate::house::{House, all, at_once, caught_up, handled, letters, topic};
use crate::nats_server::NatsServer;

const HOUR: Duration = Duration::from_hours(1);
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

fn text(event: &Event, name: &str) -> String {
    event.extension(name).map(ToString::to_string).unwrap_or_default()
}

/// What an event says of its causes.
fn causes(event: &Event) -> (String, String) {
    (text(event, "correlationid"), text(event, "causationid"))
}

/// An event that begins something, within a trace.
fn beginning(id: &str) -> Event {
    Event::new(id, "/shop", "OrderPlaced.v1")
        .subject(id)
        .extension("traceparent", format!("00-{TRACE_ID}-b7ad6b7169203331-01"))
        .extension("tracestate", "vendor=1")
        .build()
        .unwrap()
}

fn outgoing(kind: &str) -> Outgoing {
    Outgoing { kind: kind.to_owned(), subject: Some("order-17".to_owned()), ..Outgoing::default() }
}

/// A bus where `billing` answers an order with an invoice and a timer, and the timer with a reminder; and where `post` sends
/// invoices, which fails for good until it is told otherwise.
fn shop(house: &House, can_send: &Arc<AtomicBool>) -> Blocking {
    let bus = house.open();
    for name in ["in", "invoices", "reminders", "sent"] {
        topic(&bus, name);
    }
    let billing = handler_fn(|delivery, context| {
        if delivery.event.kind() == TIMER_TYPE {
            return Ok(context.publish("reminders", outgoing("Reminder.v1"))?);
        }
        context.publish("invoices", outgoing("Invoice.v1"))?;
        Ok(context.set_timer("unpaid", context.now().after(HOUR), None)?)
    });
    bus.subscribe("billing", at_once(), billing).unwrap();
    let can_send = Arc::clone(can_send);
    let post = handler_fn(move |_, context| {
        if !can_send.load(Ordering::Acquire) {
            return Err(Failure::permanent("no-stamp", "there is none left"));
        }
        Ok(context.publish("sent", outgoing("Sent.v1"))?)
    });
    bus.subscribe("post", ConsumerConfig::new(["invoices"]), post).unwrap();
    bus
}

/// The nodes, each as deep as it stands.
fn shape(trace: &Trace) -> Vec<String> {
    let line = |node: &tidegate::TraceNode| {
        let what = match &node.what {
            Traced::Event { kind, .. } => kind.clone(),
            Traced::Timer { name, due, .. } => {
                format!("timer {name}{}", if due.is_some() { "" } else { " came" })
            }
            Traced::Held { consumer, attempts, .. } => format!("held by {consumer} after {attempts}"),
            Traced::Letter { consumer, reason, .. } => format!("letter of {consumer}: {}", reason.code),
            Traced::Outcome { consumer, outcome } => match outcome {
                Outcome::Accepted { version, events } => {
                    format!("{consumer}: accepted, version {version}, {events} new")
                }
                Outcome::Rejected(rejection) => format!("{consumer}: rejected, {}", rejection.code),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let missing = if matches!(node.link, TraceLink::Missing { .. }) { " missing" } else { "" };
        format!("{}{what}{missing}", "  ".repeat(node.depth))
    };
    trace.nodes.iter().map(line).collect()
}

fn trace(bus: &Blocking, id: &str) -> Trace {
    bus.trace(id, TraceOptions::default()).unwrap()
}

#[test]
fn causes_go_on_through_deliveries_timers_dead_letters_and_redriven_ones() {
    let (house, can_send) = (House::new(), Arc::new(AtomicBool::new(false)));
    let bus = shop(&house, &can_send);
    bus.publish("in", beginning("order-17")).unwrap();
    caught_up(&bus, "billing");
    caught_up(&bus, "post");
    house.clock.advance(HOUR);
    house.settles(|| handled(&bus, "billing") == 2);

    let invoice = &all(&bus, "invoices")[0].event;
    assert_eq!(causes(invoice), ("order-17".to_owned(), "order-17".to_owned()));
    let reminder = &all(&bus, "reminders")[0].event;
    assert_eq!(causes(reminder), ("order-17".to_owned(), "billing/in/0/0/timers/unpaid".to_owned()));
    let letter = letters(&bus, "post").remove(0);
    assert_eq!(letter.event.as_deref(), Some(&**invoice), "the letter keeps it with its causes");
    // One that was redriven is delivered as the event that it was.
    can_send.store(true, Ordering::Release);
    bus.redrive("post", vec![letter.id]).unwrap();
    house.settles(|| handled(&bus, "post") == 1);
    let sent = &all(&bus, "sent")[0].event;
    assert_eq!(causes(sent), ("order-17".to_owned(), invoice.id().to_owned()));
    // The trace goes on as well, each a span of its own.
    let mut spans = Vec::new();
    for event in [invoice, reminder, sent] {
        assert_eq!(text(event, "tracestate"), "vendor=1");
        let parent = text(event, "traceparent");
        assert!(parent.starts_with(&format!("00-{TRACE_ID}-")), "{parent}");
        spans.push(parent);
    }
    spans.sort();
    spans.dedup();
    assert_eq!(spans.len(), 3);
}

#[test]
fn what_an_application_publishes_begins_a_correlation_unless_it_says_what_caused_it() {
    let house = House::new();
    let bus = shop(&house, &Arc::new(AtomicBool::new(true)));
    let order = beginning("order-17");
    bus.publish("in", order.clone()).unwrap();
    assert_eq!(causes(&all(&bus, "in")[0].event), (String::new(), String::new()), "nothing is added to it");
    let answer = Event::new("answer-1", "/shop", "OrderAnswered.v1").caused_by(&order).build().unwrap();
    bus.transaction(move |transaction| {
        transaction.publish("sent", answer)?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })
    .unwrap();
    let answered = all(&bus, "sent").into_iter().find(|record| record.event.id() == "answer-1").unwrap();
    assert_eq!(causes(&answered.event), ("order-17".to_owned(), "order-17".to_owned()));
    assert!(text(&answered.event, "traceparent").starts_with(&format!("00-{TRACE_ID}-")));
    // What comes of that belongs to the same correlation.
    caught_up(&bus, "billing");
    let shape = shape(&trace(&bus, "order-17"));
    assert!(shape.contains(&"  OrderAnswered.v1".to_owned()), "{shape:#?}");
}

#[test]
fn an_outboxs_row_says_what_it_belongs_to_and_its_effects_follow() {
    let house = House::new();
    let bus = shop(&house, &Arc::new(AtomicBool::new(true)));
    let file = house.folder.path().join("shop.db");
    let config = OutboxConfig::sqlite(&file, "/shop");
    create_tables(&config.database).unwrap();
    let extensions = json!({ "correlationid": "cart-9", "causationid": "click-1" });
    let row = "INSERT INTO tidegate_outbox (id, topic, type, data, extensions) VALUES ('o1', 'in', 'OrderPlaced.v1', '{}', ?1)";
    Connection::open(&file).unwrap().execute(row, [extensions.to_string()]).unwrap();
    bus.bus().start_outbox("shop", config).unwrap();
    house.settles(|| all(&bus, "invoices").len() == 1);
    assert_eq!(causes(&all(&bus, "in")[0].event), ("cart-9".to_owned(), "click-1".to_owned()));
    assert_eq!(causes(&all(&bus, "invoices")[0].event), ("cart-9".to_owned(), "o1".to_owned()));
    bus.stop_outbox("shop").unwrap();
}

#[test]
fn relays_hand_on_what_an_event_belongs_to_as_attributes_and_as_the_trace_of_the_request() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([]));
    let bus = house.open();
    topic(&bus, "in");
    let clock = || Arc::clone(&house.clock) as Arc<dyn Clock>;
    let relay = HttpRelay::new(HttpRelayConfig::new(endpoint.url())).unwrap().clock(clock());
    bus.subscribe("http", at_once(), relay).unwrap();
    let event = Event::new("2", "/shop", "Invoice.v1").caused_by(&beginning("order-17")).build().unwrap();
    let parent = text(&event, "traceparent");
    bus.publish("in", event).unwrap();
    caught_up(&bus, "http");
    let received = endpoint.received().remove(0);
    for (name, value) in [
        ("ce-correlationid", "order-17"),
        ("ce-causationid", "order-17"),
        ("ce-traceparent", &*parent),
        ("traceparent", &*parent),
        ("tracestate", "vendor=1"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    let Some(server) = NatsServer::start() else { return };
    server.make_stream("SHOP", &["shop.>"], &json!({}));
    let config = NatsRelayConfig::new([server.url()]).subject("shop.{topic}").stream("SHOP");
    bus.subscribe("nats", at_once(), NatsRelay::new(config).unwrap().clock(clock())).unwrap();
    caught_up(&bus, "nats");
    let stored = server.stored("SHOP").remove(0);
    for (name, value) in [("traceparent", &*parent), ("tracestate", "vendor=1")] {
        assert_eq!(stored.header(name), Some(value), "{name}");
    }
    // The event itself is the payload.
    let payload: serde_json::Value = serde_json::from_slice(&stored.payload).unwrap();
    assert_eq!(
        (&payload["correlationid"], &payload["causationid"]),
        (&json!("order-17"), &json!("order-17"))
    );
}

#[test]
fn a_trace_is_the_tree_of_what_caused_what_with_timers_holds_and_dead_letters() {
    let (house, can_send) = (House::new(), Arc::new(AtomicBool::new(false)));
    let bus = shop(&house, &can_send);
    let retry = RetryPolicy::default().backoff(HOUR, HOUR);
    let busy = handler_fn(|_, _| Err(Failure::transient("busy", "come again")));
    bus.subscribe("archive", ConsumerConfig::new(["invoices"]).retry(retry), busy).unwrap();
    bus.publish("in", beginning("order-17")).unwrap();
    bus.publish("in", beginning("order-18")).unwrap();
    caught_up(&bus, "billing");
    caught_up(&bus, "post");
    house.settles(|| bus.bus().consumers().unwrap()[0].lanes[0].next_retry.is_some());
    let found = trace(&bus, "order-17");
    assert_eq!(
        shape(&found),
        [
            "OrderPlaced.v1",
            "  Invoice.v1",
            "    letter of post: no-stamp",
            "    held by archive after 1",
            "  timer unpaid",
        ]
        .map(str::to_owned),
        "{found:#?}"
    );
    let Traced::Event { topic, key, consumer, .. } = &found.nodes[1].what else { panic!("{found:?}") };
    assert_eq!((&**topic, &**key, consumer.as_deref()), ("invoices", "order-17", Some("billing")));
    assert_eq!((found.summary.left_out, found.summary.damaged), (0, 0));
    // Once the timer has come, the log doesn't have it any more: it is known by what it caused.
    house.clock.advance(HOUR);
    house.settles(|| handled(&bus, "billing") == 4);
    let later = trace(&bus, "order-17");
    let reminder = later
        .nodes
        .iter()
        .find(|node| matches!(&node.what, Traced::Event { kind, .. } if kind == "Reminder.v1"));
    assert_eq!(reminder.map(|node| (node.depth, node.latency)), Some((2, HOUR)), "{later:#?}");
    assert!(shape(&later).contains(&"  timer unpaid came".to_owned()));
    // By the trace it is both orders.
    let by_trace = TraceOptions::default().by(TraceBy::TraceId);
    let both = bus.trace(TRACE_ID, by_trace).unwrap();
    assert_eq!(both.nodes.iter().filter(|node| node.depth == 0).count(), 2);
}

#[test]
fn a_trace_goes_on_into_correlations_that_begin_within_it_and_a_bounded_number_of_them() {
    let house = House::new();
    let bus = house.open();
    // What is at the end is read first.
    for name in ["done", "asked", "in"] {
        topic(&bus, name);
    }
    let own = |kind: &str, correlation: String| Outgoing {
        kind: kind.to_owned(),
        subject: Some("k".to_owned()),
        extensions: vec![("correlationid".to_owned(), correlation.into())],
        ..Outgoing::default()
    };
    let asks = handler_fn(move |delivery, context| {
        let times = if delivery.event.id() == "order-17" { 1 } else { 12 };
        for at in 0..times {
            context.publish("asked", own("Asked.v1", format!("{}-{at}", delivery.event.id())))?;
        }
        Ok(())
    });
    bus.subscribe("asks", at_once(), asks).unwrap();
    let does = handler_fn(|_, context| Ok(context.publish("done", outgoing("Done.v1"))?));
    bus.subscribe("does", ConsumerConfig::new(["asked"]), does).unwrap();
    for id in ["order-17", "order-18"] {
        bus.publish("in", beginning(id)).unwrap();
    }
    caught_up(&bus, "asks");
    caught_up(&bus, "does");
    assert_eq!(shape(&trace(&bus, "order-17")), ["OrderPlaced.v1", "  Asked.v1", "    Done.v1"]);
    let inner = trace(&bus, "order-17-0");
    assert_eq!(shape(&inner), ["Asked.v1 missing", "  Done.v1"]);
    assert_eq!(inner.summary.correlations, ["order-17"], "it says in which one it began");
    // Of twelve, ten are followed, and the others are named.
    let many = trace(&bus, "order-18");
    let done = shape(&many).iter().filter(|line| line.contains("Done.v1")).count();
    assert_eq!((done, many.summary.correlations.len()), (10, 2), "{many:#?}");
}

#[test]
fn a_trace_shows_what_an_aggregate_has_made_of_a_command() {
    struct Door;

    impl Aggregate for Door {
        type State = bool;

        fn decide(&self, _: Option<&bool>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
            match command.event.kind() {
                "Open.v1" => Ok(vec![Fact::new("Opened.v1"), Fact::new("Noted.v1")]),
                _ => Err(Rejection::new("locked", "it is")),
            }
        }

        fn evolve(&self, _: Option<bool>, _: &Event) -> Result<bool, Failure> {
            Ok(true)
        }
    }

    let house = House::new();
    let bus = house.open();
    for (name, sequence) in [("in", false), ("doors", true), ("rejected", false)] {
        bus.create_topic(name, TopicConfig::new(1).sequence(sequence)).unwrap();
    }
    let config = AggregateConfig::new("doors").rejections("rejected");
    bus.subscribe_aggregate("doors", at_once(), config, Door).unwrap();
    let command = |id: &str, kind: &str| {
        let parts = beginning(id).into_parts();
        Event::try_from(Outgoing { kind: kind.to_owned(), subject: Some("front".to_owned()), ..parts })
            .unwrap()
    };
    bus.publish("in", command("c1", "Open.v1")).unwrap();
    bus.publish("in", command("c2", "Slam.v1")).unwrap();
    caught_up(&bus, "doors");
    assert_eq!(
        shape(&trace(&bus, "c1")),
        ["Open.v1", "  doors: accepted, version 2, 2 new", "  Opened.v1", "  Noted.v1"]
    );
    assert_eq!(shape(&trace(&bus, "c2")), ["Slam.v1", "  doors: rejected, locked", "  tidegate.rejected.v1"]);
    for event in all(&bus, "doors").iter().chain(&all(&bus, "rejected")) {
        let command = if event.event.kind() == tidegate::REJECTED { "c2" } else { "c1" };
        assert_eq!(causes(&event.event), (command.to_owned(), command.to_owned()));
        let parent = text(&event.event, "traceparent");
        assert!(
            parent.starts_with(&format!("00-{TRACE_ID}-")) && text(&event.event, "tracestate") == "vendor=1"
        );
    }
    // Two commands of one id from two sources: each event is below the one that it came of.
    let twin = Event::new("c1", "/other", "Open.v1").subject("front").build().unwrap();
    bus.publish("in", twin).unwrap();
    caught_up(&bus, "doors");
    let links: Vec<_> = trace(&bus, "c1").nodes.into_iter().map(|node| node.link).collect();
    assert!(links.iter().all(|link| matches!(link, TraceLink::Root | TraceLink::Cause)), "{links:?}");
}

#[test]
fn what_an_upcaster_lifts_keeps_what_it_belongs_to_and_hands_it_on() {
    let house = House::new();
    let bus = shop(&house, &Arc::new(AtomicBool::new(true)));
    let upcaster =
        bus.bus().add_upcaster("orders", "OrderPlaced.v1", "OrderPlaced.v2", |_| Ok(Lifted::default()));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(upcaster).unwrap();
    let order = Event::new("o2", "/shop", "OrderPlaced.v1").caused_by(&beginning("cart-9")).build().unwrap();
    bus.publish("in", order).unwrap();
    caught_up(&bus, "billing");
    let invoice = &all(&bus, "invoices")[0].event;
    assert_eq!(causes(invoice), ("cart-9".to_owned(), "o2".to_owned()));
    assert!(text(invoice, "traceparent").starts_with(&format!("00-{TRACE_ID}-")));
    assert_eq!(shape(&trace(&bus, "cart-9"))[..2], ["OrderPlaced.v1 missing", "  Invoice.v1"]);
}

#[test]
fn a_trace_says_what_it_did_not_find_or_left_out() {
    let house = House::new();
    let bus = shop(&house, &Arc::new(AtomicBool::new(true)));
    bus.publish("in", beginning("order-17")).unwrap();
    caught_up(&bus, "billing");
    caught_up(&bus, "post");
    let whole = trace(&bus, "order-17");
    assert_eq!(shape(&whole), ["OrderPlaced.v1", "  Invoice.v1", "    Sent.v1", "  timer unpaid"]);
    let options = TraceOptions::default;
    // What comes last is left out.
    let cut = bus.trace("order-17", options().limit(2)).unwrap();
    assert_eq!(shape(&cut), ["OrderPlaced.v1", "  Invoice.v1"]);
    assert_eq!(cut.summary.left_out, 2);
    let some = bus.trace("order-17", options().topics(["in", "sent"])).unwrap();
    assert_eq!(shape(&some), ["OrderPlaced.v1", "  Sent.v1 missing", "  timer unpaid"]);
    // By the id of one of its effects it is that one alone, with where it belongs.
    let invoice = all(&bus, "invoices")[0].event.id().to_owned();
    let one = trace(&bus, &invoice);
    assert_eq!((shape(&one).len(), one.summary.correlations), (1, vec!["order-17".to_owned()]));
    let unknown = bus.trace("order-17", options().topics(["no"])).unwrap_err();
    assert!(matches!(unknown, ReadError::UnknownTopic(topic) if topic == "no"));
    // What retention has removed is missing, and what it caused is not lost.
    house.clock.advance(HOUR / 2);
    let later = house.clock.now();
    assert!(trace(&bus, "nobody").nodes.is_empty());
    bus.create_topic("in", TopicConfig::new(1).retention(Retention::keep_for(Duration::from_secs(1))))
        .unwrap();
    bus.trim().unwrap();
    assert!(all(&bus, "in").is_empty());
    assert_eq!(shape(&trace(&bus, "order-17")), ["Invoice.v1 missing", "  Sent.v1", "timer unpaid missing"]);
    let newer = bus.trace("order-17", options().since(later)).unwrap();
    assert_eq!(shape(&newer), ["timer unpaid missing"], "timers that are set are no matter of time");
}

#[test]
fn the_command_line_prints_a_trace_alike_whether_the_bus_runs_or_not() {
    let directory = Directory::new(
        "[topics.in]\n[topics.out]\n[consumers.echo]\nplugin = \"counter.wasm\"\ntopics = [\"in\"]\ngrants = { state = true }\n",
    );
    directory.put_guest("counter", "counter.wasm");
    let root = beginning("order-17");
    let child = Event::new("invoice-1", "/shop", "Invoice.v1").subject("k").caused_by(&root).build().unwrap();
    let orphan = Event::new("x", "/shop", "Orphan.v1")
        .extension("correlationid", "order-17")
        .extension("causationid", "gone");
    for (topic, event) in [("in", root), ("out", child), ("out", orphan.build().unwrap())] {
        assert_eq!(directory.run_with(&["publish", topic, "-"], &event.to_json()).code, 0);
    }
    let offline = directory.done(&["trace", "order-17"]);
    let lines: Vec<_> = offline.lines().collect();
    assert_eq!(lines.len(), 3, "{offline}");
    assert!(lines[0].starts_with("OrderPlaced.v1  in ") && lines[0].contains("from /shop"), "{offline}");
    assert!(lines[1].starts_with("├─ Invoice.v1  out ") && lines[1].contains("  +"), "{offline}");
    assert!(
        lines[2].starts_with("└─ Orphan.v1") && lines[2].contains("its cause gone was not found"),
        "{offline}"
    );
    let running = directory.serve();
    assert_eq!(directory.done(&["trace", "order-17"]), offline);
    let json = directory.json(&["trace", "order-17"]);
    assert_eq!(
        (json.len(), json[1]["depth"].as_u64(), &json[1]["what"]["id"]),
        (4, Some(1), &json!("invoice-1"))
    );
    assert_eq!(json[3]["summary"]["left_out"], 0);
    assert_eq!(directory.json(&["trace", "--trace-id", &TRACE_ID.to_uppercase()]).len(), 3);
    running.end();
    assert!(directory.done(&["trace", "nobody"]).contains("nothing belongs to `nobody`"));
    assert_eq!(directory.run(&["trace", "--trace-id", "12"]).code, 2);
    assert_eq!(directory.run(&["trace", "x", "--topic", "nowhere"]).code, 1);
}
