//! A relay to an HTTP endpoint: what arrives there, how often, in which order, and what becomes of what doesn't.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::json;
use tidegate::config::{
    ConsumerConfig, ContentMode, HttpRelayConfig, RetryPolicy, Secret, TlsConfig, TopicConfig,
};
use tidegate::{
    Blocking, Clock, Context, Data, Delivery, Event, Failure, FailureKind, Handler, HttpRelay, RelayError,
    Timestamp,
};

use crate::cli_process::Directory;
use crate::endpoint::{Answer, Certificate, Endpoint, Received};
use crate::house::{House, START, at_once, caught_up, consumer, handled, letters, publish, topic};
use crate::samples::{attributes, attributes_of_headers, events_of_all_kinds, pairs};

/// A bus with topic `in` of one partition, and a relay on the house's clock as consumer `c`.
fn relaying(house: &House, consumer: ConsumerConfig, config: HttpRelayConfig) -> Blocking {
    let bus = house.open();
    topic(&bus, "in");
    let relay = HttpRelay::new(config).unwrap().clock(Arc::clone(&house.clock) as Arc<dyn Clock>);
    bus.subscribe("c", consumer, relay).unwrap();
    bus
}

fn to(endpoint: &Endpoint) -> HttpRelayConfig {
    HttpRelayConfig::new(endpoint.url())
}

/// Retries that follow each other quickly and don't come to an end.
fn tireless() -> ConsumerConfig {
    let (base, max) = (Duration::from_millis(1), Duration::from_millis(20));
    ConsumerConfig::new(["in"]).retry(RetryPolicy::patient().backoff(base, max))
}

fn key(received: &Received) -> &str {
    received.header("idempotency-key").unwrap()
}

/// When the only lane makes its next retry.
fn due(bus: &Blocking) -> Option<Timestamp> {
    consumer(bus, "c").lanes[0].next_retry
}

#[test]
fn every_event_arrives_in_binary_mode_with_all_its_attributes_and_its_data_to_the_byte() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([]));
    let bus = relaying(&house, tireless(), to(&endpoint));
    let events = events_of_all_kinds();
    for event in &events {
        bus.publish("in", event.clone()).unwrap();
    }
    caught_up(&bus, "c");
    let received = endpoint.received();
    assert_eq!(handled(&bus, "c"), events.len() as u64);
    for event in &events {
        let request = received.iter().find(|received| received.id() == encoded(event.id())).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/events"));
        assert_eq!(attributes_of_headers(pairs(&request.headers)), attributes(event));
        assert_eq!(request.body, event.data().map_or(&[][..], Data::as_bytes), "{}", event.id());
        let implied = matches!(event.data(), Some(Data::Json(_))).then_some("application/json");
        assert_eq!(request.header("content-type"), event.datacontenttype().or(implied), "{}", event.id());
    }
}

fn encoded(id: &str) -> String {
    id.replace('%', "%25").replace(' ', "%20")
}

#[test]
fn every_event_arrives_in_structured_mode_as_its_json() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([]));
    let bus = relaying(&house, tireless(), to(&endpoint).mode(ContentMode::Structured));
    let events = events_of_all_kinds();
    for event in &events {
        bus.publish("in", event.clone()).unwrap();
    }
    caught_up(&bus, "c");
    let mut expected: Vec<_> = events.iter().map(|event| event.to_json().into_bytes()).collect();
    let mut found = Vec::new();
    for request in endpoint.received() {
        assert_eq!(request.header("content-type"), Some("application/cloudevents+json; charset=UTF-8"));
        assert!(Event::from_json(&request.body, 1 << 20).is_ok());
        found.push(request.body);
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_failing_endpoint_holds_a_key_and_is_retried_in_its_order_with_the_same_idempotency_key() {
    let house = House::new();
    let failures = AtomicUsize::new(0);
    let endpoint = Endpoint::start(move |received| {
        let fails = received.id() == "a1" && failures.fetch_add(1, Ordering::SeqCst) < 3;
        Answer::Status(if fails { 503 } else { 202 })
    });
    let bus = house.open();
    topic(&bus, "in");
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        publish(&bus, "in", id, key);
    }
    let relay = HttpRelay::new(to(&endpoint)).unwrap().clock(Arc::clone(&house.clock) as Arc<dyn Clock>);
    // The clock stands still, so nothing is retried until the other key has gone on.
    let later = RetryPolicy::default().backoff(Duration::from_secs(1), Duration::from_secs(1));
    bus.subscribe("c", ConsumerConfig::new(["in"]).retry(later), relay).unwrap();
    house.settles(|| endpoint.ids().len() >= 3);
    house.until(|| handled(&bus, "c") == 4);
    assert_eq!(endpoint.ids(), ["a1", "b1", "b2", "a1", "a1", "a1", "a2"]);
    let received = endpoint.received();
    let keys: Vec<_> = received.iter().filter(|received| received.id() == "a1").map(key).collect();
    assert!(keys.iter().all(|other| *other == keys[0]), "{keys:?}");
    let different: std::collections::BTreeSet<_> = received.iter().map(key).collect();
    assert_eq!(different.len(), 4);
    // A structured field of the type string: 64 hexadecimal digits in quotes.
    assert!(keys[0].len() == 66 && keys[0].starts_with('"'), "{keys:?}");
}

#[test]
fn a_servers_retry_after_is_obeyed_beyond_the_backoffs_maximum() {
    let date = |seconds: u32| {
        let headers = vec![
            ("date", "Wed, 01 Jan 2020 00:00:00 GMT".to_owned()),
            ("retry-after", format!("Wed, 01 Jan 2020 {:02}:00:{:02} GMT", seconds / 3600, seconds % 60)),
        ];
        Answer::Full(503, headers, String::new())
    };
    let seconds = |text: &str| Answer::Full(503, vec![("retry-after", text.to_owned())], String::new());
    for (answer, wait) in [(seconds("3600"), 3600), (date(7200), 7200), (seconds("999999999"), 86_400)] {
        let (house, endpoint) = (House::new(), Endpoint::scripted([answer]));
        let bus = relaying(&house, at_once(), to(&endpoint));
        publish(&bus, "in", "a", "k");
        house.settles(|| due(&bus).is_some());
        assert_eq!(due(&bus), Some(START.after(Duration::from_secs(wait))));
        house.clock.advance_to(START.after(Duration::from_secs(wait)).before(Duration::from_micros(1)));
        assert_eq!((endpoint.ids().len(), handled(&bus, "c")), (1, 0), "not a moment earlier");
        house.clock.advance(Duration::from_micros(1));
        caught_up(&bus, "c");
        assert_eq!((endpoint.ids().len(), handled(&bus, "c")), (2, 1));
    }
}

#[test]
fn an_endpoint_that_has_too_many_requests_is_sent_no_other_event_before_it_wants_one() {
    let house = House::new();
    let busy = Answer::Full(429, vec![("retry-after", "3600".to_owned())], String::new());
    let endpoint = Endpoint::scripted([busy]);
    let bus = relaying(&house, at_once(), to(&endpoint));
    publish(&bus, "in", "a", "k");
    house.settles(|| due(&bus).is_some());
    publish(&bus, "in", "b", "l");
    house.settles(|| consumer(&bus, "c").held == 2);
    assert_eq!(endpoint.ids(), ["a"]);
    assert_eq!(due(&bus), Some(START.after(Duration::from_hours(1))));
    house.clock.advance(Duration::from_hours(1));
    caught_up(&bus, "c");
    assert_eq!(endpoint.ids(), ["a", "a", "b"]);
}

#[test]
fn an_endpoint_that_is_gone_is_sent_nothing_more_and_nothing_is_lost() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([Answer::Status(410)]));
    let bus = relaying(&house, at_once(), to(&endpoint));
    publish(&bus, "in", "a", "k");
    publish(&bus, "in", "b", "l");
    house.settles(|| consumer(&bus, "c").held == 1 && letters(&bus, "c").len() == 1);
    let letter = &letters(&bus, "c")[0];
    assert_eq!((letter.reason.kind, letter.reason.code.as_str()), (FailureKind::Permanent, "http-410"));
    house.clock.advance(Duration::from_hours(1));
    house.settles(|| consumer(&bus, "c").counts.retries == 2);
    assert_eq!(endpoint.ids(), ["a"]);
    // Started again, the relay asks again.
    bus.unsubscribe("c").unwrap();
    bus.subscribe("c", at_once(), HttpRelay::new(to(&endpoint)).unwrap()).unwrap();
    house.clock.advance(Duration::from_hours(1));
    caught_up(&bus, "c");
    assert_eq!(endpoint.ids(), ["a", "b"]);
}

#[test]
fn what_waits_for_an_endpoint_that_is_gone_is_a_dead_letter_after_a_day() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([Answer::Status(410)]));
    let bus = relaying(&house, tireless(), to(&endpoint));
    publish(&bus, "in", "a", "k");
    publish(&bus, "in", "b", "l");
    house.settles(|| consumer(&bus, "c").held == 1 && letters(&bus, "c").len() == 1);
    for hour in 1..=24 {
        assert_eq!(letters(&bus, "c").len(), 1, "hour {hour}");
        let next = START.after(Duration::from_hours(hour));
        house.settles(|| due(&bus) == Some(next));
        house.clock.advance_to(next);
    }
    house.settles(|| consumer(&bus, "c").held == 0);
    let letters = letters(&bus, "c");
    assert_eq!((letters.len(), letters[1].reason.code.as_str()), (2, "http-gone"));
    assert_eq!(letters[1].attempts.len(), 25);
    assert_eq!(endpoint.ids(), ["a"]);
}

#[test]
fn what_an_endpoint_refuses_is_a_dead_letter_at_once_with_what_it_said() {
    for (status, headers, code, told) in [
        (422, vec![], "http-422", "422 Unprocessable Entity: no such customer"),
        (404, vec![], "http-404", "404 Not Found: no such customer"),
        (308, vec![("location", "http://elsewhere/".to_owned())], "http-308", "to http://elsewhere/"),
    ] {
        let refusal = Answer::Full(status, headers, "no such customer".to_owned());
        let (house, endpoint) = (House::new(), Endpoint::scripted([refusal]));
        let bus = relaying(&house, at_once(), to(&endpoint));
        publish(&bus, "in", "a", "k");
        publish(&bus, "in", "b", "k");
        caught_up(&bus, "c");
        assert_eq!(endpoint.ids(), ["a", "b"], "it isn't sent again, and a redirect isn't followed");
        let letters = letters(&bus, "c");
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!((letter.reason.kind, letter.reason.code.as_str()), (FailureKind::Permanent, code));
        assert!(letter.reason.message.contains(told), "{}", letter.reason);
        assert_eq!((letter.version.name.as_str(), letter.attempts.len()), ("http-relay", 1));
    }
}

#[test]
fn an_endpoint_that_does_not_answer_in_time_is_tried_again() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([Answer::Never]));
    let bus = relaying(&house, tireless(), to(&endpoint).timeout(Duration::from_secs(3)));
    publish(&bus, "in", "a", "k");
    house.settles(|| endpoint.ids().len() == 1);
    house.clock.advance(Duration::from_secs(3));
    house.until(|| handled(&bus, "c") == 1);
    assert_eq!(endpoint.ids(), ["a", "a"]);
}

#[test]
fn an_event_is_handed_on_by_the_status_even_if_the_answers_body_does_not_end() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([Answer::Open(200)]));
    let bus = relaying(&house, tireless(), to(&endpoint).timeout(Duration::from_mins(2)));
    publish(&bus, "in", "a", "k");
    publish(&bus, "in", "b", "k");
    house.until(|| handled(&bus, "c") == 2);
    assert_eq!(endpoint.ids(), ["a", "b"]);
    assert_eq!(endpoint.connections(), 2, "the connection whose answer doesn't end isn't used again");
}

/// A relay that counts the events that it was given.
struct Counted {
    relay: HttpRelay,
    begun: Arc<AtomicUsize>,
}

impl Handler for Counted {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.relay.handle(delivery, context).await
    }
}

/// A bus whose consumer `c` has a lane for each of 8 partitions and one connection, with 64 events. Returns it once all
/// lanes have one, and the endpoint one request.
fn crowded(house: &House, endpoint: &Endpoint, consumer: ConsumerConfig) -> Blocking {
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(8)).unwrap();
    for n in 0..64 {
        publish(&bus, "in", &n.to_string(), &n.to_string());
    }
    let config = to(endpoint).connections(1).timeout(Duration::from_secs(3));
    let relay = HttpRelay::new(config).unwrap().clock(Arc::clone(&house.clock) as Arc<dyn Clock>);
    let begun = Arc::new(AtomicUsize::new(0));
    bus.subscribe("c", consumer, Counted { relay, begun: Arc::clone(&begun) }).unwrap();
    house.settles(|| begun.load(Ordering::SeqCst) >= 8);
    bus
}

#[test]
fn lanes_that_wait_for_a_connection_send_nothing_to_an_endpoint_that_is_gone_meanwhile() {
    let house = House::new();
    let (answer, go) = mpsc::sync_channel(1);
    let go = Mutex::new(go);
    let endpoint = Endpoint::start(move |_| go.lock().unwrap().recv().unwrap_or(Answer::Status(410)));
    let bus = crowded(&house, &endpoint, at_once());
    answer.send(Answer::Status(410)).unwrap();
    drop(answer);
    house.settles(|| consumer(&bus, "c").held + letters(&bus, "c").len() as u64 == 64);
    assert_eq!((endpoint.ids().len(), letters(&bus, "c").len()), (1, 1));
}

#[test]
fn a_lane_waits_no_longer_for_a_connection_than_for_an_answer() {
    let (house, endpoint) = (House::new(), Endpoint::start(|_| Answer::Never));
    let once = ConsumerConfig::new(["in"]).retry(RetryPolicy::default().attempts(1));
    let bus = crowded(&house, &endpoint, once);
    house.until(|| letters(&bus, "c").len() >= 8);
    let letters = letters(&bus, "c");
    let busy = letters.iter().find(|letter| letter.reason.code == "http-busy");
    let busy = &busy.unwrap_or_else(|| panic!("{letters:?}")).reason;
    assert!(busy.kind == FailureKind::Transient && busy.message.contains("nothing was sent"), "{busy}");
}

#[test]
fn everything_arrives_in_the_order_of_its_key_once_an_endpoint_is_back() {
    let house = House::new();
    let first = Endpoint::scripted([]);
    let port = first.port();
    let bus = relaying(&house, tireless(), to(&first));
    publish(&bus, "in", "k0-0", "k0");
    caught_up(&bus, "c");
    drop(first);
    for n in 1..20 {
        publish(&bus, "in", &format!("k{}-{n}", n % 3), &format!("k{}", n % 3));
    }
    house.until(|| consumer(&bus, "c").counts.retries >= 5);
    let second = Endpoint::start_on(port, None, |_| Answer::Status(200));
    house.until(|| handled(&bus, "c") == 20);
    let mut of_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for id in second.ids() {
        let (key, n) = id.split_once('-').unwrap();
        of_key.entry(key.to_owned()).or_default().push(n.parse().unwrap());
    }
    assert_eq!(of_key.values().map(Vec::len).sum::<usize>(), 19);
    assert!(of_key.values().all(|numbers| numbers.is_sorted()), "{of_key:?}");
    assert!(letters(&bus, "c").is_empty());
}

#[test]
fn connections_are_kept_and_bounded() {
    let (house, endpoint) = (House::new(), Endpoint::scripted([]));
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(8)).unwrap();
    for n in 0..200 {
        publish(&bus, "in", &n.to_string(), &n.to_string());
    }
    let relay = HttpRelay::new(to(&endpoint).connections(2)).unwrap();
    bus.subscribe("c", tireless(), relay).unwrap();
    caught_up(&bus, "c");
    assert_eq!(endpoint.received().len(), 200);
    let (made, most) = (endpoint.connections(), endpoint.under_way_most());
    assert!(made <= 4 && most <= 2, "{made} connections, {most} requests under way");
}

/// What a server answers that has moved: the query goes along.
fn redirect(received: &Received) -> Answer {
    let location = format!("https://user:hunter2@elsewhere{}", received.path);
    Answer::Full(308, vec![("location", location)], String::new())
}

#[test]
fn headers_of_its_own_are_sent_and_shown_nowhere() {
    let (house, endpoint) = (House::new(), Endpoint::start(redirect));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "hunter2\n").unwrap();
    let config = HttpRelayConfig::new(format!("{}?access_token=hunter2", endpoint.url()))
        .header("X-Token", Secret::File(file))
        .header("Authorization", "Bearer hunter2");
    assert!(!format!("{config:?}{:?}", HttpRelay::new(config.clone()).unwrap()).contains("hunter2"));
    let bus = relaying(&house, at_once(), config);
    publish(&bus, "in", "a", "k");
    caught_up(&bus, "c");
    let received = &endpoint.received()[0];
    assert_eq!(received.header("authorization"), Some("Bearer hunter2"));
    assert_eq!(received.header("x-token"), Some("hunter2"));
    assert_eq!(received.path, "/events?access_token=hunter2");
    assert!(received.header("user-agent").unwrap().starts_with("tidegate/"));
    let letters = format!("{:?}", letters(&bus, "c"));
    assert!(letters.contains("https://elsewhere/events?..") && !letters.contains("hunter2"), "{letters}");
}

#[test]
fn an_endpoint_is_spoken_to_by_tls_if_its_certificate_is_trusted() {
    let (house, certificate) = (House::new(), Certificate::new());
    let endpoint = Endpoint::start_on(0, Some(certificate.acceptor()), |_| Answer::Status(204));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &certificate.certificate).unwrap();
    let bus = relaying(&house, at_once(), to(&endpoint).tls(TlsConfig::default().ca(&ca)));
    publish(&bus, "in", "a", "k");
    caught_up(&bus, "c");
    assert_eq!(endpoint.ids(), ["a"]);

    std::fs::write(&ca, Certificate::new().certificate).unwrap();
    let stranger = HttpRelay::new(to(&endpoint).tls(TlsConfig::default().ca(&ca))).unwrap();
    let once = ConsumerConfig::new(["in"]).retry(RetryPolicy::default().attempts(1));
    bus.subscribe("d", once, stranger).unwrap();
    caught_up(&bus, "d");
    let letter = &letters(&bus, "d")[0];
    assert!(
        letter.reason.code == "http-connect" && letter.reason.message.contains("certificate"),
        "{}",
        letter.reason
    );
    assert_eq!(endpoint.ids(), ["a"]);
}

#[test]
fn a_relay_that_cannot_be_made_says_why() {
    let missing =
        HttpRelayConfig::new("http://localhost/").header("A", Secret::Env("TIDEGATE_NOT_SET".to_owned()));
    let refused = HttpRelay::new(missing).unwrap_err();
    assert!(matches!(&refused, RelayError::Secret { setting, .. } if setting == "headers.A"), "{refused}");
    let two_lines = HttpRelayConfig::new("http://localhost/").header("A", "a\nb");
    let refused = HttpRelay::new(two_lines).unwrap_err().to_string();
    assert!(refused.contains("`headers.A`") && refused.contains("one line"), "{refused}");
    assert!(matches!(HttpRelay::new(HttpRelayConfig::new("x")), Err(RelayError::Config(_))));
}

fn configuration(endpoint: &Endpoint, more: &str) -> String {
    let url = endpoint.url();
    format!(
        "[topics.in]
        partitions = 1
        [consumers.hook]
        topics = ['in']
        retry = {{ base = '1ms', max = '2ms' }}
        [consumers.hook.http]
        url = '{url}'
        {more}"
    )
}

#[test]
fn a_configured_relay_runs_is_shown_and_takes_changes_over_while_the_bus_runs() {
    let (first, second) = (Endpoint::scripted([]), Endpoint::scripted([]));
    let secret = "headers = { Authorization = { file = 'token' } }";
    let directory = Directory::new(&configuration(&first, secret));
    directory.put("token", b"one\n");
    let running = directory.serve();
    directory.publish("in", &[("a", "k")], "{}");
    directory.until_handled("hook", 1);
    let status = directory.consumer("hook");
    assert_eq!((&status["kind"], &status["target"]), (&json!("http"), &json!(first.url())));
    assert_eq!(status["version"]["name"], "http-relay");
    assert!(directory.done(&["consumers"]).contains("http relay"));
    let shown = directory.done(&["consumers", "show", "hook"]);
    assert!(shown.contains("http relay") && shown.contains(&first.url()), "{shown}");

    directory.put("token", b"two\n");
    directory.until("the new token", || directory.log().contains("the relay uses the file's new content"));
    directory.publish("in", &[("b", "k")], "{}");
    directory.until_handled("hook", 2);
    let tokens: Vec<_> = first
        .received()
        .iter()
        .map(|received| received.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(tokens, ["one", "two"]);

    directory.configure(&configuration(&second, "mode = 'structured'"));
    directory.until("the change", || directory.consumer("hook")["target"] == json!(second.url()));
    directory.publish("in", &[("c", "k")], "{}");
    directory.until_handled("hook", 3);
    assert_eq!((first.received().len(), second.received().len()), (2, 1));
    assert!(String::from_utf8_lossy(&second.received()[0].body).contains(r#""id":"c""#));
    assert_eq!(running.end().0, 0);
    assert!(!directory.log().contains("two"), "no secret is logged");
}

#[test]
fn a_configured_relay_without_its_secret_is_refused_until_the_secret_is_there() {
    let endpoint = Endpoint::scripted([]);
    let directory = Directory::new(&configuration(&endpoint, "headers = { A = { file = 'token' } }"));
    let running = directory.serve();
    let log = directory.log();
    assert!(log.contains("consumer `hook`") && log.contains("headers.A") && log.contains("token"), "{log}");
    directory.put("token", b"one");
    directory.until("the consumer", || directory.json(&["consumers"]).len() == 1);
    directory.publish("in", &[("a", "k")], "{}");
    directory.until_handled("hook", 1);
    assert_eq!(endpoint.received()[0].header("a"), Some("one"));
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_consumer_goes_over_from_a_plugin_to_a_relay_and_back_where_it_stands() {
    let endpoint = Endpoint::scripted([]);
    let plugin = "
        [topics.in]
        partitions = 1
        [consumers.hook]
        plugin = 'counter.wasm'
        topics = ['in']
        grants = { state = true }";
    let directory = Directory::new(plugin);
    directory.put_guest("counter", "counter.wasm");
    let running = directory.serve();
    directory.publish("in", &[("a", "k")], "null");
    directory.until_handled("hook", 1);
    directory.configure(&configuration(&endpoint, ""));
    directory.until("the relay", || directory.consumer("hook")["kind"] == "http");
    directory.publish("in", &[("b", "k")], "null");
    directory.until_handled("hook", 2);
    directory.configure(plugin);
    directory.until("the plugin", || directory.consumer("hook")["kind"] == "plugin");
    directory.publish("in", &[("c", "k")], "null");
    directory.until_handled("hook", 3);
    assert_eq!(endpoint.ids(), ["b"]);
    assert_eq!(running.end().0, 0);
}
