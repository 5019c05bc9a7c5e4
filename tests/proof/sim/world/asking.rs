//! What is asked of aggregates, beside the calls of clients.

use std::time::Duration;

use tidegate::{At, Timestamp};

use super::super::aggregates;
use super::super::model::aggregates::{Aggregates, ids, keys};
use super::{Life, unless_unreadable};

impl Life<'_> {
    /// Every command has its answer, and keeps it.
    pub(super) async fn ask_again(&mut self) -> Result<(), String> {
        for id in ids(&self.bus)? {
            let (bus, command) = (self.bus.clone(), aggregates::command(&id));
            let wait = Duration::from_hours(1);
            let asked = self.drive(async move { bus.execute(aggregates::NAME, command, wait).await }).await?;
            let outcome = asked.map_err(|error| format!("{id} has no answer: {error}"))?;
            self.world.model.aggregates.answer(&id, &outcome)?;
        }
        Ok(())
    }

    /// Looks at what aggregates are, now, at a version, or at the time of some event.
    pub(super) async fn check_aggregates(&mut self) -> Result<(), String> {
        for key in keys() {
            match self.check_aggregate(&key).await {
                Err(broken) if !unless_unreadable(Err(broken.clone()))? => {}
                checked => checked?,
            }
        }
        Ok(())
    }

    async fn check_aggregate(&mut self, key: &str) -> Result<(), String> {
        let events = Aggregates::until(&self.bus, key, At::Latest)?;
        let number = self.world.draw(events + 1);
        let at = match self.world.draw(3) {
            0 => At::Latest,
            1 => At::Version(number),
            _ => match Aggregates::accepted(&self.bus, key, number)? {
                // Up to a microsecond before it, too.
                Some(time) => At::Time(Timestamp(time.0 - i64::from(self.world.draw(2) == 0))),
                None => At::Latest,
            },
        };
        let before = Aggregates::until(&self.bus, key, at)?;
        let (bus, asked) = (self.bus.clone(), key.to_owned());
        let found = self.drive(async move { bus.aggregate_at(aggregates::NAME, &asked, at).await }).await?;
        self.world.counts.add("looks at aggregates", 1);
        Aggregates::check_state(&self.bus, (key, at), before, found)
    }
}
