//! A relay to NATS `JetStream`: what arrives in the stream, once and in order, and what becomes of what doesn't.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::ConnectOptions;
use serde_json::json;
use tidegate::config::{
    ConsumerConfig, ContentMode, NatsAuth, NatsRelayConfig, RetryPolicy, Secret, TlsConfig, TopicConfig,
};
use tidegate::{
    Blocking, Clock, Context, Data, Delivery, Event, Failure, FailureKind, Handler, NatsRelay, RelayError,
};

use tokio::sync::Semaphore;

use crate::cli_process::Directory;
use crate::endpoint::Certificate;
use crate::house::{House, at_once, caught_up, consumer, event_with, handled, letters, publish, topic};
use crate::nats_server::{NatsServer, Stored};
use crate::samples::{attributes, attributes_of_headers, events_of_all_kinds};

fn tireless() -> ConsumerConfig {
    let (base, max) = (Duration::from_millis(1), Duration::from_millis(20));
    ConsumerConfig::new(["in"]).retry(RetryPolicy::patient().backoff(base, max))
}

/// Retries that real time doesn't run ahead of: each look of `House::until` is a millisecond.
fn slow() -> ConsumerConfig {
    let wait = Duration::from_secs(2);
    ConsumerConfig::new(["in"]).retry(RetryPolicy::patient().backoff(wait, wait))
}

fn to(server: &NatsServer) -> NatsRelayConfig {
    NatsRelayConfig::new([server.url()]).subject("shop.{topic}.{key}")
}

fn relay(house: &House, config: NatsRelayConfig) -> NatsRelay {
    NatsRelay::new(config).unwrap().clock(Arc::clone(&house.clock) as Arc<dyn Clock>)
}

/// A bus with topic `in` of one partition, and a relay on the house's clock as consumer `c`.
fn relaying(house: &House, consumer: ConsumerConfig, config: NatsRelayConfig) -> Blocking {
    let bus = house.open();
    topic(&bus, "in");
    bus.subscribe("c", consumer, relay(house, config)).unwrap();
    bus
}

fn id(stored: &Stored) -> String {
    Event::from_json(&stored.payload, 1 << 20).unwrap().id().to_owned()
}

fn ids(server: &NatsServer) -> Vec<String> {
    server.stored("SHOP").iter().map(id).collect()
}

/// The code of the last failed attempt at the first held event.
fn last_code(bus: &Blocking) -> Option<String> {
    letters(bus, "c").first().map(|letter| letter.reason.code.clone())
}

#[test]
fn every_event_arrives_in_the_stream_as_its_json() {
    let Some(server) = NatsServer::start() else { return };
    server.make_stream("SHOP", &["shop.>"], &json!({}));
    let house = House::new();
    let bus = relaying(&house, tireless(), to(&server).stream("SHOP"));
    let events = events_of_all_kinds();
    for event in &events {
        bus.publish("in", event.clone()).unwrap();
    }
    caught_up(&bus, "c");
    let stored = server.stored("SHOP");
    assert_eq!(stored.len(), events.len());
    for (event, stored) in events.iter().zip(&stored) {
        assert_eq!(stored.payload, event.to_json().into_bytes());
        assert_eq!(stored.header("Content-Type"), Some("application/cloudevents+json; charset=UTF-8"));
        assert_eq!(stored.header("Nats-Msg-Id").map(str::len), Some(64));
    }
    assert_eq!(stored[0].subject, "shop.in.key%207");
}

#[test]
fn every_event_arrives_in_binary_mode_with_all_its_attributes_and_its_data_to_the_byte() {
    let Some(server) = NatsServer::start() else { return };
    server.make_stream("SHOP", &["shop.>"], &json!({}));
    let house = House::new();
    let bus = relaying(&house, tireless(), to(&server).mode(ContentMode::Binary));
    let events = events_of_all_kinds();
    for event in &events {
        bus.publish("in", event.clone()).unwrap();
    }
    caught_up(&bus, "c");
    for (event, stored) in events.iter().zip(&server.stored("SHOP")) {
        let mut expected = attributes(event);
        let implied = matches!(event.data(), Some(Data::Json(_))).then_some("application/json");
        if let Some(media_type) = event.datacontenttype().or(implied) {
            expected.push(("datacontenttype".to_owned(), media_type.to_owned()));
            expected.sort();
        }
        let headers = stored.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(attributes_of_headers(headers), expected);
        assert_eq!(stored.payload, event.data().map_or(&[][..], Data::as_bytes), "{}", event.id());
        assert_eq!(stored.header("Content-Type"), None);
    }
}

#[test]
fn events_of_two_topics_with_the_same_source_and_id_are_both_in_the_stream() {
    let Some(server) = NatsServer::start() else { return };
    server.make_stream("SHOP", &["orders", "audit"], &json!({}));
    let house = House::new();
    let bus = house.open();
    for topic in ["orders", "audit"] {
        bus.create_topic(topic, TopicConfig::new(1)).unwrap();
        publish(&bus, topic, "a", "k");
    }
    let both = ConsumerConfig::new(["orders", "audit"]);
    bus.subscribe("c", both, relay(&house, NatsRelayConfig::new([server.url()]))).unwrap();
    caught_up(&bus, "c");
    let mut subjects: Vec<_> = server.stored("SHOP").into_iter().map(|stored| stored.subject).collect();
    subjects.sort();
    assert_eq!(subjects, ["audit", "orders"]);
}

/// A relay that counts what was acknowledged, and begins when it is let.
struct Counted {
    relay: NatsRelay,
    acknowledged: Arc<AtomicUsize>,
    turns: Arc<Semaphore>,
}

impl Handler for Counted {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let _turn = self.turns.acquire().await.unwrap();
        let outcome = self.relay.handle(delivery, context).await;
        if outcome.is_ok() {
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        outcome
    }
}

#[test]
fn what_is_handed_on_again_after_a_crash_is_in_the_stream_once() {
    let Some(server) = NatsServer::start() else { return };
    server.make_stream("SHOP", &["shop.>"], &json!({}));
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    for (id, key) in [("a", "k"), ("b", "k"), ("c", "l")] {
        publish(&bus, "in", id, key);
    }
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(Semaphore::new(0));
    let counted = || Counted {
        relay: relay(&house, to(&server)),
        acknowledged: Arc::clone(&acknowledged),
        turns: Arc::clone(&turns),
    };
    bus.subscribe("c", at_once(), counted()).unwrap();
    // From here on no commit of the lane reaches the disk.
    house.disk.fail_syncs(true);
    turns.add_permits(1);
    house.settles(|| acknowledged.load(Ordering::SeqCst) >= 3);
    house.disk.cut_power();
    drop(bus);
    let before = acknowledged.load(Ordering::SeqCst);
    house.disk.fail_syncs(false);
    let bus = house.open();
    assert_eq!(handled(&bus, "c"), 0, "the crash was between acknowledgement and commit");
    bus.subscribe("c", at_once(), counted()).unwrap();
    caught_up(&bus, "c");
    assert!(acknowledged.load(Ordering::SeqCst) >= before + 3);
    assert_eq!(ids(&server), ["a", "b", "c"]);
}

#[test]
fn everything_is_in_the_stream_once_and_in_order_after_the_server_was_killed() {
    let Some(mut server) = NatsServer::start() else { return };
    server.make_stream("SHOP", &["shop.>"], &json!({}));
    let house = House::new();
    let bus = relaying(&house, slow(), to(&server).timeout(Duration::from_secs(1)));
    publish(&bus, "in", "k0-0", "k0");
    caught_up(&bus, "c");
    server.kill();
    for n in 1..30 {
        publish(&bus, "in", &format!("k{}-{n}", n % 3), &format!("k{}", n % 3));
    }
    house.until(|| consumer(&bus, "c").counts.retries >= 3);
    server.begin();
    house.until(|| handled(&bus, "c") == 30);
    let mut of_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for id in ids(&server) {
        let (key, n) = id.split_once('-').unwrap();
        of_key.entry(key.to_owned()).or_default().push(n.parse().unwrap());
    }
    assert_eq!(of_key.values().map(Vec::len).sum::<usize>(), 30);
    assert!(of_key.values().all(|numbers| numbers.is_sorted()), "{of_key:?}");
    assert!(letters(&bus, "c").is_empty());
}

#[test]
fn what_no_stream_takes_is_tried_again_until_one_does() {
    let Some(server) = NatsServer::start() else { return };
    let house = House::new();
    let bus = relaying(&house, tireless(), to(&server));
    publish(&bus, "in", "a", "k");
    publish(&bus, "in", "b", "k");
    house.until(|| consumer(&bus, "c").counts.retries >= 3);
    server.make_stream("SHOP", &["shop.>"], &json!({}));
    house.until(|| handled(&bus, "c") == 2);
    assert_eq!(ids(&server), ["a", "b"]);
}

#[test]
fn what_no_attempt_will_bring_into_the_stream_is_a_dead_letter() {
    let Some(server) = NatsServer::start_with("max_payload: 32KB\n") else { return };
    server.make_stream("SHOP", &["shop.>"], &json!({ "max_msg_size": 8192 }));
    let house = House::new();
    let bus = relaying(&house, at_once(), to(&server));
    for (id, bytes) in [("huge", 40_000), ("large", 20_000), ("small", 10)] {
        bus.publish("in", event_with(id, id, &format!("\"{}\"", "x".repeat(bytes)))).unwrap();
    }
    bus.publish("in", event_with("long-key", &"k".repeat(2000), "1")).unwrap();
    caught_up(&bus, "c");
    assert_eq!(ids(&server), ["small"]);
    let codes: Vec<_> = letters(&bus, "c").iter().map(|letter| letter.reason.code.clone()).collect();
    assert_eq!(codes, ["nats-payload", "nats-10054", "nats-subject"]);
    assert!(letters(&bus, "c").iter().all(|letter| letter.reason.kind == FailureKind::Permanent));
}

#[test]
fn a_stream_that_is_not_the_one_that_was_meant_stores_nothing() {
    let Some(server) = NatsServer::start() else { return };
    server.make_stream("OTHER", &["shop.>"], &json!({}));
    let house = House::new();
    let once = ConsumerConfig::new(["in"]).retry(RetryPolicy::default().attempts(1));
    let bus = relaying(&house, once, to(&server).stream("SHOP"));
    publish(&bus, "in", "a", "k");
    caught_up(&bus, "c");
    assert_eq!(last_code(&bus).as_deref(), Some("nats-10060"));
    assert_eq!(letters(&bus, "c")[0].reason.kind, FailureKind::Transient);
    assert_eq!(server.count("OTHER"), 0);
}

#[test]
fn only_who_knows_the_password_gets_in_and_it_is_shown_nowhere() {
    let users = "authorization { users: [ { user: relay, password: hunter2 } ] }\n";
    let Some(server) = NatsServer::start_with(users) else { return };
    let known = || ConnectOptions::with_user_and_password("relay".to_owned(), "hunter2".to_owned());
    server.make_stream_as(known(), "SHOP", &["shop.>"], &json!({}));
    let house = House::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong-hunter2").unwrap();
    let config = to(&server)
        .auth(NatsAuth::Password { user: "relay".to_owned(), password: Secret::File(file.clone()) });
    let once = || ConsumerConfig::new(["in"]).retry(RetryPolicy::default().attempts(1));
    let bus = relaying(&house, once(), config.clone());
    publish(&bus, "in", "a", "k");
    caught_up(&bus, "c");
    let letter = &letters(&bus, "c")[0];
    assert_eq!(letter.reason.code, "nats-connect");
    assert!(letter.reason.message.contains("authorization violation"), "{}", letter.reason);
    std::fs::write(&file, "hunter2").unwrap();
    let relay = relay(&house, config);
    assert!(!format!("{relay:?}{:?}", letters(&bus, "c")).contains("hunter2"));
    bus.subscribe("d", once(), relay).unwrap();
    caught_up(&bus, "d");
    assert_eq!(server.stored_as(known, "SHOP").len(), 1);
}

#[test]
fn a_server_is_spoken_to_by_tls_if_its_certificate_is_trusted() {
    let certificate = Certificate::new();
    let folder = tempfile::tempdir().unwrap();
    let (ca, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&ca, &certificate.certificate).unwrap();
    std::fs::write(&key, &certificate.key).unwrap();
    let settings = format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n", ca.display(), key.display());
    let Some(server) = NatsServer::start_with(&settings) else { return };
    let trusting = || ConnectOptions::new().add_root_certificates(ca.clone()).require_tls(true);
    server.make_stream_as(trusting(), "SHOP", &["shop.>"], &json!({}));
    let house = House::new();
    let once = || ConsumerConfig::new(["in"]).retry(RetryPolicy::default().attempts(1));
    let config = || NatsRelayConfig::new([server.tls_url()]).subject("shop.{topic}");
    let bus = relaying(&house, once(), config().tls(TlsConfig::default().ca(&ca)));
    publish(&bus, "in", "a", "k");
    caught_up(&bus, "c");
    assert_eq!(server.stored_as(trusting, "SHOP").len(), 1);
    let other = folder.path().join("other.pem");
    std::fs::write(&other, Certificate::new().certificate).unwrap();
    bus.subscribe("d", once(), relay(&house, config().tls(TlsConfig::default().ca(&other)))).unwrap();
    caught_up(&bus, "d");
    assert_eq!(letters(&bus, "d")[0].reason.code, "nats-connect");
}

#[test]
fn a_relay_that_cannot_be_made_says_why() {
    let config = NatsRelayConfig::new(["nats://localhost"]);
    let refused =
        NatsRelay::new(config.clone().auth(NatsAuth::Credentials("no credentials".into()))).unwrap_err();
    assert!(matches!(&refused, RelayError::Unfit { setting, .. } if setting == "credentials"), "{refused}");
    let missing = NatsAuth::Token(Secret::Env("TIDEGATE_NOT_SET".to_owned()));
    let refused = NatsRelay::new(config.auth(missing)).unwrap_err();
    assert!(matches!(&refused, RelayError::Secret { setting, .. } if setting == "token"), "{refused}");
}

#[test]
fn a_configured_relay_runs_and_is_shown() {
    let Some(server) = NatsServer::start_with("authorization { token: hunter2 }\n") else { return };
    let known = || ConnectOptions::with_token("hunter2".to_owned());
    server.make_stream_as(known(), "SHOP", &["shop.>"], &json!({}));
    let url = server.url();
    let directory = Directory::new(&format!(
        "[topics.in]
        partitions = 2
        [consumers.stream]
        topics = ['in']
        [consumers.stream.nats]
        servers = ['{url}']
        subject = 'shop.{{topic}}.{{partition}}'
        stream = 'SHOP'
        token = {{ file = 'token' }}"
    ));
    directory.put("token", b"hunter2\n");
    let running = directory.serve();
    directory.publish("in", &[("a", "k"), ("b", "l"), ("c", "k")], "{}");
    directory.until_handled("stream", 3);
    let status = directory.consumer("stream");
    assert_eq!((&status["kind"], &status["version"]["name"]), (&json!("nats"), &json!("nats-relay")));
    let shown = directory.done(&["consumers", "show", "stream"]);
    assert!(shown.contains("nats relay") && shown.contains(&url), "{shown}");
    assert_eq!(server.stored_as(known, "SHOP").len(), 3);
    assert_eq!(running.end().0, 0);
    assert!(!directory.log().contains("hunter2"), "no secret is logged");
    assert!(server.folder().exists());
}
