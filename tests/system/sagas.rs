//! Sagas: processes of several steps, which end done or undone, or wait for an operator, and are never lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::config::{AggregateConfig, ConsumerConfig, Grants, PluginConfig, TopicConfig};
use tidegate::{
    Aggregate, Attribute, Blocking, Context, Delivery, Event, Fact, Failure, Outcome, Outgoing, Rejection,
    Saga, SagaError, SagaQuery, SagaState, TraceLink, TraceNode, TraceOptions, Traced, handler_fn,
};

use crate::cli_process::Directory;
use crate::house::{House, all, caught_up, letters, publish};

const MINUTE: Duration = Duration::from_mins(1);
/// The consumer that runs the sagas.
const SAGA: &str = "order-saga";
/// The participants, each of which reads the topic of its name.
const PARTICIPANTS: [&str; 3] = ["stock", "payments", "shipping"];
const TOPICS: [&str; 4] = ["orders", "outcomes", "order-results", "order-saga"];
const PARTITIONS: u32 = 2;

/// What a participant makes of a command: the word of the step in the names of orders, and the outcomes.
const COMMANDS: [(&str, &str, &str); 6] = [
    ("ReserveStock.v1", "StockReserved.v1", "StockRefused.v1"),
    ("TakePayment.v1", "PaymentTaken.v1", "PaymentRefused.v1"),
    ("Ship.v1", "Shipped.v1", "ShippingRefused.v1"),
    ("ReleaseStock.v1", "StockReleased.v1", ""),
    ("RefundPayment.v1", "PaymentRefunded.v1", ""),
    ("CancelShipping.v1", "ShippingCancelled.v1", ""),
];

/// A component of `plugins/order-saga`.
fn component(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins").join(name);
    assert!(path.exists(), "{} is not there: `cargo xtask plugins` builds it", path.display());
    path
}

fn create_topics(bus: &Blocking) {
    for topic in TOPICS.iter().chain(&PARTICIPANTS) {
        bus.create_topic(topic, TopicConfig::new(PARTITIONS)).unwrap();
    }
}

fn start_sagas(bus: &Blocking, component: PathBuf) {
    start_sagas_of(bus, component, &["orders", "order-saga", "outcomes"]);
}

fn start_sagas_of(bus: &Blocking, component: PathBuf, topics: &[&str]) {
    let grants = ["order-results", "order-saga", "payments", "shipping", "stock"];
    let grants = grants.iter().fold(Grants::nothing().state(), |grants, topic| grants.publish(*topic));
    let config = ConsumerConfig::new(topics.iter().copied());
    bus.subscribe_plugin(SAGA, config, PluginConfig::new(component).grants(grants)).unwrap();
}

/// Does what it is told, once, and says so. What is in an order's name makes it do otherwise: `refuse-stock` refuses the command,
/// `silent-stock` obeys without a word, and `stubborn-stock` doesn't undo it while it is stubborn.
fn participate(
    name: &'static str,
    is_stubborn: &AtomicBool,
    delivery: &Delivery,
    context: &mut Context,
) -> Result<(), Failure> {
    let event = &delivery.event;
    let order = event.extension("correlationid").and_then(Attribute::as_text).unwrap().to_owned();
    let at = COMMANDS.iter().position(|(command, ..)| *command == event.kind()).unwrap();
    let (_, outcome, refusal) = COMMANDS[at];
    let says = |word: &str| order.contains(&format!("{word}-{name}"));
    let undoes = at >= PARTICIPANTS.len();
    if undoes && says("stubborn") && is_stubborn.load(Ordering::SeqCst) {
        return Ok(());
    }
    let refuses = !undoes && says("refuse");
    if !refuses {
        // What is asked for twice is done once, and what was not done is not undone.
        let done: i64 = context.get(order.as_bytes())?.map_or(0, |count| i64::from(count[0]));
        let done = if undoes { 0 } else { done.max(1) };
        context.set(order.as_bytes(), &[u8::try_from(done).unwrap()])?;
    }
    if !undoes && says("silent") {
        return Ok(());
    }
    let data = (at == 1).then(|| tidegate::Data::Json(json!({ "receipt": order }).to_string()));
    let kind = if refuses { refusal } else { outcome }.to_owned();
    // Of the key of the command: that of the stock is the product.
    let subject = Some(event.key().to_owned());
    Ok(context.publish("outcomes", Outgoing { kind, subject, data, ..Outgoing::default() })?)
}

fn start_participants(bus: &Blocking, is_stubborn: &Arc<AtomicBool>) {
    for name in PARTICIPANTS {
        let is_stubborn = Arc::clone(is_stubborn);
        let handler = handler_fn(move |delivery, context| participate(name, &is_stubborn, delivery, context));
        bus.subscribe(name, ConsumerConfig::new([name]), handler).unwrap();
    }
}

fn placed(order: &str) -> Event {
    let data = json!({ "customer": "c4", "product": format!("product of {order}"), "total_cents": 995 });
    Event::new(format!("{order}/placed"), "/shop", "OrderPlaced.v1")
        .subject(order)
        .json(&data)
        .build()
        .unwrap()
}

fn outcome(order: &str, kind: &str) -> Event {
    let data = json!({ "receipt": "r9" });
    Event::new(format!("{order}/{kind}"), "/hand", kind).subject(order).json(&data).build().unwrap()
}

fn saga(bus: &Blocking, order: &str) -> Saga {
    bus.bus().saga(SAGA, order).unwrap()
}

/// A saga's state and step, as `running ship`; nothing where it isn't there.
fn state(bus: &Blocking, order: &str) -> String {
    match bus.bus().saga(SAGA, order) {
        Ok(Saga { status, .. }) => match status.step {
            Some(step) => format!("{} {step}", status.state),
            None => status.state.to_string(),
        },
        Err(SagaError::Unknown { .. }) => String::new(),
        Err(error) => panic!("{error}"),
    }
}

/// The commands that an order's saga has published, in the order of their topics.
fn commands(bus: &Blocking, order: &str) -> Vec<String> {
    let mut found = Vec::new();
    for topic in PARTICIPANTS.iter().chain(&["order-results"]) {
        for record in all(bus, topic) {
            if record.event.extension("correlationid").and_then(Attribute::as_text) == Some(order) {
                found.push((record.commit, record.event.kind().to_owned()));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, kind)| kind).collect()
}

/// What the participants have done for an order that is not undone.
fn effects(bus: &Blocking, order: &str) -> Vec<&'static str> {
    let is_done = |name: &&&str| {
        (0..PARTITIONS).any(|partition| {
            let count = bus.bus().state(name, partition).unwrap().get(order.as_bytes()).unwrap();
            count.is_some_and(|count| count[0] == 1)
        })
    };
    PARTICIPANTS.iter().filter(is_done).copied().collect()
}

/// Waits until nobody has anything to do any more, but what is due later. What a power cut has cut off waits for its retry, so
/// the clock runs meanwhile.
fn quiesce(house: &House, bus: &Blocking) {
    house.until(|| {
        let consumers = bus.bus().consumers().unwrap();
        consumers.iter().all(|consumer| consumer.lag_events == 0 && consumer.held == 0)
    });
}

/// How an order ends, and what the participants have done for it then.
fn ending(order: &str) -> (&'static str, Vec<&'static str>) {
    if order.contains("stubborn-payments") {
        // What was done before it isn't undone while it is in the way.
        return ("stuck take-payment", vec!["stock", "payments"]);
    }
    if order.contains("refuse") || order.contains("silent") {
        return ("compensated", vec![]);
    }
    ("completed", PARTICIPANTS.into())
}

#[test]
fn every_saga_ends_done_or_undone_or_waits_for_an_operator_in_spite_of_power_cuts() {
    let kinds = [
        "fine",
        "refuse-stock",
        "refuse-payments",
        "refuse-shipping",
        "silent-stock",
        "silent-payments",
        "silent-shipping",
        "stubborn-payments refuse-shipping",
    ];
    let orders: Vec<String> = (0..24).map(|at: usize| format!("{at} {}", kinds[at % kinds.len()])).collect();
    let house = House::new();
    let is_stubborn = Arc::new(AtomicBool::new(true));
    let mut bus = house.open();
    create_topics(&bus);
    let start = |bus: &Blocking| {
        start_participants(bus, &is_stubborn);
        start_sagas(bus, component("order_saga.wasm"));
    };
    start(&bus);
    for (at, order) in orders.iter().enumerate() {
        // A delivery that ends the process three times in a row is given up on: what two cuts have cut off comes to its end.
        if at % 2 == 0 {
            quiesce(&house, &bus);
        }
        bus.publish("orders", placed(order)).unwrap();
        // A duplicate, beyond what the topic drops.
        let again = Event::new(format!("{order}/again"), "/shop", "OrderPlaced.v1").subject(order);
        bus.publish("orders", again.json(&json!(null)).build().unwrap()).unwrap();
        house.clock.advance(MINUTE);
        bus = house.cut_power(bus);
        start(&bus);
    }
    // A shipment is waited for for a day.
    for _ in 0..3 * 24 * 12 {
        quiesce(&house, &bus);
        if orders.iter().all(|order| state(&bus, order) == ending(order).0) {
            break;
        }
        house.clock.advance(MINUTE * 5);
    }
    quiesce(&house, &bus);
    for order in &orders {
        let found = state(&bus, order);
        assert_eq!((&*found, effects(&bus, order)), ending(order), "{order}: {:?}", saga(&bus, order));
        let results = commands(&bus, order);
        let results: Vec<_> = results.iter().filter(|kind| kind.starts_with("Order")).collect();
        match &*found {
            "completed" => assert_eq!(results, ["OrderConfirmed.v1"]),
            "compensated" => assert_eq!(results, ["OrderRejected.v1"]),
            _ => assert_eq!(results.len(), 0),
        }
    }
    assert!(letters(&bus, SAGA).is_empty(), "{:?}", letters(&bus, SAGA));
    // Each outcome of the stock has the key of a product, and went on by the inbox.
    let of_stock =
        all(&bus, "outcomes").iter().filter(|record| record.event.kind().starts_with("Stock")).count();
    assert_eq!(all(&bus, "order-saga").len(), of_stock);

    // The payments are reasonable again, and an operator says so.
    is_stubborn.store(false, Ordering::SeqCst);
    let stuck = bus.sagas(SagaQuery::default().state(SagaState::Stuck)).unwrap();
    assert_eq!(stuck.len(), 3);
    for saga in stuck {
        assert!(saga.why.unwrap().contains("was not compensated after 3 attempts"));
        bus.retry_saga(SAGA, &saga.id).unwrap();
        house.until(|| state(&bus, &saga.id) == "compensated");
        assert_eq!(effects(&bus, &saga.id), Vec::<&str>::new());
    }

    // All are forgotten after a week, and their timers with them.
    house.clock.advance(Duration::from_hours(24 * 8));
    house.until(|| bus.sagas(SagaQuery::default()).unwrap().is_empty());
    house.until(|| bus.bus().timers(SAGA, None, None, 9).unwrap().is_empty());
}

#[test]
fn a_saga_goes_on_after_a_power_cut_in_each_of_its_states() {
    let steps = [
        ("OrderPlaced.v1", "running reserve-stock", "ReserveStock.v1"),
        ("StockReserved.v1", "running take-payment", "TakePayment.v1"),
        ("PaymentTaken.v1", "running ship", "Ship.v1"),
        ("ShippingRefused.v1", "compensating take-payment", "RefundPayment.v1"),
        ("PaymentRefunded.v1", "compensating reserve-stock", "ReleaseStock.v1"),
        ("StockReleased.v1", "compensated", "OrderRejected.v1"),
    ];
    // What the power cut off waits for its retry, so the clock runs: far less than a time-out.
    let house = House::new();
    let mut bus = house.open();
    create_topics(&bus);
    start_sagas(&bus, component("order_saga.wasm"));
    for cut_at in 0..steps.len() {
        for settles_first in [false, true] {
            let order = format!("{cut_at} {settles_first}");
            for (at, (event, then, _)) in steps.iter().enumerate() {
                if at == 0 {
                    bus.publish("orders", placed(&order)).unwrap();
                } else {
                    bus.publish("outcomes", outcome(&order, event)).unwrap();
                }
                if settles_first || at != cut_at {
                    house.until(|| state(&bus, &order) == *then);
                }
                if at == cut_at {
                    bus = house.cut_power(bus);
                    start_sagas(&bus, component("order_saga.wasm"));
                    house.until(|| state(&bus, &order) == *then);
                }
            }
            assert_eq!(commands(&bus, &order), steps.map(|(.., command)| command), "{order}");
        }
    }
    // The time-out survives as well.
    bus.publish("orders", placed("late")).unwrap();
    house.until(|| state(&bus, "late") == "running reserve-stock");
    bus = house.cut_power(bus);
    house.clock.advance(MINUTE * 10);
    start_sagas(&bus, component("order_saga.wasm"));
    house.until(|| state(&bus, "late") == "compensating reserve-stock");
    assert!(letters(&bus, SAGA).is_empty());
}

#[test]
fn an_operator_has_a_saga_ask_again_or_compensated_and_hears_why_not() {
    let house = House::new();
    let bus = house.open();
    create_topics(&bus);
    start_sagas(&bus, component("order_saga.wasm"));
    bus.publish("orders", placed("17")).unwrap();
    bus.publish("outcomes", outcome("17", "StockReserved.v1")).unwrap();
    house.settles(|| state(&bus, "17") == "running take-payment");
    bus.retry_saga(SAGA, "17").unwrap();
    house.settles(|| saga(&bus, "17").attempt == 2);
    assert_eq!(commands(&bus, "17"), ["ReserveStock.v1", "TakePayment.v1", "TakePayment.v1"]);
    // What an operator asked for belongs to the saga.
    let trace = bus.trace("17", TraceOptions::default()).unwrap();
    let is_retry =
        |node: &&TraceNode| matches!(&node.what, Traced::Timer { name, .. } if name == "saga:retry");
    let retry = trace.nodes.iter().find(is_retry).unwrap();
    assert_eq!((&retry.link, retry.depth), (&TraceLink::Root, 0), "{trace:#?}");
    assert_eq!(
        trace.summary.correlations,
        ["17/StockReserved.v1", "17/placed"],
        "where it began, and an answer of somebody else"
    );
    // Nobody runs it, and the word is kept.
    bus.unsubscribe(SAGA).unwrap();
    bus.compensate_saga(SAGA, "17").unwrap();
    start_sagas(&bus, component("order_saga.wasm"));
    house.settles(|| state(&bus, "17") == "compensating take-payment");
    let again = bus.compensate_saga(SAGA, "17").unwrap_err();
    assert!(matches!(again, SagaError::CompensatedAlready { .. }), "{again}");
    for event in ["PaymentRefunded.v1", "StockReleased.v1"] {
        bus.publish("outcomes", outcome("17", event)).unwrap();
    }
    house.settles(|| state(&bus, "17") == "compensated");
    let saga = saga(&bus, "17");
    assert_eq!(saga.status.why.as_deref(), Some("an operator had it compensated"));
    let statuses: Vec<_> = saga.steps.iter().map(|step| (&*step.name, &*step.status)).collect();
    let expected = ["accept", "reserve-stock", "take-payment"].map(|name| (name, "compensated"));
    assert_eq!(statuses, expected);
    for ended in [bus.retry_saga(SAGA, "17"), bus.compensate_saga(SAGA, "17")] {
        assert!(matches!(ended, Err(SagaError::Ended { state: SagaState::Compensated, .. })), "{ended:?}");
    }
    let unknown = bus.retry_saga(SAGA, "18").unwrap_err();
    assert!(matches!(unknown, SagaError::Unknown { .. }), "{unknown}");
    assert!(matches!(bus.retry_saga("nobody", "17"), Err(SagaError::Read(_))));
}

#[test]
fn a_stuck_saga_goes_on_when_an_operator_has_undone_its_step_by_other_means() {
    let house = House::new();
    let bus = house.open();
    create_topics(&bus);
    start_sagas(&bus, component("order_saga.wasm"));
    bus.publish("orders", placed("17")).unwrap();
    for event in ["StockReserved.v1", "PaymentTaken.v1", "ShippingRefused.v1"] {
        bus.publish("outcomes", outcome("17", event)).unwrap();
    }
    house.settles(|| state(&bus, "17") == "compensating take-payment");
    let refused = bus.resolve_saga(SAGA, "17").unwrap_err();
    assert!(matches!(refused, SagaError::NotStuck { state: SagaState::Compensating, .. }), "{refused}");
    // 1, 2 and 4 minutes.
    for minutes in [1, 2, 4] {
        let attempt = saga(&bus, "17").attempt;
        house.clock.advance(MINUTE * minutes);
        house.settles(|| saga(&bus, "17").attempt != attempt);
    }
    assert_eq!(state(&bus, "17"), "stuck take-payment");
    let found = bus.doctor(tidegate::DoctorOptions::default()).unwrap();
    let stuck = found.iter().find(|finding| finding.check == "stuck-sagas").unwrap();
    assert!(stuck.seen.starts_with("1 of the 1 sagas") && stuck.seen.contains("`17`"), "{stuck}");
    bus.resolve_saga(SAGA, "17").unwrap();
    house.settles(|| state(&bus, "17") == "compensating reserve-stock");
    bus.publish("outcomes", outcome("17", "StockReleased.v1")).unwrap();
    house.settles(|| state(&bus, "17") == "compensated");
    let why = saga(&bus, "17").status.why;
    assert_eq!(why.as_deref(), Some("step `ship` failed: ShippingRefused.v1"), "it isn't stuck any more");
}

/// Takes payments, and none of orders that say `poor`; of those that say `keeps` it gives none back.
struct Payments;

impl Aggregate for Payments {
    type State = String;

    fn decide(&self, _: Option<&String>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
        let (order, kind) = (command.event.key(), command.event.kind());
        match kind {
            "TakePayment.v1" if order.contains("poor") => Err(Rejection::new("no-money", "there is none")),
            "RefundPayment.v1" if order.contains("keeps") => Err(Rejection::new("kept", "it is spent")),
            "TakePayment.v1" => {
                Ok(vec![Fact::new("PaymentTaken.v1").json(&json!({ "receipt": "r1" })).unwrap()])
            }
            _ => Ok(vec![Fact::new("PaymentRefunded.v1")]),
        }
    }

    fn evolve(&self, _: Option<String>, event: &Event) -> Result<String, Failure> {
        Ok(event.kind().to_owned())
    }
}

/// The saga, of which an aggregate takes the payments.
fn start_with_aggregate(bus: &Blocking) {
    create_topics(bus);
    bus.create_topic("payment-events", TopicConfig::new(PARTITIONS).sequence(true)).unwrap();
    bus.create_topic("rejections", TopicConfig::new(PARTITIONS)).unwrap();
    let aggregate = AggregateConfig::new("payment-events").rejections("rejections");
    bus.subscribe_aggregate("payments", ConsumerConfig::new(["payments"]), aggregate, Payments).unwrap();
    let topics = ["orders", "order-saga", "outcomes", "payment-events", "rejections"];
    start_sagas_of(bus, component("order_saga.wasm"), &topics);
}

#[test]
fn an_aggregate_answers_a_saga_by_its_events_and_by_its_rejections() {
    let house = House::new();
    let bus = house.open();
    start_with_aggregate(&bus);
    for order in ["rich", "poor", "keeps"] {
        bus.publish("orders", placed(order)).unwrap();
        bus.publish("outcomes", outcome(order, "StockReserved.v1")).unwrap();
    }
    house.settles(|| state(&bus, "rich") == "running ship");
    house.settles(|| state(&bus, "poor") == "compensating reserve-stock");
    let why = saga(&bus, "poor").status.why;
    assert_eq!(why.as_deref(), Some("step `take-payment` failed: tidegate.rejected.v1"));
    let told = all(&bus, "rejections").remove(0).event;
    assert_eq!((told.kind(), told.key()), (tidegate::REJECTED, "poor"));
    let Some(tidegate::Data::Json(data)) = told.data() else { panic!("{told:?}") };
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&data["code"], &data["aggregate"], &data["version"], &data["command"]["type"]),
        (&json!("no-money"), &json!("poor"), &json!(0), &json!("TakePayment.v1"))
    );
    // One that won't undo what it did leaves the saga to an operator.
    house.settles(|| state(&bus, "keeps") == "running ship");
    bus.publish("outcomes", outcome("keeps", "ShippingRefused.v1")).unwrap();
    house.settles(|| state(&bus, "keeps") == "stuck take-payment");
    // A command of anybody else is none of the saga's business.
    bus.publish("payments", Event::new("t1", "/till", "TakePayment.v1").subject("poor-9").build().unwrap())
        .unwrap();
    house.settles(|| all(&bus, "rejections").len() == 3);
    caught_up(&bus, SAGA);
    assert_eq!(all(&bus, "order-saga").len(), 0, "nothing was sent on");
    assert!(letters(&bus, SAGA).is_empty() && letters(&bus, "payments").is_empty());
}

#[test]
fn a_trace_of_what_began_a_saga_has_the_whole_of_it() {
    let house = House::new();
    let bus = house.open();
    start_with_aggregate(&bus);
    let order = placed("poor");
    let mut parts = order.into_parts();
    parts.extensions.push(("correlationid".to_owned(), Attribute::Text("cart-9".to_owned())));
    bus.publish("orders", Event::try_from(parts).unwrap()).unwrap();
    house.settles(|| state(&bus, "poor") == "running reserve-stock");
    let command = all(&bus, "stock").remove(0).event;
    let answer = Event::new("o1", "/stock", "StockReserved.v1").subject("poor").caused_by(&command);
    bus.publish("outcomes", answer.build().unwrap()).unwrap();
    house.settles(|| state(&bus, "poor") == "compensating reserve-stock");
    let line = |node: &TraceNode| {
        let what = match &node.what {
            Traced::Event { kind, .. } => kind.clone(),
            Traced::Timer { name, .. } => format!("timer {name}"),
            Traced::Outcome { consumer, outcome: Outcome::Rejected(why) } => {
                format!("{consumer}: {}", why.code)
            }
            other => panic!("{other:?}"),
        };
        format!("{}{what}", "  ".repeat(node.depth))
    };
    let whole = bus.trace("cart-9", TraceOptions::default()).unwrap();
    let shape: Vec<_> = whole.nodes.iter().map(line).collect();
    assert_eq!(
        shape,
        [
            "OrderPlaced.v1",
            "  ReserveStock.v1",
            "    StockReserved.v1",
            "      TakePayment.v1",
            "        payments: no-money",
            "        tidegate.rejected.v1",
            "          ReleaseStock.v1",
            "          timer saga",
        ]
    );
    assert_eq!(whole.summary.correlations, Vec::<String>::new());
    let of_saga = bus.trace("poor", TraceOptions::default()).unwrap();
    assert_eq!((line(&of_saga.nodes[0]), of_saga.nodes.len()), ("ReserveStock.v1".to_owned(), 7));
    assert_eq!(of_saga.summary.correlations, ["cart-9"], "it says where it began");
}

#[test]
fn a_new_version_goes_on_with_sagas_that_are_under_way() {
    let house = House::new();
    let bus = house.open();
    create_topics(&bus);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saga.wasm");
    std::fs::copy(component("order_saga.wasm"), &file).unwrap();
    start_sagas(&bus, file.clone());
    bus.publish("orders", placed("17")).unwrap();
    for event in ["StockReserved.v1", "PaymentTaken.v1"] {
        bus.publish("outcomes", outcome("17", event)).unwrap();
    }
    house.settles(|| state(&bus, "17") == "running ship");
    std::fs::copy(component("order_saga_v2.wasm"), &file).unwrap();
    bus.reload(SAGA).unwrap();
    bus.publish("outcomes", outcome("17", "Shipped.v1")).unwrap();
    house.settles(|| state(&bus, "17") == "completed");
    assert_eq!(commands(&bus, "17")[3..], ["InvoiceDue.v1", "OrderConfirmed.v1"]);
    let data: Value = serde_json::from_str(&saga(&bus, "17").data).unwrap();
    assert_eq!(data["receipt"], "r9");
}

#[test]
fn a_list_has_first_what_needs_looking_at_and_is_bounded() {
    let house = House::new();
    let bus = house.open();
    create_topics(&bus);
    start_sagas(&bus, component("order_saga.wasm"));
    let mut started = BTreeMap::new();
    for (order, outcomes) in [
        ("done", vec!["StockRefused.v1"]),
        ("old", vec![]),
        ("new", vec!["StockReserved.v1"]),
        ("stuck", vec!["StockReserved.v1", "PaymentTaken.v1", "ShippingRefused.v1"]),
    ] {
        bus.publish("orders", placed(order)).unwrap();
        for event in outcomes {
            bus.publish("outcomes", outcome(order, event)).unwrap();
        }
        caught_up(&bus, SAGA);
        started.insert(order, state(&bus, order));
        house.clock.advance(MINUTE);
    }
    assert_eq!(started["done"], "compensated");
    assert_eq!(started["stuck"], "compensating take-payment");
    // 1, 2 and 4 minutes, and it is given up; an answer keeps the others from their time-outs.
    house.clock.advance(MINUTE * 5);
    bus.publish("outcomes", outcome("new", "PaymentTaken.v1")).unwrap();
    house.settles(|| state(&bus, "new") == "running ship");
    for minutes in [2, 4] {
        house.clock.advance(MINUTE * minutes);
        bus.publish("outcomes", outcome("nobody", &format!("Tick{minutes}.v1"))).unwrap();
        caught_up(&bus, SAGA);
    }
    house.settles(|| state(&bus, "stuck") == "stuck take-payment");
    house.settles(|| state(&bus, "old").starts_with("compensating"));
    let list = |query: SagaQuery| -> Vec<String> {
        bus.sagas(query).unwrap().into_iter().map(|saga| saga.id).collect()
    };
    let of_all = SagaQuery::default();
    let all = list(of_all.clone());
    assert_eq!((&*all[0], &*all[3]), ("stuck", "done"));
    assert_eq!(list(of_all.clone().limit(2)), all[..2]);
    assert_eq!(list(of_all.clone().consumer(SAGA).state(SagaState::Running)), ["new"]);
    let waiting =
        bus.sagas(of_all.clone()).unwrap().into_iter().find(|saga| saga.id == "new").unwrap().waiting;
    assert!(list(of_all.clone().waiting_for(waiting)).contains(&"new".to_owned()));
    assert!(!list(of_all.clone().waiting_for(waiting + MINUTE)).contains(&"new".to_owned()));
    assert!(!list(of_all.clone().waiting_for(Duration::ZERO)).contains(&"done".to_owned()));
    assert!(bus.sagas(of_all.consumer("nobody")).is_err());
}

/// Starts a consumer `native` of topic `in` whose handler writes records as a saga's, which `records` makes of the event's id.
fn write_records(bus: &Blocking, records: impl Fn(&str) -> Vec<(String, Value)> + Send + Sync + 'static) {
    bus.create_topic("in", TopicConfig::new(1)).unwrap();
    let handler = handler_fn(move |delivery, context| {
        for (id, record) in records(delivery.event.id()) {
            context.set(format!("saga/{id}").as_bytes(), record.to_string().as_bytes())?;
        }
        Ok(())
    });
    bus.subscribe("native", ConsumerConfig::new(["in"]), handler).unwrap();
}

#[test]
fn a_list_finds_what_lies_behind_thousands_of_others() {
    const SAGAS: usize = 2500;
    const EACH: usize = 500;
    let house = House::new();
    let bus = house.open();
    write_records(&bus, |delivery| {
        let first: usize = delivery.parse().unwrap();
        let record = |at| {
            let state = if at == SAGAS - 1 { "stuck" } else { "running" };
            let record = json!({ "version": 1, "state": state, "step": "pay", "began": 0, "since": 0 });
            (format!("{at:05}"), record)
        };
        (first..first + EACH).map(record).collect()
    });
    for first in (0..SAGAS).step_by(EACH) {
        publish(&bus, "in", &first.to_string(), "k");
    }
    caught_up(&bus, "native");
    let list = |query: SagaQuery| -> Vec<String> {
        bus.sagas(query).unwrap().into_iter().map(|saga| saga.id).collect()
    };
    assert_eq!(list(SagaQuery::default().state(SagaState::Stuck)), ["02499"]);
    let first = list(SagaQuery::default().limit(9));
    assert_eq!((first.len(), &*first[0]), (9, "02499"));
}

#[test]
fn a_saga_that_is_stuck_at_a_step_it_has_asked_for_can_be_compensated_and_one_that_is_undoing_it_not() {
    let house = House::new();
    let bus = house.open();
    write_records(&bus, |_| {
        let record = |status: &str| {
            let step = json!({ "name": "pay", "status": status, "commands": 1, "compensations": 0 });
            json!({
                "version": 1, "saga": "orders", "state": "stuck", "step": "pay", "began": 0, "since": 0, "attempt": 1,
                "steps": [step], "data": {}, "history": [], "history_dropped": 0,
            })
        };
        ["asked", "compensating"].map(|status| (status.to_owned(), record(status))).into()
    });
    publish(&bus, "in", "1", "k");
    caught_up(&bus, "native");
    bus.compensate_saga("native", "asked").unwrap();
    let refused = bus.compensate_saga("native", "compensating");
    assert!(
        matches!(refused, Err(SagaError::CompensatedAlready { state: SagaState::Stuck, .. })),
        "{refused:?}"
    );
}

#[test]
fn the_command_line_lists_sagas_shows_them_and_tells_them_what_to_do() {
    let directory = Directory::new(
        "[topics]\norders = {}\noutcomes = {}\norder-results = {}\norder-saga = {}\nstock = {}\npayments = {}\nshipping = {}\n\
         [consumers.order-saga]\nplugin = \"saga.wasm\"\ntopics = [\"orders\", \"order-saga\", \"outcomes\"]\n\
         grants = { publish = [\"order-results\", \"order-saga\", \"payments\", \"shipping\", \"stock\"], state = true }\n",
    );
    directory.put("saga.wasm", &std::fs::read(component("order_saga.wasm")).unwrap());
    let running = directory.serve();
    let tell = |topic: &str, event: &Event| {
        assert_eq!(directory.run_with(&["publish", topic, "-"], &event.to_json()).code, 0);
    };
    tell("orders", &placed("17"));
    tell("outcomes", &outcome("17", "StockReserved.v1"));
    directory.until_handled(SAGA, 2);
    let listed = directory.done(&["sagas", "list"]);
    for word in ["SAGA", "IN STEP", "17", "running", "take-payment"] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    assert_eq!(directory.json(&["sagas", "list", SAGA, "--state", "running"])[0]["id"], "17");
    for none in [&["--stuck"][..], &["--older-than", "1h"], &["--state", "completed"]] {
        let out = directory.done(&[&["sagas", "list"], none].concat());
        assert!(out.contains("no sagas there"), "{none:?}: {out}");
    }
    let told = directory.done(&["sagas", "retry", SAGA, "17"]);
    assert!(told.contains("`17` asks again"), "{told}");
    directory.until_handled(SAGA, 3);
    assert_eq!(directory.json(&["read", "payments"]).len(), 2);
    running.end();
    // Without a process the word is kept until there is one.
    directory.done(&["sagas", "compensate", SAGA, "17"]);
    let running = directory.serve();
    directory.until_handled(SAGA, 4);
    let shown = directory.done(&["sagas", "show", SAGA, "17"]);
    for words in
        ["compensating at step take-payment", "why: an operator", "\"total_cents\":995", "operator-retried"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let json = directory.json(&["sagas", "show", SAGA, "17"]).remove(0);
    assert_eq!(json["data"]["product"], "product of 17");
    assert_eq!(json["steps"][2]["status"], "compensating");
    for event in ["PaymentRefunded.v1", "StockReleased.v1"] {
        tell("outcomes", &outcome("17", event));
    }
    directory.until_handled(SAGA, 6);
    assert_eq!(directory.json(&["sagas", "list"])[0]["state"], "compensated");
    let resolved = directory.run(&["sagas", "resolve", SAGA, "17"]);
    assert!(resolved.code == 1 && resolved.err.contains("has ended: it is compensated"), "{resolved:?}");
    let ended = directory.run(&["sagas", "retry", SAGA, "17"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("has ended: it is compensated"), "{ended:?}");
    assert!(directory.run(&["sagas", "show", SAGA, "18"]).err.contains("has no saga `18`"));

    let told = directory.done(&["timers", "set", SAGA, "18", "later", "--in", "1h", "--data", "{\"a\": 1}"]);
    assert!(told.contains("`later` of key `18` is set"), "{told}");
    directory.done(&["timers", "set", SAGA, "18", "later", "--at", "2999-01-01T00:00:00Z"]);
    let timers = directory.json(&["timers", "list", SAGA, "--key", "18"]);
    assert_eq!((timers.len(), timers[0]["due"].as_str().unwrap().get(..4)), (1, Some("2999")));
    directory.done(&["timers", "cancel", SAGA, "18", "later"]);
    running.end();
}
