//! Where the timers of a lane have their place among its events.

use super::Desk;
use crate::clock::Timestamp;
use crate::delivery::interruption::Interruption;
use crate::delivery::merge::Next;
use crate::limits::{LANE_BATCH_DELIVERIES, READ_BYTES_MAX};
use crate::log::DueTimer;
use crate::timer::TimerName;

impl Desk {
    /// Reads until it is known which event and which timer come next. Returns the moment by which it is.
    pub(super) fn look_ahead(&mut self) -> Result<Timestamp, Interruption> {
        self.read_ahead()?;
        // After reading: a timer that is due before one of those events was accepted is due by then.
        let now = self.shared.log.clock().now();
        self.read_timers(now)?;
        // What has come since the topics were read to their end may have been accepted before the timer was due.
        let is_unsure = self.first_timer(now).is_some_and(|(place, _)| place.due > self.read_at);
        if is_unsure && matches!(self.merge.next(), Next::Nothing) {
            self.merge.wake();
            self.read_ahead()?;
            self.read_at = now;
        }
        Ok(now)
    }

    /// Reads until it is known which timer comes next, if one is due. What the batch has set or cancelled the log has as it was
    /// before.
    fn read_timers(&mut self, now: Timestamp) -> Result<(), Interruption> {
        loop {
            if self.timers.wants_more(now, self.shared.config.held_max) {
                let (after, bounds) = (self.timers.read_to(), (LANE_BATCH_DELIVERIES, READ_BYTES_MAX));
                self.timers.fill(self.shared.log.due_timers(self.lane, after, now, bounds)?);
            }
            match (self.timers.first(), &self.context) {
                (Some((_, Ok(timer))), Some(context)) if context.has_changed_timer(&timer.name) => {
                    self.timers.take();
                }
                _ => return Ok(()),
            }
        }
    }

    /// Holds a timer that waits for this key, where it is due before the event that is to be held now. Whether there was one.
    pub(super) fn hold_timer(&mut self, key: u64, appended: Option<Timestamp>) -> Result<bool, Interruption> {
        let place = appended.and_then(|appended| self.timers.overtaken(key, appended));
        let Some(place) = place else { return Ok(false) };
        let has_changed =
            |name: &TimerName| self.context.as_ref().is_some_and(|context| context.has_changed_timer(name));
        match self.shared.log.timer(self.lane, place)? {
            Some(DueTimer { event: Ok(timer), .. }) if !has_changed(&timer.name) => {
                self.came.insert(place, timer.name);
                let subject = self.timer_subject(place, timer.key, timer.event);
                self.machine.hold(&subject);
            }
            Some(damaged @ DueTimer { event: Err(_), .. }) => self.timers.add(damaged),
            // It was cancelled or set anew meanwhile.
            _ => {}
        }
        Ok(true)
    }
}
