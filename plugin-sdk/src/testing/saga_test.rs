use std::{fmt, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::{FakeHost, Published, SetTimer, delivery};
use crate::{
    Attribute, Failure, Outgoing, Raw, Saga, SagaConsumer,
    saga::{COMPENSATE, RESOLVE, RETRY, Record, state_key},
};

/// A saga in a test: given events, the commands that come of them, while time passes as the test says.
///
/// ```
/// use std::time::Duration;
/// use tidegate_plugin::testing::SagaTest;
/// use tidegate_plugin::{Command, Event, Failure, Outgoing, Saga, Step};
///
/// struct Greeting;
///
/// impl Saga for Greeting {
///     const NAME: &'static str = "greeting";
///     const PUBLISHES: &'static [&'static str] = &["greetings"];
///     const BEGINS: &'static [&'static str] = &["Arrived.v1"];
///     type Data = ();
///
///     fn begin(_: &Event) -> Result<Option<()>, Failure> {
///         Ok(Some(()))
///     }
///
///     fn steps() -> Vec<Step<()>> {
///         let greet = Step::new("greet")
///             .command(|(), saga| Ok(Command::to("greetings", Outgoing::new("Greet.v1").subject(saga.id()))));
///         vec![greet.succeeds_on("Greeted.v1").times_out_after(Duration::from_mins(1))]
///     }
/// }
///
/// let mut test = SagaTest::<Greeting>::new();
/// test.deliver(Outgoing::new("Arrived.v1").subject("ann"))?;
/// assert_eq!(test.commands(), ["Greet.v1"]);
/// test.advance(Duration::from_mins(1))?;
/// assert_eq!(test.state("ann").as_deref(), Some("compensated"));
/// # Ok::<(), Failure>(())
/// ```
pub struct SagaTest<S: Saga> {
    /// The host: what was published, which timers are set, the time, and the state.
    pub host: FakeHost,
    consumer: SagaConsumer<S>,
    /// Counts the events that were delivered.
    delivered: u64,
    /// How many published events the test has looked at.
    seen: usize,
}

impl<S: Saga> SagaTest<S> {
    /// A host without sagas and settings.
    pub fn new() -> Self {
        let host = FakeHost::new::<SagaConsumer<S>>();
        Self { host, consumer: SagaConsumer::default(), delivered: 0, seen: 0 }
    }

    /// Sets the consumer's settings.
    #[must_use]
    pub fn with_settings<T: Serialize + ?Sized>(mut self, settings: &T) -> Self {
        self.host = self.host.with_settings(settings);
        self
    }

    /// Delivers an event. One without an id gets one of its own.
    ///
    /// # Errors
    ///
    /// The saga's failure. Nothing has changed then.
    pub fn deliver(&mut self, mut event: Outgoing) -> Result<(), Failure> {
        self.delivered += 1;
        event.id.get_or_insert_with(|| format!("event-{}", self.delivered));
        self.host.deliver(&mut self.consumer, delivery(event))
    }

    /// Delivers an event as the answer to a command: with its `correlationid`, and its id as `causationid`, as a bus adds them to
    /// what a participant publishes.
    ///
    /// # Errors
    ///
    /// The saga's failure. Nothing has changed then.
    pub fn answer(&mut self, command: &Published, event: Outgoing) -> Result<(), Failure> {
        let extension = |name| command.event.extensions.iter().find(|(known, _)| known == name);
        let correlation =
            extension("correlationid").and_then(|(_, value)| value.as_str()).unwrap_or_default();
        let cause = command.event.id.clone().unwrap_or_default();
        let event = event.extension("correlationid", correlation);
        self.deliver(event.extension("causationid", Attribute::Text(cause)))
    }

    /// Lets time pass: what comes due meanwhile is delivered, each at its moment.
    ///
    /// # Errors
    ///
    /// The saga's failure; time stands there.
    pub fn advance(&mut self, time: Duration) -> Result<(), Failure> {
        self.host.advance(&mut self.consumer, time)
    }

    /// Has a saga ask again, as an operator does.
    ///
    /// # Errors
    ///
    /// The saga's failure. Nothing has changed then.
    pub fn retry(&mut self, id: &str) -> Result<(), Failure> {
        self.operator(id, RETRY)
    }

    /// Has a saga compensated, as an operator does.
    ///
    /// # Errors
    ///
    /// The saga's failure. Nothing has changed then.
    pub fn compensate(&mut self, id: &str) -> Result<(), Failure> {
        self.operator(id, COMPENSATE)
    }

    /// Says that the step where a saga is stuck is undone, as an operator does.
    ///
    /// # Errors
    ///
    /// The saga's failure. Nothing has changed then.
    pub fn resolve(&mut self, id: &str) -> Result<(), Failure> {
        self.operator(id, RESOLVE)
    }

    /// The types of the events that were published since the last look.
    pub fn commands(&mut self) -> Vec<String> {
        self.published().into_iter().map(|published| published.event.event_type).collect()
    }

    /// The events that were published since the last look.
    pub fn published(&mut self) -> Vec<Published> {
        let new = self.host.published[self.seen..].to_vec();
        self.seen = self.host.published.len();
        new
    }

    /// A saga's state and step, as `running take-payment`, or `completed`; nothing where it isn't there.
    pub fn state(&self, id: &str) -> Option<String> {
        let record = self.record(id)?;
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let parts: Vec<_> = [text("state"), text("step")].into_iter().flatten().collect();
        Some(parts.join(" "))
    }

    /// Why a saga is compensated or stuck.
    pub fn why(&self, id: &str) -> Option<String> {
        self.record(id)?["why"].as_str().map(str::to_owned)
    }

    /// What a saga knows; nothing where it isn't there.
    pub fn data(&self, id: &str) -> Option<S::Data> {
        self.host.state_json::<Record<S::Data>>(state_key(id)).map(|record| record.data)
    }

    /// What happened to a saga, as `asked take-payment` or `completed`.
    pub fn history(&self, id: &str) -> Vec<String> {
        let record = self.record(id).unwrap_or_default();
        let entries = record["history"].as_array().cloned().unwrap_or_default();
        let line = |entry: &Value| {
            let parts: Vec<_> = ["what", "step"].iter().filter_map(|name| entry[*name].as_str()).collect();
            parts.join(" ")
        };
        entries.iter().map(line).collect()
    }

    fn record(&self, id: &str) -> Option<Value> {
        self.host.state_json(state_key(id))
    }

    fn operator(&mut self, id: &str, name: &str) -> Result<(), Failure> {
        let timer =
            SetTimer { key: id.to_owned(), name: name.to_owned(), due: self.host.now, data: Raw::Empty };
        let delivery = self.host.timer_delivery(&timer);
        self.host.deliver(&mut self.consumer, delivery)
    }
}

impl<S: Saga> Default for SagaTest<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Saga> fmt::Debug for SagaTest<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaTest").field("host", &self.host).finish_non_exhaustive()
    }
}
