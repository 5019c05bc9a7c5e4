//! Setting and cancelling timers.

use std::sync::Arc;

use super::{Context, Current, EFFECT_BYTES_MAX, EFFECT_EVENTS_MAX};
use crate::clock::Timestamp;
use crate::event::{Attribute, Causes, Data, Event, EventError};
use crate::limits::TIMERS_MAX;
use crate::timer::{NewTimer, TimerError, TimerName, TimerPlace, check_timer, timer_parts};

/// What a cancelled timer weighs beside its name, in bytes: its row's key.
const CANCEL_BYTES: usize = 64;

impl Context {
    /// Sets a timer of the delivery's key, in place of the one of this name if there is one.
    ///
    /// When it is due, it comes to this consumer as an event of type [`TIMER_TYPE`](crate::TIMER_TYPE) with the same key and
    /// subject, its name in the attribute `timername` and this data; its `time` is when it was due, and `causationid`,
    /// `correlationid`, `traceparent` and `tracestate` follow from the event that was delivered when it was set. It comes after
    /// what the log had accepted before it was due, and before what comes later, in the key's order, also where that waits for
    /// the retry of an event before; once, with retries and dead letters as any event. A moment that has passed already is due at
    /// once. While the consumer is paused or stopped nothing comes; what was due then comes when it goes on.
    ///
    /// It is set when the delivery commits, as all that the delivery does. JSON needs no white space around it, and text
    /// comes as `text/plain`.
    ///
    /// # Errors
    ///
    /// See [`TimerError`]; nothing is set then.
    pub fn set_timer(&mut self, name: &str, due: Timestamp, data: Option<Data>) -> Result<(), TimerError> {
        self.allow_timers()?;
        check_timer(name, Some((due, data.as_ref())))?;
        let Some(delivery) = &self.delivery else { return Ok(()) };
        let event = self.timer_event(delivery, name, due, data)?;
        let set = self.timers.set + (self.kept.timers.len() + self.open.timers.len()) as u64;
        if set >= TIMERS_MAX {
            return Err(TimerError::TooMany { max: TIMERS_MAX });
        }
        let number = self.timers.next + self.kept.timers_set + self.open.timers_set;
        let bytes = CANCEL_BYTES + event.size();
        let timer = NewTimer { place: TimerPlace { due, number }, event: Arc::new(event) };
        self.change_timer(name, bytes, Some(timer))?;
        self.open.timers_set += 1;
        Ok(())
    }

    /// Cancels the timer of this name and the delivery's key. Cancelling one that is not set, or that has come already, is
    /// no error.
    ///
    /// # Errors
    ///
    /// See [`TimerError`]; nothing is cancelled then.
    pub fn cancel_timer(&mut self, name: &str) -> Result<(), TimerError> {
        self.allow_timers()?;
        check_timer(name, None)?;
        self.change_timer(name, CANCEL_BYTES + name.len(), None)
    }

    /// Whether the batch has set or cancelled this timer: what the log has of it doesn't count any more then.
    pub(crate) fn has_changed_timer(&self, name: &TimerName) -> bool {
        self.kept.timers.contains_key(name)
    }

    /// The timer that comes first of those that the batch has set, where one is due.
    pub(crate) fn due_timer(&self, now: Timestamp) -> Option<(TimerPlace, &Event)> {
        self.timers_due.filter(|due| *due <= now)?;
        let due = self.kept.timers.values().flatten().filter(|timer| timer.place.due <= now);
        due.min_by_key(|timer| timer.place).map(|timer| (timer.place, &*timer.event))
    }

    /// Takes out the timer at this place, which the batch has set: it comes before the log ever has it. What the log has under
    /// its name is gone all the same.
    pub(crate) fn take_timer(&mut self, place: TimerPlace) -> Option<Arc<Event>> {
        let is_there =
            |timer: &&mut Option<NewTimer>| timer.as_ref().is_some_and(|timer| timer.place == place);
        self.kept.timers.values_mut().find(is_there)?.take().map(|timer| timer.event)
    }

    fn allow_timers(&self) -> Result<(), TimerError> {
        let authority = &self.owner.authority;
        if authority.allows_state() && authority.allows_writing() {
            Ok(())
        } else {
            Err(TimerError::NotGranted)
        }
    }

    fn change_timer(&mut self, name: &str, bytes: usize, timer: Option<NewTimer>) -> Result<(), TimerError> {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        if self.open.timers.len() >= EFFECT_EVENTS_MAX || self.open.bytes + bytes > EFFECT_BYTES_MAX {
            return Err(TimerError::EffectsSize {
                timers_max: EFFECT_EVENTS_MAX,
                bytes_max: EFFECT_BYTES_MAX,
            });
        }
        let name = TimerName { key: delivery.cause.key().to_owned(), name: name.to_owned() };
        self.open.bytes += bytes;
        self.open.timers.insert(name, timer);
        Ok(())
    }

    /// What the timer comes as. Its id is that of the delivery and its name, so that a repeated delivery repeats it.
    fn timer_event(
        &self,
        delivery: &Current,
        name: &str,
        due: Timestamp,
        data: Option<Data>,
    ) -> Result<Event, EventError> {
        let (cause, origin) = (&delivery.cause, delivery.origin(&self.owner));
        let origin = format!("{origin}/timers/{name}");
        let mut parts = timer_parts(&self.owner.consumer, origin.clone(), name, due, data);
        parts.subject = cause.subject().map(str::to_owned);
        if cause.subject() != Some(cause.key()) {
            parts.extensions.push(("partitionkey".to_owned(), Attribute::Text(cause.key().to_owned())));
        }
        Causes::of(cause).add_to(&mut parts, &origin, 0);
        Event::try_from(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::{Authority, ContextOwner, NoState, NoTopics};
    use crate::handler::Delivery;
    use crate::timer::TimerCounts;

    fn context(timers: TimerCounts) -> Context {
        let owner = ContextOwner {
            consumer: "c".into(),
            authority: Arc::new(Authority::Native),
            topics: Arc::new(NoTopics),
            seed: 1,
        };
        Context::new(owner, "1".into(), Box::new(NoState), timers)
    }

    fn begin(context: &mut Context, offset: u64) {
        let event = Event::new("e", "/tests", "Test.v1").subject("k").build().unwrap();
        context.begin(&Delivery {
            topic: "t".into(),
            partition: 0,
            offset,
            appended: Timestamp(7),
            attempt: 1,
            first_attempt: Timestamp(7),
            now: Timestamp(7),
            redriven: false,
            event: Arc::new(event),
        });
    }

    #[test]
    fn a_lane_sets_no_more_timers_than_it_may_have() {
        let mut context = context(TimerCounts { next: 9, set: TIMERS_MAX - 2 });
        begin(&mut context, 1);
        context.set_timer("a", Timestamp(9), None).unwrap();
        context.keep();
        begin(&mut context, 2);
        context.set_timer("b", Timestamp(9), None).unwrap();
        assert_eq!(context.set_timer("c", Timestamp(9), None), Err(TimerError::TooMany { max: TIMERS_MAX }));
    }

    #[test]
    fn who_answers_a_question_neither_sets_nor_cancels_timers() {
        let mut context = Context::reader("c".into(), "1".into(), Some(Box::new(NoState)));
        assert_eq!(context.set_timer("a", Timestamp(9), None), Err(TimerError::NotGranted));
        assert_eq!(context.cancel_timer("a"), Err(TimerError::NotGranted));
    }

    #[test]
    fn numbers_of_a_delivery_that_fails_are_given_again() {
        let mut context = context(TimerCounts { next: 9, set: 0 });
        begin(&mut context, 1);
        context.set_timer("a", Timestamp(9), None).unwrap();
        context.set_timer("a", Timestamp(8), None).unwrap();
        context.keep();
        begin(&mut context, 2);
        context.set_timer("b", Timestamp(9), None).unwrap();
        context.discard();
        begin(&mut context, 3);
        context.set_timer("c", Timestamp(9), None).unwrap();
        context.keep();
        let effects = context.take();
        let places: Vec<_> = effects.timers.values().flatten().map(|timer| timer.place.number).collect();
        assert_eq!((places, effects.timers_set), (vec![10, 11], 3));
    }
}
