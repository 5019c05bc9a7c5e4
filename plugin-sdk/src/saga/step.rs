//! What a step of a saga does and waits for.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{Event, Failure, Host, Outgoing, SettingsError, Timestamp};

/// How long a step waits for its outcome unless it says otherwise.
const TIMEOUT: Duration = Duration::from_hours(24);
/// How long a compensation waits for its outcome the first time, unless it says otherwise.
const COMPENSATION_TIMEOUT: Duration = Duration::from_mins(1);
/// How long it waits at most: to ask once in an hour is no burden, and soon enough where a participant comes back.
const COMPENSATION_TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// How often a compensation is asked for unless it says otherwise: over some six hours with the wait above.
const COMPENSATION_ATTEMPTS: u32 = 12;

/// An event that asks a participant for something, and the topic that it goes to.
///
/// Its `id` and `correlationid` are the saga's affair, whatever they are set to; `sagastep` names the step.
///
/// ```
/// use tidegate_plugin::{Command, Outgoing};
///
/// let command = Command::to("stock-commands", Outgoing::new("ReserveStock.v1").subject("product-3"));
/// # let _ = command;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub(super) topic: String,
    pub(super) event: Outgoing,
}

impl Command {
    /// A command that goes to this topic.
    pub fn to(topic: impl Into<String>, event: Outgoing) -> Self {
        Self { topic: topic.into(), event }
    }
}

/// What a step may know beside the saga's data, when it makes a command.
///
/// ```
/// use tidegate_plugin::{Command, Failure, Outgoing, SagaContext};
///
/// /// A command of which the participant sees until when it is waited for.
/// fn pay(_: &(), saga: &SagaContext<'_>) -> Result<Command, Failure> {
///     let until = saga.now().after(std::time::Duration::from_mins(1));
///     Ok(Command::to("payments", Outgoing::new("Pay.v1").subject(saga.id()).json(&until.to_string())?))
/// }
/// ```
pub struct SagaContext<'a> {
    pub(super) id: &'a str,
    pub(super) host: &'a dyn Host,
}

impl SagaContext<'_> {
    /// The saga's id.
    pub fn id(&self) -> &str {
        self.id
    }

    /// The delivery's time.
    pub fn now(&self) -> Timestamp {
        self.host.now()
    }

    /// The consumer's settings, as [`settings`](Host#method.settings) of the host has them.
    ///
    /// # Errors
    ///
    /// The settings aren't a `T`.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        self.host.settings()
    }
}

impl fmt::Debug for SagaContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaContext").field("id", &self.id).finish_non_exhaustive()
    }
}

type Make<D> = Box<dyn Fn(&D, &SagaContext<'_>) -> Result<Command, Failure>>;
type Learn<D> = Box<dyn Fn(&mut D, &Event) -> Result<(), Failure>>;

/// A step of a saga: a command, the events that say what became of it, and how it is undone.
///
/// A step without an event of success is done when its command is published. One without a compensation is passed over when the
/// saga is compensated: it needs no undoing, or can't be undone.
///
/// A compensation may be asked for more than once, and where its command was refused or never came: it has to be idempotent, and
/// to succeed where there is nothing to undo. It goes by what the saga knew *before* the step, as a step whose time is up has told
/// it nothing.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use tidegate_plugin::{Command, Outgoing, Step};
///
/// #[derive(Deserialize, Serialize)]
/// struct Order {
///     cents: u64,
///     receipt: Option<String>,
/// }
///
/// let pay = Step::new("take-payment")
///     .command(|order: &Order, saga| {
///         Ok(Command::to("payments", Outgoing::new("TakePayment.v1").subject(saga.id()).json(&order.cents)?))
///     })
///     .succeeds_on_with("PaymentTaken.v1", |order, event| {
///         order.receipt = Some(event.id.clone());
///         Ok(())
///     })
///     .fails_on("PaymentRefused.v1")
///     .times_out_after(Duration::from_secs(30))
///     .compensate(|_, saga| Ok(Command::to("payments", Outgoing::new("Refund.v1").subject(saga.id()))))
///     .compensated_on("Refunded.v1");
/// assert_eq!(pay.name(), "take-payment");
/// ```
pub struct Step<D> {
    name: String,
    command: Option<Make<D>>,
    successes: Vec<(String, Learn<D>)>,
    failures: Vec<String>,
    timeout: Duration,
    compensation: Option<Make<D>>,
    compensated: Vec<String>,
    compensation_failures: Vec<String>,
    compensation_timeout: Duration,
    compensation_attempts: u32,
}

impl<D> Step<D> {
    /// A step of this name, which is unique within the saga and has no `/`. A saga that is under way finds its steps by it: a new
    /// version of the plugin keeps the names of those that sagas may have taken.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            command: None,
            successes: Vec::new(),
            failures: Vec::new(),
            timeout: TIMEOUT,
            compensation: None,
            compensated: Vec::new(),
            compensation_failures: Vec::new(),
            compensation_timeout: COMPENSATION_TIMEOUT,
            compensation_attempts: COMPENSATION_ATTEMPTS,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it asks for. Without it the step waits for what comes by itself.
    #[must_use]
    pub fn command(
        mut self,
        command: impl Fn(&D, &SagaContext<'_>) -> Result<Command, Failure> + 'static,
    ) -> Self {
        self.command = Some(Box::new(command));
        self
    }

    /// An event of this type says that it is done.
    #[must_use]
    pub fn succeeds_on(self, event_type: impl Into<String>) -> Self {
        self.succeeds_on_with(event_type, |_, _| Ok(()))
    }

    /// An event of this type says that it is done, and the saga learns something of it.
    #[must_use]
    pub fn succeeds_on_with(
        mut self,
        event_type: impl Into<String>,
        learn: impl Fn(&mut D, &Event) -> Result<(), Failure> + 'static,
    ) -> Self {
        self.successes.push((event_type.into(), Box::new(learn)));
        self
    }

    /// An event of this type says that it has not happened, and will not: it needs no compensation, and those before it do. That
    /// an aggregate has rejected the command says [`REJECTED`](crate::REJECTED).
    #[must_use]
    pub fn fails_on(mut self, event_type: impl Into<String>) -> Self {
        self.failures.push(event_type.into());
        self
    }

    /// How long it waits for its outcome: a day unless it says otherwise. Whether it happened isn't known then, so it is
    /// compensated itself, before those that were done.
    #[must_use]
    pub fn times_out_after(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What undoes it.
    #[must_use]
    pub fn compensate(
        mut self,
        command: impl Fn(&D, &SagaContext<'_>) -> Result<Command, Failure> + 'static,
    ) -> Self {
        self.compensation = Some(Box::new(command));
        self
    }

    /// An event of this type says that it is undone. Without one it is undone when its compensation is published.
    #[must_use]
    pub fn compensated_on(mut self, event_type: impl Into<String>) -> Self {
        self.compensated.push(event_type.into());
        self
    }

    /// An event of this type says that it can't be undone: the saga is set aside for an operator at once.
    #[must_use]
    pub fn compensation_fails_on(mut self, event_type: impl Into<String>) -> Self {
        self.compensation_failures.push(event_type.into());
        self
    }

    /// How long a compensation waits for its outcome before it is asked for again: a minute unless it says otherwise, and twice
    /// as long each time, up to an hour.
    #[must_use]
    pub fn compensation_times_out_after(mut self, timeout: Duration) -> Self {
        self.compensation_timeout = timeout;
        self
    }

    /// How often a compensation is asked for, once at least, before the saga is set aside for an operator: 12 times unless it says
    /// otherwise.
    #[must_use]
    pub fn compensation_attempts(mut self, attempts: u32) -> Self {
        self.compensation_attempts = attempts;
        self
    }

    /// Whether an event of this type says something of it.
    pub(super) fn knows(&self, event_type: &str) -> bool {
        self.success(event_type).is_some()
            || self.fails(event_type)
            || self.is_compensated_by(event_type)
            || self.compensation_fails(event_type)
    }

    pub(super) fn waits(&self) -> bool {
        !self.successes.is_empty()
    }

    /// Whether it waits for its failures too: it does with its successes.
    pub(super) fn waits_for_all(&self) -> bool {
        (self.waits() || self.failures.is_empty())
            && (self.waits_for_compensation() || self.compensation_failures.is_empty())
    }

    pub(super) fn make(&self, kind: Kind) -> Option<&Make<D>> {
        match kind {
            Kind::Command => self.command.as_ref(),
            Kind::Compensation => self.compensation.as_ref(),
        }
    }

    /// What is to be learned of its success, where an event of this type is one.
    pub(super) fn success(&self, event_type: &str) -> Option<&Learn<D>> {
        self.successes.iter().find(|(success, _)| success == event_type).map(|(_, learn)| learn)
    }

    pub(super) fn fails(&self, event_type: &str) -> bool {
        self.failures.iter().any(|failure| failure == event_type)
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn waits_for_compensation(&self) -> bool {
        !self.compensated.is_empty()
    }

    pub(super) fn is_compensated_by(&self, event_type: &str) -> bool {
        self.compensated.iter().any(|compensated| compensated == event_type)
    }

    pub(super) fn compensation_fails(&self, event_type: &str) -> bool {
        self.compensation_failures.iter().any(|failure| failure == event_type)
    }

    /// How long to wait after a compensation was asked for the nth time, from 1.
    pub(super) fn compensation_wait(&self, nth: u32) -> Duration {
        let doubled = 1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = COMPENSATION_TIMEOUT_MAX.max(self.compensation_timeout);
        self.compensation_timeout.saturating_mul(doubled).min(longest)
    }

    pub(super) fn gives_up_after(&self, attempts: u32) -> bool {
        attempts >= self.compensation_attempts
    }
}

impl<D> fmt::Debug for Step<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a step asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To be done.
    Command,
    /// To be undone.
    Compensation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_a_compensation_is_asked_for_again_grows_to_an_hour() {
        let step = Step::<()>::new("s");
        let minutes: Vec<_> =
            [1, 2, 3, 6, 7, 33, u32::MAX].map(|nth| step.compensation_wait(nth).as_secs() / 60).into();
        assert_eq!(minutes, [1, 2, 4, 32, 60, 60, 60]);
        let day = Duration::from_hours(24);
        let slow = step.compensation_times_out_after(day);
        assert_eq!([1, 9].map(|nth| slow.compensation_wait(nth)), [day, day]);
    }
}
