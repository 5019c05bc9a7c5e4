//! Aggregates that are part of the application.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Rejection;
use super::model::{Decision, Model, Models};
use crate::clock::BoxFuture;
use crate::event::{Attribute, Data, Event};
use crate::handler::{Delivery, Failure, FailureKind, LaneName, Lender, ProgramVersion, panic_message};

/// An aggregate of the application's own: what it decides, and what it is, as two pure functions. See
/// [`Bus::subscribe_aggregate`](crate::Bus::subscribe_aggregate).
///
/// One value serves all lanes. What decisions depend on is in the state, and the state is a function of the events
/// alone: it is made anew from them at any time.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use std::time::Duration;
/// use tidegate::config::{AggregateConfig, ConsumerConfig, TopicConfig};
/// use tidegate::{Aggregate, Delivery, Event, Fact, Failure, Outcome, Rejection};
///
/// /// Sells the seats of a show.
/// struct Show {
///     seats: u32,
/// }
///
/// impl Aggregate for Show {
///     type State = u32;
///
///     fn decide(&self, sold: Option<&u32>, _: &Delivery) -> Result<Vec<Fact>, Rejection> {
///         if sold.is_some_and(|sold| *sold == self.seats) {
///             return Err(Rejection::new("sold-out", format!("all {} seats are sold", self.seats)));
///         }
///         Ok(vec![Fact::new("SeatSold.v1")])
///     }
///
///     fn evolve(&self, sold: Option<u32>, _: &Event) -> Result<u32, Failure> {
///         Ok(sold.unwrap_or(0) + 1)
///     }
/// }
///
/// bus.create_topic("show-commands", TopicConfig::new(1))?;
/// bus.create_topic("shows", TopicConfig::new(1).sequence(true))?;
/// let commands = ConsumerConfig::new(["show-commands"]);
/// bus.subscribe_aggregate("shows", commands, AggregateConfig::new("shows"), Show { seats: 1 })?;
/// let sell = |id| Event::new(id, "/box-office", "SellSeat.v1").subject("show-9").build();
/// let wait = Duration::from_secs(10);
/// let sold = bus.execute("shows", sell("sale-1")?, wait)?;
/// assert_eq!(sold, Outcome::Accepted { version: 1, events: 1 });
/// assert!(matches!(bus.execute("shows", sell("sale-2")?, wait)?, Outcome::Rejected(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Aggregate: Send + Sync + 'static {
    /// What decisions depend on. It is kept as JSON, of at most 1 MiB.
    type State: Serialize + DeserializeOwned;

    /// The version of the state's layout: what was kept of states of another version is made anew from the events.
    const STATE_VERSION: u32 = 1;

    /// Decides on a command; without a state, nothing has happened to the aggregate yet. The facts become durable
    /// together, or none of them. A panic fails the delivery.
    ///
    /// # Errors
    ///
    /// The command is turned down; that is its answer, and nothing changes.
    fn decide(&self, state: Option<&Self::State>, command: &Delivery) -> Result<Vec<Fact>, Rejection>;

    /// The state after an event: a function of these two alone.
    ///
    /// # Errors
    ///
    /// It can't be said. Then the aggregate accepts no commands: they become dead letters.
    fn evolve(&self, state: Option<Self::State>, event: &Event) -> Result<Self::State, Failure>;

    /// What dead letters and the list of consumers call it; by default `native`.
    fn name(&self) -> String {
        "native".to_owned()
    }

    /// What dead letters and the list of consumers call this version of it; by default nothing.
    fn version(&self) -> String {
        String::new()
    }
}

/// What an aggregate decides: an event whose id, source, subject and time are the bus's, and so are the attributes
/// `partitionkey`, `sequence`, `causationid`, `correlationid`, `traceparent` and `tracestate`.
///
/// ```
/// use tidegate::Fact;
///
/// let fact = Fact::new("Deposited.v1").json(&serde_json::json!({"cents": 500}))?;
/// assert_eq!(fact.kind, "Deposited.v1");
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Fact {
    /// `type`: what has happened.
    pub kind: String,
    /// `datacontenttype`, a media type.
    pub datacontenttype: Option<String>,
    /// `dataschema`, an absolute URI.
    pub dataschema: Option<String>,
    /// Extension attributes by name.
    pub extensions: Vec<(String, Attribute)>,
    /// The data.
    pub data: Option<Data>,
}

impl Fact {
    /// A fact of this type, without data.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    /// The same fact with data, written as JSON.
    ///
    /// # Errors
    ///
    /// What JSON can't have, such as a map whose keys are no text: a permanent failure with code `bad-json`.
    pub fn json(mut self, data: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        let text = serde_json::to_string(data);
        let text = text.map_err(|error| Failure::permanent("bad-json", error.to_string()))?;
        self.data = Some(Data::Json(text));
        Ok(self)
    }
}

/// A type of the application's as what decides.
pub(crate) struct NativeModels<A> {
    aggregate: Arc<A>,
    version: ProgramVersion,
}

impl<A: Aggregate> NativeModels<A> {
    pub fn new(aggregate: A) -> Self {
        let version =
            ProgramVersion { name: aggregate.name(), version: aggregate.version(), hash: String::new() };
        Self { aggregate: Arc::new(aggregate), version }
    }
}

impl<A: Aggregate> Models for NativeModels<A> {
    fn version(&self) -> &ProgramVersion {
        &self.version
    }

    fn state_version(&self) -> u32 {
        A::STATE_VERSION
    }

    fn model<'a>(&'a self, _lane: &'a LaneName) -> BoxFuture<'a, Result<Box<dyn Model>, Failure>> {
        let model = NativeModel(Arc::clone(&self.aggregate));
        Box::pin(async move { Ok(Box::new(model) as Box<dyn Model>) })
    }
}

struct NativeModel<A>(Arc<A>);

impl<A: Aggregate> NativeModel<A> {
    fn decide(&self, state: Option<&[u8]>, command: &Delivery) -> Result<Decision, Failure> {
        let state = state.map(read::<A>).transpose()?;
        Ok(match self.0.decide(state.as_ref(), command) {
            Ok(facts) => Decision::Accepted(facts),
            Err(rejection) => Decision::Rejected(rejection),
        })
    }

    fn evolve(&self, state: Option<&[u8]>, events: &[Arc<Event>]) -> Result<Vec<u8>, Failure> {
        let mut state = state.map(read::<A>).transpose()?;
        for event in events {
            state = Some(self.0.evolve(state, event)?);
        }
        serde_json::to_vec(&state).map_err(|error| Failure::permanent("bad-state", error.to_string()))
    }
}

impl<A: Aggregate> Model for NativeModel<A> {
    fn decide<'a>(
        &'a mut self,
        lender: &'a mut dyn Lender,
        state: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Decision, Failure>> {
        Box::pin(async move { caught(|| Self::decide(self, state, lender.batch().delivery())) })
    }

    fn evolve<'a>(
        &'a mut self,
        state: Option<&'a [u8]>,
        events: &'a [Arc<Event>],
    ) -> BoxFuture<'a, Result<Vec<u8>, Failure>> {
        Box::pin(async move { caught(|| Self::evolve(self, state, events)) })
    }
}

/// A panic has failed what it ended, like a plugin's trap.
fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Failure::new(FailureKind::Trap, "panic", panic_message(&*panic))))
}

/// The state, of the layout that this version says it has.
fn read<A: Aggregate>(state: &[u8]) -> Result<A::State, Failure> {
    serde_json::from_slice(state).map_err(|error| {
        let message = format!(
            "a state of version {} is of another layout ({error}): raise `STATE_VERSION` with each change of it",
            A::STATE_VERSION
        );
        Failure::permanent("bad-state", message)
    })
}
