//! A lane's instance of an aggregate: keeps the aggregates of its partition, and makes effects of what is decided.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cache::Cache;
use super::fold::{Folded, Until, id_of, source_of};
use super::model::{Decision, Model};
use super::program::Shared;
use super::{Fact, Outcome, OutcomeRow, REJECTED, Rejection, outcome_key, rows, snapshot_key};
use crate::clock::BoxFuture;
use crate::effects::{Context, Outgoing, StateError};
use crate::event::{Attribute, Data, Event, SEQUENCE};
use crate::handler::{Delivery, Failure, Instance, Lender};
use crate::limits::{AGGREGATE_ID_BYTES_MAX, OUTCOMES_KEPT, OUTCOMES_PRUNED_EVERY};
use crate::timer::TIMER_TOPIC;

/// Attributes that are the host's.
const OWN_ATTRIBUTES: [&str; 6] =
    ["partitionkey", SEQUENCE, "causationid", "correlationid", "traceparent", "tracestate"];

/// See the module. It is thrown away after each failure, and with each batch that comes to nothing: what it has in
/// memory is what is durable and what the batch has kept.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    model: Box<dyn Model>,
    cache: Cache,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, model: Box<dyn Model>) -> Self {
        let cache = Cache::new(shared.config.cache_count, shared.config.cache_bytes);
        Self { shared, model, cache }
    }

    async fn work(&mut self, lender: &mut dyn Lender) -> Result<(), Failure> {
        loop {
            self.handle(lender).await?;
            if !lender.batch().proceed() {
                return Ok(());
            }
        }
    }

    /// Decides on the command whose delivery is under way.
    async fn handle(&mut self, lender: &mut dyn Lender) -> Result<(), Failure> {
        let command = lender.batch().delivery().clone();
        let id = command.event.key();
        check(&command)?;
        if lender.batch().context().get(&outcome_key(command.offset))?.is_some() {
            return Ok(());
        }
        let mut folded = self.load(lender, id).await?;
        if !folded.has_decided(&command) {
            // A rejection, too, is of this version and no other.
            let context = lender.batch().parts().1;
            context.expect(&self.shared.config.stream, id, folded.version)?;
            let outcome = match self.model.decide(lender, folded.state.as_deref()).await? {
                Decision::Rejected(rejection) => {
                    rejection.check()?;
                    self.tell_of(lender, &command, folded.version, &rejection)?;
                    Outcome::Rejected(rejection)
                }
                Decision::Accepted(facts) => {
                    let events = facts.len() as u64;
                    self.accept(lender, &command, &mut folded, facts).await?;
                    Outcome::Accepted { version: folded.version, events }
                }
            };
            let context = lender.batch().parts().1;
            let row = OutcomeRow::new(id, outcome).encode()?;
            context.set(&outcome_key(command.offset), &row)?;
            prune_outcomes(context, command.offset)?;
            self.keep_snapshot(context, id, &mut folded)?;
        }
        self.cache.put(id, folded);
        Ok(())
    }

    /// The aggregate as it is now: what is durable, and behind that what the batch has kept.
    async fn load(&mut self, lender: &mut dyn Lender, id: &str) -> Result<Folded, Failure> {
        if let Some(cached) = self.cache.take(id) {
            return Ok(cached);
        }
        let shared = Arc::clone(&self.shared);
        shared.counts.rebuilt.fetch_add(1, Ordering::Relaxed);
        let context = lender.batch().parts().1;
        let row = context.get(&snapshot_key(id))?;
        let mut folded = row.and_then(|row| rows::from_snapshot(&row, shared.seal)).unwrap_or_default();
        let kept = context.kept_events(&shared.config.stream, id);
        let mut fold = shared.fold(&mut *self.model, id, &shared.counts);
        let Some((before, kept)) = kept else {
            fold.forward(&mut folded, Until::END).await?;
            return Ok(folded);
        };
        // What somebody else has appended behind that since is found by the commit, which is refused then.
        fold.forward(&mut folded, Until { version: before, ..Until::END }).await?;
        let known = usize::try_from(folded.version.saturating_sub(before)).unwrap_or(usize::MAX);
        let rest: Vec<_> = (before + 1..)
            .zip(kept)
            .skip(known)
            .map(|(number, event)| Ok(Arc::new(numbered(event, number)?)))
            .collect::<Result<_, Failure>>()?;
        if !rest.is_empty() {
            fold.apply(&mut folded, &rest).await?;
        }
        Ok(folded)
    }

    /// Publishes what is decided to the stream, and goes forward over it. What the program
    /// can't fold itself is not appended: the delivery fails.
    async fn accept(
        &mut self,
        lender: &mut dyn Lender,
        command: &Delivery,
        folded: &mut Folded,
        facts: Vec<Fact>,
    ) -> Result<(), Failure> {
        if facts.is_empty() {
            return Ok(());
        }
        let id = command.event.key();
        let context = lender.batch().parts().1;
        let mut events = Vec::with_capacity(facts.len());
        for (number, fact) in (folded.version + 1..).zip(facts) {
            let event = outgoing(context.consumer(), command, number, fact)?;
            let event = context.publish_event(&self.shared.config.stream, event)?;
            events.push(Arc::new(numbered(&event, number)?));
        }
        let shared = Arc::clone(&self.shared);
        shared.fold(&mut *self.model, id, &shared.counts).apply(folded, &events).await
    }

    /// Publishes a rejection, where there is a topic for them. What caused it says whose command it was.
    fn tell_of(
        &self,
        lender: &mut dyn Lender,
        command: &Delivery,
        version: u64,
        rejection: &Rejection,
    ) -> Result<(), Failure> {
        let Some(topic) = &self.shared.config.rejections else { return Ok(()) };
        let event = rejected(&command.event, version, rejection);
        Ok(lender.batch().parts().1.publish(topic, event)?)
    }

    /// Keeps a snapshot, where rebuilding the aggregate would take too many events otherwise. Where the effects of the command
    /// leave no room for it, the next one does that.
    fn keep_snapshot(&self, context: &mut Context, id: &str, folded: &mut Folded) -> Result<(), Failure> {
        if folded.version - folded.snapshot < u64::from(self.shared.config.snapshot_every) {
            return Ok(());
        }
        if let Some(row) = rows::snapshot(folded, self.shared.seal) {
            match context.set(&snapshot_key(id), &row) {
                Err(StateError::EffectsSize { .. } | StateError::ValueSize { .. }) => return Ok(()),
                kept => kept?,
            }
            folded.snapshot = folded.version;
            self.shared.counts.snapshots.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Instance for Keeper {
    fn deliver<'a>(&'a mut self, lender: &'a mut dyn Lender) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.work(lender))
    }
}

/// Checks that it is a command, and one that an aggregate can have. Who sets timers by hand may set one of any consumer.
fn check(command: &Delivery) -> Result<(), Failure> {
    let id = command.event.key();
    if &*command.topic == TIMER_TOPIC {
        let message = format!(
            "a timer of key `{id}` has come, which is no command: discard it, an aggregate sets none"
        );
        return Err(Failure::permanent("no-command", message));
    }
    if id.len() <= AGGREGATE_ID_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the command's key has {} bytes: the id of an aggregate has at most {AGGREGATE_ID_BYTES_MAX}",
        id.len()
    );
    Err(Failure::permanent("aggregate-id", message))
}

/// A fact as the event that it becomes.
fn outgoing(consumer: &str, command: &Delivery, number: u64, fact: Fact) -> Result<Outgoing, Failure> {
    let taken = fact.extensions.iter().find(|(name, _)| OWN_ATTRIBUTES.contains(&name.as_str()));
    if let Some((name, _)) = taken {
        let message =
            format!("`{}` has the attribute `{name}`, which the bus gives the events of streams", fact.kind);
        return Err(Failure::permanent("invalid-event", message));
    }
    Ok(Outgoing {
        id: id_of(consumer, command, number),
        source: source_of(consumer),
        kind: fact.kind,
        subject: Some(command.event.key().to_owned()),
        time: None,
        datacontenttype: fact.datacontenttype,
        dataschema: fact.dataschema,
        extensions: fact.extensions,
        data: fact.data,
    })
}

/// A rejection as an event.
fn rejected(command: &Event, version: u64, rejection: &Rejection) -> Outgoing {
    let data = serde_json::json!({
        "command": { "source": command.source(), "id": command.id(), "type": command.kind() },
        "aggregate": command.key(),
        "version": version,
        "code": rejection.code,
        "message": rejection.message,
        "data": rejection.data,
    });
    Outgoing {
        kind: REJECTED.to_owned(),
        subject: Some(command.key().to_owned()),
        datacontenttype: Some("application/json".to_owned()),
        data: Some(Data::Json(data.to_string())),
        ..Outgoing::default()
    }
}

/// An event as it will be read from the stream.
fn numbered(event: &Event, number: u64) -> Result<Event, Failure> {
    let mut parts = event.clone().into_parts();
    parts.add_extension(SEQUENCE, || Attribute::Text(format!("{number:020}")));
    Event::try_from(parts).map_err(|error| Failure::permanent("invalid-event", error.to_string()))
}

/// Removes outcomes that are too old, some now and then: what a command that was held for long leaves goes with the
/// next ones.
fn prune_outcomes(context: &mut Context, offset: u64) -> Result<(), Failure> {
    let Some(oldest) = offset.checked_sub(OUTCOMES_KEPT) else { return Ok(()) };
    if !offset.is_multiple_of(OUTCOMES_PRUNED_EVERY) {
        return Ok(());
    }
    let limit = usize::try_from(2 * OUTCOMES_PRUNED_EVERY).unwrap_or(usize::MAX);
    for (key, _) in context.scan(&outcome_key(0), Some(&outcome_key(oldest)), limit)? {
        context.delete(&key)?;
    }
    Ok(())
}
