//! Running a saga as a consumer.

use std::fmt;

use super::record::{Record, state_key};
use super::step::Step;
use super::turn::{COMMANDS, TIMER, Turn};
use super::{REJECTED, Saga};
use crate::{Attribute, Consumer, Delivery, Event, Failure, Host, Outgoing, Raw};

/// The timer by which an operator has a saga ask again.
pub(crate) const RETRY: &str = "saga:retry";
/// The timer by which an operator has a saga compensated.
pub(crate) const COMPENSATE: &str = "saga:compensate";

/// The timer by which an operator says that the step where a saga is stuck is undone.
pub(crate) const RESOLVE: &str = "saga:resolve";

/// What an event's place said of it, where it is sent on: it gets a place of its own.
const OF_ITS_PLACE: [&str; 4] = ["partitionkey", "sequence", "sequencetype", "traceparent"];

/// The consumer that runs a [`Saga`].
///
/// ```
/// use tidegate_plugin::{Consumer, Saga, SagaConsumer};
///
/// /// What has to be granted for a saga.
/// fn topics<S: Saga>() -> &'static [&'static str] {
///     SagaConsumer::<S>::PUBLISHES
/// }
/// ```
pub struct SagaConsumer<S: Saga> {
    steps: Vec<Step<S::Data>>,
}

impl<S: Saga> Default for SagaConsumer<S> {
    fn default() -> Self {
        let steps = S::steps();
        for (at, step) in steps.iter().enumerate() {
            let is_new = steps[..at].iter().all(|other| other.name() != step.name());
            assert!(is_new, "a saga's steps have names of their own, and two are called `{}`", step.name());
            assert!(
                !step.name().contains('/'),
                "the name of step `{}` has a `/`, which parts the ids of its commands",
                step.name()
            );
            assert!(
                step.waits_for_all(),
                "step `{}` names events of failure, and none of success: it would not wait for them",
                step.name()
            );
        }
        Self { steps }
    }
}

impl<S: Saga> fmt::Debug for SagaConsumer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaConsumer").field("steps", &self.steps).finish()
    }
}

impl<S: Saga> Consumer for SagaConsumer<S> {
    const NAME: &'static str = S::NAME;
    const PUBLISHES: &'static [&'static str] = S::PUBLISHES;
    const USES_STATE: bool = true;
    const STATE_VERSION: u32 = S::STATE_VERSION;
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let event = &delivery.event;
        let event_type = event.event_type.as_str();
        let begins = S::BEGINS.contains(&event_type);
        let is_known = self.steps.iter().any(|step| step.knows(event_type));
        if !begins && !is_known {
            return Ok(());
        }
        if !begins && is_of_another(event, &host.consumer()) {
            return Ok(());
        }
        let Some(id) = S::id_of(event) else { return Ok(()) };
        if id != event.key() {
            return forward::<S>(event, &id, host);
        }
        match record::<S>(&id, host)? {
            Some(record) if is_known => self.turn(&id, record, host).event(event),
            Some(record) => self.turn(&id, record, host).begins_again(event),
            None if begins => match S::begin(event)? {
                Some(data) => {
                    let record = Record::new(S::NAME, host.now(), data);
                    self.turn(&id, record, host).begin(event)
                }
                None => Ok(()),
            },
            None => {
                crate::debug!(host, "there is no saga {id}: {event_type} {} is passed over", event.id);
                Ok(())
            }
        }
    }

    fn timer(&mut self, name: &str, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        if ![TIMER, RETRY, COMPENSATE, RESOLVE].contains(&name) {
            return Err(Failure::permanent(
                "unexpected-timer",
                format_args!("a saga sets no timer `{name}`"),
            ));
        }
        let id = delivery.event.key();
        let Some(record) = record::<S>(id, host)? else {
            crate::debug!(host, "there is no saga {id}: its timer is passed over");
            return Ok(());
        };
        let turn = self.turn(id, record, host);
        match name {
            RETRY => turn.retry(),
            COMPENSATE => turn.compensate(),
            RESOLVE => turn.resolve(),
            _ => turn.timer(&delivery.event.data),
        }
    }
}

impl<S: Saga> SagaConsumer<S> {
    fn turn<'a>(&'a self, id: &'a str, record: Record<S::Data>, host: &'a mut dyn Host) -> Turn<'a, S::Data> {
        Turn { id, steps: &self.steps, kept: S::KEPT, record, host }
    }
}

fn record<S: Saga>(id: &str, host: &dyn Host) -> Result<Option<Record<S::Data>>, Failure> {
    Ok(host.get_json(state_key(id))?)
}

/// Whether an event answers a command that no saga of this consumer has sent: of another saga, or, where an aggregate says that
/// it has rejected it, of anybody else. Participants elsewhere may not say what caused an event; aggregates do.
fn is_of_another(event: &Event, consumer: &str) -> bool {
    let cause = event.extension("causationid").and_then(Attribute::as_str).unwrap_or_default();
    match cause.strip_prefix(COMMANDS) {
        Some(command) => !command.strip_prefix(consumer).is_some_and(|rest| rest.starts_with('/')),
        None => event.event_type == REJECTED,
    }
}

/// Sends an event to the saga's own key: what happens to a saga happens in its order alone.
fn forward<S: Saga>(event: &Event, id: &str, host: &mut dyn Host) -> Result<(), Failure> {
    const { assert!(inbox_is_published::<S>(), "the saga's INBOX is not among its PUBLISHES") };
    let Some(inbox) = S::INBOX else {
        let (event_type, key) = (&event.event_type, event.key());
        return Err(Failure::permanent(
            "no-inbox",
            format_args!("{event_type} of key `{key}` is for saga `{id}`, which has no INBOX to reach it by"),
        ));
    };
    let mut sent = Outgoing {
        // The host gives it an id of its own, which a repeated delivery repeats: the inbox may be the topic that it came from.
        id: None,
        source: Some(event.source.clone()),
        event_type: event.event_type.clone(),
        subject: event.subject.clone(),
        time: event.time.clone(),
        datacontenttype: event.datacontenttype.clone(),
        dataschema: event.dataschema.clone(),
        extensions: event.extensions.clone(),
        data: event.data.clone(),
    };
    sent.extensions.retain(|(name, _)| !OF_ITS_PLACE.contains(&name.as_str()));
    Ok(host.publish(inbox, sent.key(id))?)
}

/// Looked at when the plugin is compiled.
const fn inbox_is_published<S: Saga>() -> bool {
    let Some(inbox) = S::INBOX else { return true };
    let mut at = 0;
    while at < S::PUBLISHES.len() {
        if is_same(S::PUBLISHES[at].as_bytes(), inbox.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    a.len() == b.len()
}
