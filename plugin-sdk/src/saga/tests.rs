//! A saga of three steps and what may become of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Command, REJECTED, Saga, SagaContext, Step, state_key};
use crate::testing::{Published, SagaTest};
use crate::{Attribute, Event, Failure, Outgoing, Raw};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Trip {
    seats: u32,
    booking: Option<String>,
}

fn ask(event_type: &str) -> impl Fn(&Trip, &SagaContext<'_>) -> Result<Command, Failure> + use<> {
    let event_type = event_type.to_owned();
    move |_, saga| Ok(Command::to("commands", Outgoing::new(event_type.clone()).subject(saga.id())))
}

fn step(name: &str) -> Step<Trip> {
    Step::new(name)
        .command(ask(&format!("{name}.do")))
        .succeeds_on(format!("{name}.done"))
        .fails_on(format!("{name}.refused"))
        .fails_on(REJECTED)
        .times_out_after(MINUTE * 10)
        .compensate(ask(&format!("{name}.undo")))
        .compensated_on(format!("{name}.undone"))
        .compensation_fails_on(format!("{name}.kept"))
        .compensation_attempts(3)
}

struct Trips;

impl Saga for Trips {
    const NAME: &'static str = "trips";
    const PUBLISHES: &'static [&'static str] = &["commands", "trips"];
    const BEGINS: &'static [&'static str] = &["begin"];
    const INBOX: Option<&'static str> = Some("trips");
    type Data = Trip;

    fn begin(event: &Event) -> Result<Option<Trip>, Failure> {
        let seats = event.decode_data::<Option<u32>>()?.unwrap_or(1);
        Ok((seats > 0).then_some(Trip { seats, booking: None }))
    }

    fn steps() -> Vec<Step<Trip>> {
        let flight = step("flight").succeeds_on_with("flight.waitlisted", |trip, event| {
            trip.booking = Some(event.decode_data()?);
            Ok(())
        });
        vec![flight, step("hotel"), step("car")]
    }
}

fn begun() -> SagaTest<Trips> {
    let mut test = SagaTest::new();
    tell(&mut test, "begin");
    assert_eq!(test.commands(), ["flight.do"]);
    test
}

fn tell<S: Saga>(test: &mut SagaTest<S>, event_type: &str) {
    test.deliver(Outgoing::new(event_type).subject("t")).unwrap();
}

fn began_at<S: Saga>(test: &SagaTest<S>) -> i64 {
    test.host.state_json::<Value>(state_key("t")).unwrap()["began"].as_i64().unwrap()
}

fn state<S: Saga>(test: &SagaTest<S>) -> String {
    test.state("t").unwrap_or_default()
}

#[test]
fn a_saga_takes_its_steps_one_after_the_other_and_ends() {
    let mut test = begun();
    for (done, next, now) in [
        ("flight.done", vec!["hotel.do"], "running hotel"),
        ("hotel.done", vec!["car.do"], "running car"),
        ("car.done", vec![], "completed"),
    ] {
        tell(&mut test, done);
        assert_eq!((test.commands(), &*state(&test)), (next.iter().map(ToString::to_string).collect(), now));
    }
    assert_eq!(
        test.history("t"),
        [
            "began",
            "asked flight",
            "succeeded flight",
            "asked hotel",
            "succeeded hotel",
            "asked car",
            "succeeded car",
            "completed"
        ]
    );
    test.advance(MINUTE * 30).unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec![], "completed"), "no time-out is left");
}

#[test]
fn a_failure_compensates_exactly_what_was_done_in_reverse_order() {
    let names = ["flight", "hotel", "car"];
    for failing in 0..names.len() {
        for times_out in [false, true] {
            let mut test = begun();
            for name in &names[..failing] {
                tell(&mut test, &format!("{name}.done"));
            }
            test.commands();
            if times_out {
                test.advance(MINUTE * 10).unwrap();
            } else {
                tell(&mut test, &format!("{}.refused", names[failing]));
            }
            // What is said to have failed needs no undoing; what may have happened does.
            let last = failing + usize::from(times_out);
            for name in names[..last].iter().rev() {
                assert_eq!(test.commands(), [format!("{name}.undo")]);
                assert_eq!(state(&test), format!("compensating {name}"));
                tell(&mut test, &format!("{name}.undone"));
            }
            assert_eq!((test.commands(), &*state(&test)), (vec![], "compensated"));
            let why = test.why("t").unwrap();
            assert!(why.contains(names[failing]), "{why}");
        }
    }
}

#[test]
fn answers_that_come_late_or_twice_or_to_another_step_change_nothing() {
    let mut test = begun();
    tell(&mut test, "flight.done");
    test.commands();
    let before = state(&test);
    for other in ["flight.done", "flight.refused", "car.done", "hotel.undone", "hotel.kept", "begin"] {
        tell(&mut test, other);
        assert_eq!((test.commands(), state(&test)), (vec![], before.clone()), "{other}");
        assert_eq!(test.history("t").last().unwrap(), "ignored hotel");
    }
    test.advance(MINUTE * 10).unwrap();
    assert_eq!(test.commands(), ["hotel.undo"]);
    // Too late: it has been asked to undo it, and gets that after the command.
    for late in ["hotel.done", "hotel.refused"] {
        tell(&mut test, late);
        assert_eq!((test.commands(), &*state(&test)), (vec![], "compensating hotel"));
    }
    tell(&mut test, "hotel.undone");
    tell(&mut test, "hotel.undone");
    assert_eq!((test.commands(), &*state(&test)), (vec!["flight.undo".to_owned()], "compensating flight"));
}

#[test]
fn an_answer_belongs_to_the_command_that_it_names_as_its_cause() {
    let mut test = SagaTest::<Trips>::new();
    tell(&mut test, "begin");
    let flight = test.published().remove(0);
    test.answer(&flight, Outgoing::new("flight.done").subject("t")).unwrap();
    let hotel = test.published().remove(0);
    // An answer in the words of the step that is waited for, to the command of another step.
    test.answer(&flight, Outgoing::new("hotel.done").subject("t")).unwrap();
    assert_eq!(state(&test), "running hotel");
    let began = began_at(&test);
    let of_others = ["saga/trips/t/1/hotel/1".to_owned(), format!("saga/other/t/{began}/hotel/1")];
    for stranger in of_others {
        let event = Outgoing::new("hotel.done").subject("t").extension("causationid", stranger);
        test.deliver(event).unwrap();
        assert_eq!(
            state(&test),
            "running hotel",
            "that is one of the same id before it, or of another consumer"
        );
    }
    test.answer(&hotel, Outgoing::new("hotel.done").subject("t")).unwrap();
    assert_eq!(state(&test), "running car");
}

#[test]
fn commands_say_whose_they_are_and_have_ids_of_their_own() {
    let mut test = begun();
    test.retry("t").unwrap();
    test.advance(MINUTE * 12).unwrap();
    let ids: Vec<_> = test.host.published.iter().map(|command| command.event.id.clone().unwrap()).collect();
    let began = began_at(&test);
    let expected = ["flight/1", "flight/2", "flight/compensation/1", "flight/compensation/2"];
    assert_eq!(ids, expected.map(|id| format!("saga/trips/t/{began}/{id}")));
    for Published { event, .. } in &test.host.published {
        let text = |value: &str| Attribute::Text(value.to_owned());
        for said in [("correlationid", text("t")), ("sagastep", text("flight"))] {
            let said = (said.0.to_owned(), said.1);
            assert!(event.extensions.contains(&said), "{event:?}");
        }
    }
}

#[test]
fn a_compensation_is_asked_for_again_with_growing_pauses_and_then_left_to_an_operator() {
    let mut test = begun();
    test.advance(MINUTE * 10).unwrap();
    assert_eq!(test.commands(), ["flight.undo"]);
    for (pause, asked) in [(1, 1), (2, 1), (4, 0)] {
        test.advance((MINUTE * pause).saturating_sub(Duration::from_micros(1))).unwrap();
        assert_eq!(test.commands().len(), 0);
        test.advance(Duration::from_micros(1)).unwrap();
        assert_eq!(test.commands().len(), asked);
    }
    assert_eq!(state(&test), "stuck flight");
    assert_eq!(test.why("t").unwrap(), "step `flight` was not compensated after 3 attempts");
    test.advance(DAY * 365).unwrap();
    assert_eq!(state(&test), "stuck flight", "it is never lost");
    test.retry("t").unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec!["flight.undo".to_owned()], "compensating flight"));
    test.advance(MINUTE).unwrap();
    assert_eq!(test.commands(), ["flight.undo"], "the attempts are counted anew");
    tell(&mut test, "flight.undone");
    assert_eq!(state(&test), "compensated");
    assert_eq!(test.why("t").unwrap(), "the time of step `flight` was up", "it isn't stuck any more");
}

#[test]
fn a_step_that_an_operator_has_undone_lets_a_stuck_saga_go_on_and_no_other() {
    let mut test = begun();
    tell(&mut test, "flight.done");
    test.resolve("t").unwrap();
    assert_eq!(state(&test), "running hotel", "nothing is resolved that isn't stuck");
    test.advance(MINUTE * 10).unwrap();
    test.resolve("t").unwrap();
    assert_eq!(state(&test), "compensating hotel");
    tell(&mut test, "hotel.kept");
    test.commands();
    test.resolve("t").unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec!["flight.undo".to_owned()], "compensating flight"));
    assert!(test.history("t").contains(&"operator-resolved hotel".to_owned()));
    assert_eq!(test.why("t").unwrap(), "the time of step `hotel` was up");
    tell(&mut test, "flight.undone");
    test.resolve("t").unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec![], "compensated"));
}

#[test]
fn a_stuck_saga_goes_on_with_a_late_answer_and_stops_at_a_refusal() {
    let mut test = begun();
    tell(&mut test, "flight.done");
    test.advance(MINUTE * 10).unwrap();
    tell(&mut test, "hotel.kept");
    assert_eq!(state(&test), "stuck hotel");
    assert_eq!(test.why("t").unwrap(), "the compensation of step `hotel` failed: hotel.kept");
    tell(&mut test, "hotel.kept");
    test.compensate("t").unwrap();
    assert_eq!(test.history("t").last().unwrap(), "ignored hotel");
    tell(&mut test, "hotel.undone");
    assert_eq!(state(&test), "compensating flight");
}

#[test]
fn an_operator_has_a_running_saga_asked_again_or_compensated_and_no_other() {
    let mut test = begun();
    tell(&mut test, "flight.done");
    test.commands();
    test.advance(MINUTE * 9).unwrap();
    test.retry("t").unwrap();
    test.advance(MINUTE * 9).unwrap();
    assert_eq!(test.commands(), ["hotel.do"], "it waits as long again");
    test.compensate("t").unwrap();
    tell(&mut test, "hotel.undone");
    tell(&mut test, "flight.undone");
    assert_eq!(test.commands(), ["hotel.undo", "flight.undo"]);
    assert_eq!(
        (state(&test).as_str(), &*test.why("t").unwrap()),
        ("compensated", "an operator had it compensated")
    );
    for ended in [SagaTest::retry, SagaTest::compensate] {
        ended(&mut test, "t").unwrap();
        ended(&mut test, "nobody").unwrap();
        assert_eq!((test.commands(), &*state(&test)), (vec![], "compensated"));
    }
}

#[test]
fn an_ended_saga_is_kept_and_then_forgotten_and_may_begin_anew() {
    let mut test = begun();
    tell(&mut test, "flight.refused");
    test.advance((DAY * 7).saturating_sub(MINUTE)).unwrap();
    tell(&mut test, "begin");
    assert_eq!((test.commands(), &*state(&test)), (vec![], "compensated"), "it has begun already");
    test.advance(MINUTE).unwrap();
    assert!(test.host.state.is_empty() && test.host.timers.is_empty());
    tell(&mut test, "flight.done");
    assert_eq!(test.state("t"), None, "what is said of one that isn't there begins none");
    tell(&mut test, "begin");
    assert_eq!(test.commands(), ["flight.do"]);
}

#[test]
fn what_happens_to_another_key_reaches_the_saga_by_its_inbox() {
    let mut test = begun();
    let event = Outgoing::new("flight.waitlisted")
        .id("w1")
        .source("/airline")
        .subject("lh-400")
        .key("plane-7")
        .extension("correlationid", "t")
        .extension("sequence", "9")
        .json("b17")
        .unwrap();
    test.deliver(event.clone()).unwrap();
    assert_eq!(state(&test), "running flight", "another lane would not have the saga");
    let sent = test.published().remove(0);
    assert_eq!(sent.topic, "trips");
    let expected = Outgoing { id: None, extensions: Vec::new(), ..event };
    assert_eq!(sent.event, expected.extension("correlationid", "t").key("t"));
    test.deliver(sent.event).unwrap();
    assert_eq!(state(&test), "running hotel");
    assert_eq!(test.data("t"), Some(Trip { seats: 1, booking: Some("b17".to_owned()) }));
}

#[test]
fn a_failure_of_the_sagas_own_code_leaves_nothing_behind() {
    let mut test = begun();
    let (state, timers) = (test.host.state.clone(), test.host.timers.clone());
    let wrong = Outgoing::new("flight.waitlisted").subject("t").json(&7).unwrap();
    let failure = test.deliver(wrong).unwrap_err();
    assert_eq!(failure.reason().code, "bad-data");
    assert_eq!((test.commands(), &test.host.state, &test.host.timers), (vec![], &state, &timers));
}

#[test]
fn an_event_of_another_process_or_one_that_begins_nothing_is_passed_over() {
    let mut test = SagaTest::<Trips>::new();
    tell(&mut test, "something.else");
    test.deliver(Outgoing::new("begin").subject("t").json(&0).unwrap()).unwrap();
    tell(&mut test, "flight.done");
    assert!(test.host.state.is_empty() && test.commands().is_empty());
    assert_eq!(test.host.logged.len(), 1, "the answer that nobody waits for");
}

/// Steps that nothing is waited for, or that have no compensation, and no inbox.
struct Short;

impl Saga for Short {
    const NAME: &'static str = "short";
    const PUBLISHES: &'static [&'static str] = &["commands"];
    const BEGINS: &'static [&'static str] = &["begin"];
    type Data = Trip;

    fn begin(event: &Event) -> Result<Option<Trip>, Failure> {
        Trips::begin(event)
    }

    fn steps() -> Vec<Step<Trip>> {
        vec![
            Step::new("accept").command(ask("accept")).compensate(ask("reject")),
            Step::new("note").command(ask("note")),
            step("flight"),
            Step::new("confirm").command(ask("confirm")),
        ]
    }
}

#[test]
fn a_step_without_an_outcome_is_done_when_its_command_is_published() {
    let mut test = SagaTest::<Short>::new();
    tell(&mut test, "begin");
    assert_eq!(test.commands(), ["accept", "note", "flight.do"]);
    tell(&mut test, "flight.done");
    assert_eq!((test.commands(), &*state(&test)), (vec!["confirm".to_owned()], "completed"));
    let mut test = SagaTest::<Short>::new();
    tell(&mut test, "begin");
    test.commands();
    tell(&mut test, "flight.refused");
    assert_eq!((test.commands(), &*state(&test)), (vec!["reject".to_owned()], "compensated"));
    assert!(test.history("t").contains(&"not-compensated note".to_owned()));
}

#[test]
fn without_an_inbox_an_event_of_another_key_is_a_dead_letter_and_not_lost() {
    let mut test = SagaTest::<Short>::new();
    tell(&mut test, "begin");
    let event = Outgoing::new("flight.done").subject("plane-7").extension("correlationid", "t");
    assert_eq!(test.deliver(event).unwrap_err().reason().code, "no-inbox");
}

/// Makes a saga of another version of the trips, with these steps.
macro_rules! version_of_trips {
    ($version:ty, $steps:block) => {
        impl Saga for $version {
            const NAME: &'static str = Trips::NAME;
            const PUBLISHES: &'static [&'static str] = Trips::PUBLISHES;
            const BEGINS: &'static [&'static str] = Trips::BEGINS;
            type Data = Trip;

            fn begin(event: &Event) -> Result<Option<Trip>, Failure> {
                Trips::begin(event)
            }

            fn steps() -> Vec<Step<Trip>> {
                $steps
            }
        }
    };
}

/// The trips of a version that has no hotels any more, and trains behind.
struct NewTrips;

version_of_trips!(NewTrips, { vec![step("visa"), step("flight"), step("train")] });

fn next_version<A: Saga, B: Saga>(before: SagaTest<A>) -> SagaTest<B> {
    let mut test = SagaTest::new();
    test.host.state = before.host.state;
    test.host.timers = before.host.timers;
    test.host.now = before.host.now;
    test
}

#[test]
fn a_new_version_goes_on_behind_the_step_under_way() {
    let mut test: SagaTest<NewTrips> = next_version(begun());
    tell(&mut test, "flight.done");
    assert_eq!((test.commands(), &*state(&test)), (vec!["train.do".to_owned()], "running train"));
}

/// The trips of a version that can't undo flights any more.
struct NoReturn;

version_of_trips!(NoReturn, {
    let flight = NoReturn::step("flight")
        .command(|_, saga| Ok(Command::to("flights", Outgoing::new("flight.do").subject(saga.id()))));
    vec![step("visa"), flight.succeeds_on("flight.done"), step("car")]
});

#[test]
fn a_new_version_that_cannot_undo_a_step_any_more_goes_on_without() {
    let mut old = begun();
    tell(&mut old, "flight.done");
    tell(&mut old, "hotel.refused");
    assert_eq!(old.commands(), ["hotel.do", "flight.undo"]);
    let mut test: SagaTest<NoReturn> = next_version(old);
    test.advance(DAY).unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec![], "compensated"));
    assert!(test.history("t").contains(&"not-compensated flight".to_owned()));
}

/// The trips of a version that begins with hotels.
struct HotelFirst;

version_of_trips!(HotelFirst, { vec![step("hotel"), step("flight"), step("car")] });

#[test]
fn a_new_version_takes_no_step_again_that_it_has_in_another_place() {
    let mut old = begun();
    tell(&mut old, "flight.done");
    let mut new: SagaTest<HotelFirst> = next_version(old);
    tell(&mut new, "hotel.done");
    assert_eq!((new.commands(), &*state(&new)), (vec!["car.do".to_owned()], "running car"));
    tell(&mut new, "car.refused");
    assert_eq!(new.commands(), ["hotel.undo"], "in reverse of the order in which they were taken");
}

#[test]
fn an_operator_ends_a_saga_whose_step_no_version_has_any_more() {
    let mut old = begun();
    tell(&mut old, "flight.done");
    let mut new: SagaTest<NewTrips> = next_version(old);
    new.advance(MINUTE * 10).unwrap();
    assert_eq!(state(&new), "stuck hotel");
    new.resolve("t").unwrap();
    assert_eq!((new.commands(), &*state(&new)), (vec!["flight.undo".to_owned()], "compensating flight"));
}

#[test]
fn a_new_version_without_a_step_sets_its_sagas_aside_until_one_has_it() {
    let mut old = begun();
    tell(&mut old, "flight.done");
    let mut new: SagaTest<NewTrips> = next_version(old);
    tell(&mut new, "hotel.done");
    assert_eq!(state(&new), "running hotel", "it knows no such event");
    new.advance(MINUTE * 10).unwrap();
    assert_eq!(state(&new), "stuck hotel");
    assert!(new.why("t").unwrap().contains("has no step `hotel`"));
    new.retry("t").unwrap();
    assert_eq!((new.commands(), &*state(&new)), (vec![], "stuck hotel"));
    let mut again: SagaTest<Trips> = next_version(new);
    again.retry("t").unwrap();
    assert_eq!((again.commands(), &*state(&again)), (vec!["hotel.undo".to_owned()], "compensating hotel"));
}

#[test]
fn a_timer_of_a_saga_that_is_forgotten_says_nothing_to_the_next_one_of_its_id() {
    let mut test = begun();
    let late = test.host.timers[0].clone();
    tell(&mut test, "flight.refused");
    test.advance(DAY * 7).unwrap();
    assert_eq!(test.state("t"), None);
    tell(&mut test, "begin");
    test.commands();
    test.host.timers.insert(0, late);
    test.advance(Duration::ZERO).unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec![], "running flight"));
}

#[test]
fn what_answers_a_command_of_somebody_else_is_passed_over_and_not_sent_on() {
    let mut test = begun();
    let rejected = |cause: &str| {
        let event = Outgoing::new(REJECTED).subject("account-9").extension("correlationid", "t");
        event.extension("causationid", cause)
    };
    for other in ["saga/other/t/1/flight/1", "saga/trips-2/t/1/flight/1", "withdrawal-17"] {
        test.deliver(rejected(other)).unwrap();
        assert_eq!((test.commands(), &*state(&test)), (vec![], "running flight"), "{other}");
    }
    let command = format!("saga/trips/t/{}/flight/1", began_at(&test));
    test.deliver(rejected(&command)).unwrap();
    let sent = test.published().remove(0);
    assert_eq!(sent.topic, "trips");
    test.deliver(sent.event).unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec![], "compensated"), "the aggregate said no");
}

#[test]
#[should_panic(expected = "step `pay` names events of failure, and none of success")]
fn a_step_that_would_not_wait_for_its_failure_is_refused() {
    struct Wrong;

    impl Saga for Wrong {
        const NAME: &'static str = "wrong";
        const PUBLISHES: &'static [&'static str] = &[];
        const BEGINS: &'static [&'static str] = &["begin"];
        type Data = ();

        fn begin(_: &Event) -> Result<Option<()>, Failure> {
            Ok(None)
        }

        fn steps() -> Vec<Step<()>> {
            vec![Self::step("pay").fails_on("refused")]
        }
    }

    let _ = SagaTest::<Wrong>::new();
}

#[test]
fn a_timer_that_is_put_back_to_work_late_says_nothing() {
    let mut test = begun();
    test.advance(MINUTE).unwrap();
    let late = test.host.timers[0].clone();
    assert_eq!(late.data, Raw::Json(format!(r#"{{"turn":1,"began":{}}}"#, began_at(&test))));
    tell(&mut test, "flight.done");
    test.commands();
    test.host.timers.insert(0, late);
    test.host.now = test.host.timers[0].due;
    test.advance(Duration::ZERO).unwrap();
    assert_eq!((test.commands(), &*state(&test)), (vec![], "running hotel"));
}
