//! Sagas: a process of several steps over several participants, orchestrated as a state machine.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Attribute, Event, Failure};

mod consumer;
mod record;
mod step;
#[cfg(test)]
mod tests;
mod turn;

pub use consumer::SagaConsumer;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use consumer::{COMPENSATE, RESOLVE, RETRY};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use record::{Record, state_key};
pub use step::{Command, SagaContext, Step};

/// The type of the events by which aggregates say that they have rejected a command, where their consumer's `rejections` names a
/// topic for them. The data say of which command, with the rejection's `code`, `message` and `data`; `causationid` is the command's
/// id.
///
/// ```
/// use tidegate_plugin::{Command, Outgoing, REJECTED, Step};
///
/// let withdraw = Step::<u64>::new("withdraw")
///     .command(|cents, _| Ok(Command::to("account-commands", Outgoing::new("Withdraw.v1").subject("account-9").json(cents)?)))
///     .succeeds_on("Withdrawn.v1")
///     .fails_on(REJECTED);
/// assert_eq!(withdraw.name(), "withdraw");
/// ```
pub const REJECTED: &str = "tidegate.rejected.v1";

/// A process of several steps, each a command to a participant and the event that says what became of it. A step that fails or
/// whose time is up has the steps done before it compensated, in reverse order. [`export_saga!`](crate::export_saga!) makes it a
/// plugin.
///
/// Each delivery is one transition: what the saga knows, the commands that it publishes and the time-out that it waits for commit
/// together. All that happens to one saga comes in the order of its id, so there is never more than one transition at a time.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use tidegate_plugin::testing::SagaTest;
/// use tidegate_plugin::{Command, Event, Failure, Outgoing, Saga, Step};
///
/// #[derive(Deserialize, Serialize)]
/// struct Order {
///     cents: u64,
/// }
///
/// struct Orders;
///
/// impl Saga for Orders {
///     const NAME: &'static str = "orders";
///     const PUBLISHES: &'static [&'static str] = &["stock", "payments"];
///     const BEGINS: &'static [&'static str] = &["OrderPlaced.v1"];
///     type Data = Order;
///
///     fn begin(event: &Event) -> Result<Option<Order>, Failure> {
///         event.decode_data().map(Some)
///     }
///
///     fn steps() -> Vec<Step<Order>> {
///         vec![
///             Self::step("reserve")
///                 .command(|_, saga| Ok(Command::to("stock", Outgoing::new("Reserve.v1").subject(saga.id()))))
///                 .succeeds_on("Reserved.v1")
///                 .compensate(|_, saga| Ok(Command::to("stock", Outgoing::new("Release.v1").subject(saga.id()))))
///                 .compensated_on("Released.v1"),
///             Self::step("pay")
///                 .command(|order, saga| {
///                     Ok(Command::to("payments", Outgoing::new("Pay.v1").subject(saga.id()).json(&order.cents)?))
///                 })
///                 .succeeds_on("Paid.v1")
///                 .fails_on("PaymentRefused.v1")
///                 .times_out_after(Duration::from_mins(1)),
///         ]
///     }
/// }
///
/// let mut test = SagaTest::<Orders>::new();
/// test.deliver(Outgoing::new("OrderPlaced.v1").subject("17").json(&Order { cents: 995 })?)?;
/// assert_eq!(test.commands(), ["Reserve.v1"]);
/// test.deliver(Outgoing::new("Reserved.v1").subject("17"))?;
/// assert_eq!(test.commands(), ["Pay.v1"]);
/// test.deliver(Outgoing::new("PaymentRefused.v1").subject("17"))?;
/// assert_eq!(test.commands(), ["Release.v1"]);
/// test.deliver(Outgoing::new("Released.v1").subject("17"))?;
/// assert_eq!(test.state("17").as_deref(), Some("compensated"));
/// # Ok::<(), Failure>(())
/// ```
pub trait Saga: 'static {
    /// The plugin's name.
    const NAME: &'static str;

    /// The topics to publish to: those of the commands, and the inbox. The host refuses to load the plugin unless all are granted.
    const PUBLISHES: &'static [&'static str];

    /// The types of the events that begin a saga.
    const BEGINS: &'static [&'static str];

    /// The topic to which the saga sends itself events whose key is another one than its id, as those of participants that are
    /// keyed by a product or an account: it has to be among those that the consumer reads, and among those it publishes to.
    /// Without one such an event is a permanent failure with code `no-inbox`.
    const INBOX: Option<&'static str> = None;

    /// How long a saga that has ended is kept, to be shown, and so that the event which began it begins no other one: 7 days
    /// unless it says otherwise.
    const KEPT: Duration = Duration::from_hours(7 * 24);

    /// The version of the layout of [`Data`](Self::Data). A plugin with another one doesn't replace the running plugin.
    const STATE_VERSION: u32 = 1;

    /// What a saga knows, beside how far it is: kept in the consumer's state as JSON.
    type Data: Serialize + DeserializeOwned + 'static;

    /// What a new saga knows, of the event that begins it; nothing where this one begins none.
    ///
    /// # Errors
    ///
    /// A [`Failure`], which says whether another attempt makes sense.
    fn begin(event: &Event) -> Result<Option<Self::Data>, Failure>;

    /// The id of the saga that an event belongs to; nothing where it belongs to none. Unless it is written: of an event that
    /// begins one, its key; of others their `correlationid`, which participants on a bus hand on by themselves, else their key.
    fn id_of(event: &Event) -> Option<String> {
        let correlation = event.extension("correlationid").and_then(Attribute::as_str);
        let begins = Self::BEGINS.contains(&event.event_type.as_str());
        Some(correlation.filter(|_| !begins).unwrap_or(event.key()).to_owned())
    }

    /// The steps, in the order in which they are taken.
    fn steps() -> Vec<Step<Self::Data>>;

    /// A step of this saga: [`Step::new`], where the compiler knows what the step's closures are handed.
    fn step(name: impl Into<String>) -> Step<Self::Data> {
        Step::new(name)
    }
}
