//! Where the timers of a lane have their place among its events.

use super::Desk;
use crate::clock::Timestamp;
use crate::delivery::interruption::Interruption;
use crate::delivery::merge::Next;
use crate::limits::{LANE_BATCH_DELIVERIES, READ_BYTES_MAX};

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
            while let Some(place) = self.timers.take_freed() {
                if let Some(timer) = self.shared.log.timer(self.lane, place)? {
                    self.timers.add(timer);
                }
            }
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

    /// Something of this key is done with, or held anew: timers that have waited behind it may come, where nothing else that is held
    /// has its place before them.
    pub(super) fn free(&mut self, key: u64) {
        if let Some(until) = self.machine.timers_until(key) {
            self.timers.free(key, until);
        }
    }
}
