//! Aggregates whose streams, commands or names are not as they should be.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::config::{AggregateConfig, ConsumerConfig, Retention, RetryPolicy, SchemaPolicy, TopicConfig};
use tidegate::schema::Schema;
use tidegate::{
    AdminError, Aggregate, AggregateError, AggregateProblem, At, Blocking, ConsumerError, Delivery, Event,
    ExecuteError, Fact, Failure, FailureKind, Outcome, Position, REJECTED, Rejection, handler_fn,
};

use crate::aggregates::{
    Scripted, WAIT, accepted, command, commands, execute, history, native, scripted, status, stream, topics,
};
use crate::house::{House, SHUTDOWN, START, all, caught_up, consumer, handled, letters};

/// The failure that a command was given up on for.
#[track_caller]
fn given_up(bus: &Blocking, command: Event) -> Failure {
    match bus.execute("accounts", command, WAIT) {
        Err(ExecuteError::GivenUp { failure, .. }) => *failure,
        other => panic!("{other:?}"),
    }
}

/// Something that somebody else has appended.
fn append(bus: &Blocking, id: &str, key: &str, text: &str) {
    let event = Event::new(id, "/elsewhere", "Other.v1").subject(key).json(&json!(text)).build();
    bus.publish("accounts", event.unwrap()).unwrap();
}

fn start(bus: &Blocking, aggregate: AggregateConfig) {
    bus.subscribe_aggregate("accounts", commands(), aggregate, Scripted).unwrap();
}

#[test]
fn a_stream_of_which_events_are_gone_says_so() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("account-commands", TopicConfig::new(1)).unwrap();
    let kept = |config: TopicConfig| bus.create_topic("accounts", config.sequence(true)).unwrap();
    kept(TopicConfig::new(1).retention(Retention::keep_for(Duration::from_secs(1))));
    for n in 0..3 {
        append(&bus, &format!("a{n}"), "all-gone", "");
        append(&bus, &format!("b{n}"), "begins-late", "");
    }
    house.clock.advance(Duration::from_mins(1));
    append(&bus, "b3", "begins-late", "");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(bus.bus().trim()).unwrap();
    assert_eq!(all(&bus, "accounts").len(), 1, "retention has taken the others");
    kept(TopicConfig::new(1));
    start(&bus, stream());
    for key in ["all-gone", "begins-late"] {
        let failure = given_up(&bus, scripted(key, key, &["A"]));
        assert_eq!(failure.code, "stream-gap", "{key}: {failure}");
        assert!(failure.message.contains(key) && failure.message.contains("`accounts`"), "{failure}");
        let shown = bus.aggregate("accounts", key);
        assert!(
            matches!(&shown, Err(AggregateError::Failed { failure, .. }) if failure.code == "stream-gap"),
            "{shown:?}"
        );
    }
    assert_eq!(accepted(&bus, scripted("other", "other", &["A"])), 1, "others go on");
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_stream_gets_no_retention_while_its_aggregate_runs() {
    let house = House::new();
    let bus = native(&house);
    let day = Retention::keep_for(Duration::from_hours(24));
    let refused = bus.create_topic("accounts", TopicConfig::new(1).sequence(true).retention(day));
    assert!(
        matches!(&refused, Err(AdminError::StreamRetention { topic, aggregate })
            if (topic.as_str(), aggregate.as_str()) == ("accounts", "accounts")),
        "{refused:?}"
    );
    bus.create_topic("account-commands", TopicConfig::new(1).retention(day)).unwrap();
}

#[test]
fn a_damaged_event_stops_its_aggregate_and_what_lies_before_it_is_there() {
    let house = House::new();
    let bus = native(&house);
    let marker = "the-event-that-is-damaged";
    assert_eq!(accepted(&bus, scripted("1", "k", &["A"])), 1);
    append(&bus, "damaged", "k", marker);
    assert_eq!(accepted(&bus, scripted("2", "other", &["A"])), 1);
    bus.shutdown(SHUTDOWN);
    drop(bus);
    house.damage(marker.as_bytes());

    let bus = house.open();
    start(&bus, stream());
    let failure = given_up(&bus, scripted("3", "k", &["B"]));
    assert_eq!(failure.code, "stream-damaged", "{failure}");
    assert!(failure.message.contains("event 2 of aggregate `k`"), "{failure}");
    let latest = bus.aggregate("accounts", "k");
    assert!(
        matches!(&latest, Err(AggregateError::Failed { failure, .. }) if failure.code == "stream-damaged"),
        "{latest:?}"
    );
    let before = bus.aggregate_at("accounts", "k", At::Version(1)).unwrap().unwrap();
    assert_eq!(before.json::<Vec<String>>().unwrap(), ["A"], "what lies behind doesn't matter");
    assert_eq!(accepted(&bus, scripted("4", "other", &["B"])), 2, "others go on");
}

#[test]
fn an_aggregate_keeps_its_topic_of_commands() {
    let house = House::new();
    let bus = native(&house);
    assert_eq!(accepted(&bus, scripted("1", "k", &["A"])), 1);
    bus.unsubscribe("accounts").unwrap();
    bus.create_topic("more-commands", TopicConfig::new(1)).unwrap();
    let others = ConsumerConfig::new(["more-commands"]);
    let refused = bus.subscribe_aggregate("accounts", others.clone(), stream(), Scripted);
    assert!(
        matches!(&refused, Err(ConsumerError::Aggregate { problem: AggregateProblem::OtherCommands { before }, .. })
            if before == "account-commands"),
        "{refused:?}"
    );
    // As the refusal says.
    bus.subscribe_aggregate("more", others, stream(), Scripted).unwrap();
    let outcome = bus.execute("more", scripted("1", "k", &["B"]), WAIT).unwrap();
    assert_eq!(outcome, Outcome::Accepted { version: 2, events: 1 });
}

#[test]
fn nobody_takes_the_place_of_an_aggregate_and_it_nobody_elses() {
    let house = House::new();
    let bus = native(&house);
    bus.unsubscribe("accounts").unwrap();
    let handler = || handler_fn(|_, context| Ok(context.set(b"key", b"value")?));
    let refused = bus.subscribe("accounts", commands(), handler());
    let is_refused = |refused: &Result<(), ConsumerError>| {
        matches!(refused, Err(ConsumerError::Aggregate { problem: AggregateProblem::State, .. }))
    };
    assert!(is_refused(&refused), "{refused:?}");
    bus.subscribe("handler", commands(), handler()).unwrap();
    bus.unsubscribe("handler").unwrap();
    let refused = bus.subscribe_aggregate("handler", commands(), stream(), Scripted);
    assert!(is_refused(&refused), "{refused:?}");
    bus.forget("accounts").unwrap();
    bus.subscribe("accounts", commands(), handler()).unwrap();
}

#[test]
fn a_command_with_the_id_of_one_that_says_something_else_is_refused() {
    let house = House::new();
    let bus = native(&house);
    let first = command("1", "k", "Do.v1", &json!(["A"]));
    assert_eq!(accepted(&bus, first), 1);
    let data = command("1", "k", "Do.v1", &json!(["B"]));
    let kind = command("1", "k", "DoAgain.v1", &json!(["A"]));
    let bare = Event::new("1", "/teller", "Do.v1").subject("k").build().unwrap();
    for other in [data, kind, bare] {
        let refused = bus.execute("accounts", other, WAIT);
        assert!(matches!(refused, Err(ExecuteError::IdReused(_))), "{refused:?}");
    }
    let again = Event::new("1", "/teller", "Do.v1").subject("k").json_text(" [ \"A\" ] ").build().unwrap();
    assert_eq!(accepted(&bus, again), 1, "it is the same, written otherwise");
    assert_eq!(history(&bus, "k"), ["A"]);
}

#[test]
fn a_large_command_that_is_given_again_is_known_by_its_data_in_the_blob_store() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("account-commands", TopicConfig::new(1).claim_check_over(16 << 10)).unwrap();
    bus.create_topic("accounts", TopicConfig::new(1).sequence(true)).unwrap();
    start(&bus, stream());
    let large = |letter: &str| scripted("1", "k", &[letter.repeat(20_000).as_str()]);
    assert!(all(&bus, "account-commands").is_empty());
    let first = bus.execute("accounts", large("A"), WAIT);
    let again = bus.execute("accounts", large("A"), WAIT);
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    assert!(!matches!(again, Err(ExecuteError::IdReused(_))), "{again:?}");
    let other = bus.execute("accounts", large("B"), WAIT);
    assert!(matches!(other, Err(ExecuteError::IdReused(_))), "{other:?}");
}

#[test]
fn who_asks_for_a_command_that_was_given_up_on_twice_is_told_the_newest_dead_letter() {
    let house = House::new();
    let bus = native(&house);
    let failing = command("1", "k", "Fail.v1", &json!([]));
    bus.publish("account-commands", failing.clone()).unwrap();
    house.until(|| letters(&bus, "accounts").len() == 1);
    bus.seek("accounts", None, None, Position::Earliest).unwrap();
    house.until(|| letters(&bus, "accounts").len() == 2);
    let newest = letters(&bus, "accounts")[1].id;
    let told = bus.execute("accounts", failing.clone(), WAIT).unwrap_err();
    assert!(matches!(told, ExecuteError::GivenUp { letter, .. } if letter == newest), "{told:?}");
    bus.discard("accounts", letters(&bus, "accounts").iter().map(|letter| letter.id).collect()).unwrap();
    let gone = bus.execute("accounts", failing, WAIT).unwrap_err();
    assert!(matches!(gone, ExecuteError::NotKept(_)), "{gone:?}");
}

#[test]
fn a_command_that_is_to_be_delivered_again_is_waited_for() {
    let house = House::new();
    let bus = native(&house);
    let flaky = command("1", "k", "FailFirst.v1", &json!(["A"]));
    bus.publish("account-commands", flaky.clone()).unwrap();
    house.settles(|| consumer(&bus, "accounts").held == 1);
    bus.pause("accounts").unwrap();
    bus.seek("accounts", None, None, Position::Earliest).unwrap();
    let ask = |wait| {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| bus.execute("accounts", flaky.clone(), wait));
            house.until(|| asked.is_finished());
            asked.join().unwrap()
        })
    };
    let expired = ask(Duration::from_millis(200));
    assert!(
        matches!(expired, Err(ExecuteError::Expired { .. })),
        "nothing has become of it yet: {expired:?}"
    );
    bus.resume("accounts").unwrap();
    assert_eq!(ask(WAIT).unwrap(), Outcome::Accepted { version: 1, events: 1 });
}

/// Events and states of as many bytes as commands say.
struct Sized;

impl Aggregate for Sized {
    type State = String;

    fn decide(&self, _: Option<&String>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
        let sizes: Vec<usize> = command.event.data_as().unwrap_or_default();
        let fact = |bytes: usize| Fact::new("Sized.v1").json(&"x".repeat(bytes));
        sizes
            .into_iter()
            .map(fact)
            .collect::<Result<_, _>>()
            .map_err(|f| Rejection::new("bad", f.to_string()))
    }

    fn evolve(&self, _: Option<String>, event: &Event) -> Result<String, Failure> {
        Ok(event.data_as()?)
    }
}

#[test]
fn a_snapshot_that_finds_no_room_costs_no_command() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    bus.subscribe_aggregate("accounts", commands(), stream().snapshot_every(1), Sized).unwrap();
    let large = command("1", "k", "Do.v1", &json!([900_000, 900_000, 900_000, 900_000]));
    assert_eq!(execute(&bus, large), Outcome::Accepted { version: 4, events: 4 });
    assert_eq!(status(&bus).snapshots, 0, "beside 3.6 MB of events there is no room for a state of 0.9 MB");
    assert_eq!(accepted(&bus, command("2", "k", "Do.v1", &json!([1]))), 5);
    assert_eq!(status(&bus).snapshots, 1, "the next command has room for it");
}

/// Rejects everything, with data that are nested so deeply.
struct Nesting;

impl Aggregate for Nesting {
    type State = ();

    fn decide(&self, _: Option<&()>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
        let depth: usize = command.event.data_as().unwrap_or_default();
        // `json!` goes through all of what it is given.
        let data = (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        Err(Rejection::new("nested", "so deeply").data(data))
    }

    fn evolve(&self, _: Option<()>, _: &Event) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_rejection_that_nobody_could_read_is_a_failure() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    bus.subscribe_aggregate("accounts", commands(), stream(), Nesting).unwrap();
    let nested = |depth: u32| command(&depth.to_string(), "k", "Do.v1", &json!(depth));
    assert!(matches!(execute(&bus, nested(100)), Outcome::Rejected(_)));
    for depth in [101, 500] {
        assert_eq!(given_up(&bus, nested(depth)).code, "rejection-data");
    }
}

#[test]
fn a_rejection_that_its_topic_refuses_is_a_failure_and_told_once_it_is_accepted() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    bus.create_topic("rejections", TopicConfig::new(1).schemas(SchemaPolicy::Required)).unwrap();
    bus.subscribe_aggregate("accounts", commands(), stream().rejections("rejections"), Nesting).unwrap();
    let rejected = command("1", "k", "Do.v1", &json!(1));
    let failure = given_up(&bus, rejected.clone());
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");
    assert!(failure.message.contains(REJECTED), "{failure}");
    bus.register_schema(REJECTED, Schema::json("true").unwrap(), None).unwrap();
    bus.redrive("accounts", vec![letters(&bus, "accounts")[0].id]).unwrap();
    house.settles(|| letters(&bus, "accounts").is_empty() && all(&bus, "rejections").len() == 1);
    assert!(matches!(execute(&bus, rejected), Outcome::Rejected(_)));
}

/// Two events of aggregate `k`, a minute apart, of which the second one's data is in the blob store; and the blob's name.
fn with_large_event(house: &House, aggregate: AggregateConfig) -> (Blocking, String) {
    let bus = house.open();
    bus.create_topic("account-commands", TopicConfig::new(1)).unwrap();
    bus.create_topic("accounts", TopicConfig::new(1).sequence(true).claim_check_over(16 << 10)).unwrap();
    bus.subscribe_aggregate("accounts", commands(), aggregate, Sized).unwrap();
    assert_eq!(accepted(&bus, command("1", "k", "Do.v1", &json!([1]))), 1);
    house.clock.advance(Duration::from_mins(1));
    assert_eq!(accepted(&bus, command("2", "k", "Do.v1", &json!([20_000]))), 2);
    let digest = bus.bus().blobs(None, 9).unwrap().remove(0).digest;
    (bus, digest)
}

#[test]
fn what_an_aggregate_was_before_an_event_does_not_need_that_events_data() {
    let house = House::new();
    let (bus, digest) = with_large_event(&house, stream());
    let state = |at| bus.aggregate_at("accounts", "k", at).map(|state| state.unwrap().version);
    house.disk.fail_blob_reads(true);
    assert_eq!(state(At::Version(1)).unwrap(), 1);
    assert!(matches!(state(At::Latest), Err(AggregateError::Failed { .. })));
    house.disk.fail_blob_reads(false);
    assert_eq!(state(At::Latest).unwrap(), 2);
    house.disk.set_blob(&digest, None);
    for before in [At::Version(1), At::Time(START), At::Time(START.after(Duration::from_secs(59)))] {
        assert_eq!(state(before).unwrap(), 1, "{before:?}");
    }
    for with_it in [At::Latest, At::Time(START.after(Duration::from_mins(2)))] {
        let failed = state(with_it);
        assert!(
            matches!(&failed, Err(AggregateError::Failed { failure, .. }) if failure.code == "stream-damaged"),
            "{failed:?}"
        );
    }
}

#[test]
fn an_aggregate_with_a_snapshot_does_not_need_the_data_of_the_events_before_it() {
    let house = House::new();
    let (bus, digest) = with_large_event(&house, stream().snapshot_every(2));
    let before = bus.aggregate("accounts", "k").unwrap().unwrap();
    house.disk.set_blob(&digest, None);
    assert_eq!(bus.aggregate("accounts", "k").unwrap().unwrap(), before);
    assert_eq!((before.version, before.since), (2, START.after(Duration::from_mins(1))));
}

#[test]
fn a_timer_that_is_set_by_hand_is_no_command_and_takes_no_commands_place() {
    let house = House::new();
    let bus = native(&house);
    for n in 0..3 {
        bus.set_timer("accounts", "k", &n.to_string(), START, None).unwrap();
    }
    house.until(|| letters(&bus, "accounts").len() == 3);
    let letters = letters(&bus, "accounts");
    assert!(letters.iter().all(|letter| letter.reason.code == "no-command"), "{letters:?}");
    for n in 0..4 {
        assert_eq!(accepted(&bus, scripted(&n.to_string(), "k", &["A"])), n + 1);
    }
    assert_eq!(history(&bus, "k"), ["A"; 4]);
}

#[test]
fn a_rejected_command_that_is_delivered_again_keeps_its_answer_whatever_others_have_appended() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let retry = RetryPolicy::default().attempts(1);
    let commands = ConsumerConfig::new(["account-commands"]).retry(retry);
    bus.subscribe_aggregate("accounts", commands, stream(), OnlyOnOne).unwrap();
    let early = scripted("1", "k", &[]);
    let rejected = execute(&bus, early.clone());
    assert!(matches!(rejected, Outcome::Rejected(_)), "{rejected:?}");
    append(&bus, "gift", "k", "");
    bus.seek("accounts", None, None, Position::Earliest).unwrap();
    caught_up(&bus, "accounts");
    house.settles(|| handled(&bus, "accounts") == 2);
    assert_eq!(execute(&bus, early), rejected);
    assert_eq!(all(&bus, "accounts").len(), 1);
}

/// Accepts what is told to an aggregate of one event, and nothing else.
struct OnlyOnOne;

impl Aggregate for OnlyOnOne {
    type State = u32;

    fn decide(&self, state: Option<&u32>, _: &Delivery) -> Result<Vec<Fact>, Rejection> {
        match state {
            Some(1) => Ok(vec![Fact::new("Accepted.v1")]),
            other => Err(Rejection::new("no", format!("{other:?}"))),
        }
    }

    fn evolve(&self, state: Option<u32>, _: &Event) -> Result<u32, Failure> {
        Ok(state.unwrap_or(0) + 1)
    }
}
