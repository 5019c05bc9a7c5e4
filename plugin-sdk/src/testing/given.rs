use std::fmt::Debug;

use serde::Serialize;

use crate::{
    Aggregate, CommandContext, Event, Level, Outgoing, Raw, Rejection, Timestamp,
    aggregate::{DecisionHost, Undecided, decide, evolve, fact},
    testing::delivery,
};

/// An aggregate that these events have happened to, in a test.
///
/// Events and state go through JSON, as they do in the bus: what JSON doesn't bring back is found here.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidegate_plugin::{Aggregate, CommandContext, Rejection, testing::given};
/// # struct Lamp;
/// # #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
/// # #[serde(tag = "type", content = "data")]
/// # enum Word { Lit }
/// # impl Aggregate for Lamp {
/// #     const NAME: &'static str = "lamp";
/// #     type State = bool;
/// #     type Command = Word;
/// #     type Event = Word;
/// #     fn decide(is_lit: &bool, word: &Word, _: &CommandContext<'_>) -> Result<Vec<Word>, Rejection> {
/// #         if *is_lit { Err(Rejection::new("lit", "it is lit")) } else { Ok(vec![word.clone()]) }
/// #     }
/// #     fn evolve(_: bool, _: &Word) -> bool { true }
/// # }
/// given::<Lamp>([]).when(&Word::Lit).then([Word::Lit]);
/// given::<Lamp>([Word::Lit]).when(&Word::Lit).then_rejected("lit");
/// ```
///
/// # Panics
///
/// An event can't be written as JSON or read back: the test has failed.
#[track_caller]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let given = Given {
        state: None,
        aggregate: "1".to_owned(),
        now: Timestamp::from_micros(1_767_225_600_000_000),
        settings: "{}".to_owned(),
        seed: 0,
        marker: std::marker::PhantomData,
    };
    given.and(events)
}

/// See [`given`].
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidegate_plugin::{Aggregate, CommandContext, Rejection, testing::given};
/// # struct Late;
/// # #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// # #[serde(tag = "type", content = "data")]
/// # enum Word { Ask }
/// # impl Aggregate for Late {
/// #     const NAME: &'static str = "late";
/// #     type State = u32;
/// #     type Command = Word;
/// #     type Event = Word;
/// #     fn decide(_: &u32, _: &Word, context: &CommandContext<'_>) -> Result<Vec<Word>, Rejection> {
/// #         if context.now > Default::default() { Err(Rejection::new("late", "it is")) } else { Ok(vec![]) }
/// #     }
/// #     fn evolve(state: u32, _: &Word) -> u32 { state + 1 }
/// # }
/// given::<Late>([]).at(tidegate_plugin::Timestamp::from_micros(1)).when(&Word::Ask).then_rejected("late");
/// ```
pub struct Given<A> {
    state: Option<Vec<u8>>,
    aggregate: String,
    now: Timestamp,
    settings: String,
    seed: u64,
    marker: std::marker::PhantomData<fn() -> A>,
}

impl<A: Aggregate> Given<A> {
    /// Has these events happen as well.
    ///
    /// # Panics
    ///
    /// As [`given`].
    #[must_use]
    #[track_caller]
    pub fn and(mut self, events: impl IntoIterator<Item = A::Event>) -> Self {
        let events: Vec<_> = events.into_iter().map(|event| read_back(&event)).collect();
        if !events.is_empty() {
            match evolve::<A>(self.state.as_deref(), events) {
                Ok(state) => self.state = Some(state),
                Err(failure) => panic!("the events can't be evolved: {failure}"),
            }
        }
        self
    }

    /// Sets the aggregate's id, at first `1`.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.aggregate = id.into();
        self
    }

    /// Sets the command's time, at first 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// Sets the consumer's settings.
    ///
    /// # Panics
    ///
    /// If they can't be written as JSON: the test is wrong.
    #[must_use]
    #[track_caller]
    pub fn settings<T: Serialize + ?Sized>(mut self, settings: &T) -> Self {
        match serde_json::to_string(settings) {
            Ok(json) => self.settings = json,
            Err(error) => panic!("settings that can't be written as JSON: {error}"),
        }
        self
    }

    /// What the random numbers are made from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The state that the events come to.
    ///
    /// # Panics
    ///
    /// It can't be read back from JSON: the test has failed.
    #[track_caller]
    pub fn state(&self) -> A::State {
        match self.state.as_deref().map(serde_json::from_slice) {
            None => A::State::default(),
            Some(Ok(state)) => state,
            Some(Err(error)) => panic!("the state doesn't come back from its JSON: {error}"),
        }
    }

    /// Gives a command.
    pub fn when(self, command: &A::Command) -> Decided<A> {
        let attributes = self.attributes(Outgoing::new(A::NAME));
        let outcome = {
            let context = CommandContext {
                aggregate: &self.aggregate,
                now: self.now,
                command: &attributes,
                host: &self,
            };
            A::decide(&self.state(), command, &context)
        };
        Decided { outcome, given: self }
    }

    /// Gives a command as it comes from outside, by its type and data. The answer has the types and the data of what is
    /// decided.
    ///
    /// # Errors
    ///
    /// The command is rejected.
    ///
    /// # Panics
    ///
    /// It fails otherwise.
    #[track_caller]
    pub fn when_event(&self, command: Outgoing) -> Result<Vec<(String, Raw)>, Rejection> {
        let event = delivery(command.key(self.aggregate.clone())).event;
        match decide::<A>(self.state.as_deref(), event, self.now, self) {
            Ok(facts) => Ok(facts.into_iter().map(|fact| (fact.event_type, fact.data)).collect()),
            Err(Undecided::Rejected(rejection)) => Err(rejection),
            Err(Undecided::Failed(failure)) => panic!("the command fails: {failure}"),
        }
    }

    fn attributes(&self, command: Outgoing) -> Event<()> {
        delivery(command.key(self.aggregate.clone())).event.split_data().0
    }
}

impl<A> DecisionHost for Given<A> {
    fn settings_json(&self) -> String {
        self.settings.clone()
    }

    fn random(&self, len: u32) -> Vec<u8> {
        let mixed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xbf58_476d_1ce4_e5b9;
        mixed.to_be_bytes().into_iter().cycle().take(len as usize).collect()
    }

    fn log(&self, _level: Level, _message: &str) {}
}

/// An event as it comes back from the stream.
#[track_caller]
fn read_back<E: Serialize>(event: &E) -> Event {
    match fact(event) {
        Ok(outgoing) => delivery(outgoing).event,
        Err(failure) => panic!("the event can't be written: {failure}"),
    }
}

/// What was decided on a command in a test.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidegate_plugin::{Aggregate, CommandContext, Rejection, testing::given};
/// # struct Count;
/// # #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
/// # #[serde(tag = "type", content = "data")]
/// # enum Word { One }
/// # impl Aggregate for Count {
/// #     const NAME: &'static str = "count";
/// #     type State = u32;
/// #     type Command = Word;
/// #     type Event = Word;
/// #     fn decide(_: &u32, word: &Word, _: &CommandContext<'_>) -> Result<Vec<Word>, Rejection> {
/// #         Ok(vec![word.clone()])
/// #     }
/// #     fn evolve(state: u32, _: &Word) -> u32 { state + 1 }
/// # }
/// let after = given::<Count>([Word::One]).when(&Word::One).then([Word::One]);
/// assert_eq!(after.state(), 2);
/// ```
pub struct Decided<A: Aggregate> {
    /// The events, or why there are none.
    pub outcome: Result<Vec<A::Event>, Rejection>,
    given: Given<A>,
}

impl<A: Aggregate> Decided<A> {
    /// These events were decided, in this order. Returns the aggregate that they have happened to.
    ///
    /// # Panics
    ///
    /// Otherwise.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Given<A>
    where
        A::Event: PartialEq + Debug,
    {
        let wanted: Vec<_> = events.into_iter().collect();
        match self.outcome {
            Ok(decided) => {
                assert_eq!(decided, wanted, "other events were decided");
                self.given.and(decided)
            }
            Err(rejection) => panic!("the command was rejected: {rejection}"),
        }
    }

    /// The command was rejected with this code. Returns why.
    ///
    /// # Panics
    ///
    /// Otherwise.
    #[track_caller]
    pub fn then_rejected(self, code: &str) -> Rejection
    where
        A::Event: Debug,
    {
        match self.outcome {
            Err(rejection) => {
                assert_eq!(rejection.code, code, "it was rejected for another reason: {rejection}");
                rejection
            }
            Ok(events) => panic!("the command was accepted: {events:?}"),
        }
    }
}
