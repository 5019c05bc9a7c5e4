//! How a simulation ends: all is healed, comes through, and leaves nothing that nobody needs.

use std::time::Duration;

use tidegate::ConsumerStatus;
use tidegate::testing::Step;

use super::super::script::PLANS;
use super::super::{aggregates, model, sagas};
use super::{DEEDS, Life, PATIENCE};

impl Life<'_> {
    /// Heals what was broken, and has every consumer come to the end of what there is.
    pub(super) async fn come_to_the_end(&mut self) -> Result<(), String> {
        self.finish_calls().await?;
        for plan in &PLANS {
            let bus = self.bus.clone();
            // One that was paused before stays paused over restarts.
            let resumed = self.drive(async move { bus.resume(plan.name).await }).await?;
            resumed.map_err(|error| error.to_string())?;
            self.world.version += 1;
            let (bus, script) = (self.bus.clone(), self.world.script(plan));
            let reloaded = self.drive(async move { bus.switch_handler(plan.name, script).await }).await?;
            reloaded.map_err(|error| error.to_string())?;
        }
        for name in [sagas::SAGA.0, sagas::PARTICIPANT.0] {
            let bus = self.bus.clone();
            let resumed = self.drive(async move { bus.resume(name).await }).await?;
            resumed.map_err(|error| error.to_string())?;
        }
        self.come_through().await?;
        self.check()?;
        // Every letter that has an event goes back to work, until there is none.
        for _ in 0..DEEDS {
            let mut is_done = true;
            let others = [sagas::SAGA.0, sagas::PARTICIPANT.0, aggregates::NAME];
            for name in PLANS.iter().map(|plan| plan.name).chain(others) {
                let letters = self.bus.dead_letters(name, 0, 100).map_err(|error| error.to_string())?;
                let letters: Vec<_> = letters.into_iter().filter(|letter| letter.event.is_some()).collect();
                if letters.is_empty() {
                    continue;
                }
                is_done = false;
                self.world.model.redrive(name, &letters);
                if name == aggregates::NAME {
                    let events = letters.iter().filter_map(|letter| letter.event.as_ref());
                    self.world.model.aggregates.redrive(events);
                }
                let ids = letters.iter().map(|letter| letter.id).collect();
                let bus = self.bus.clone();
                let redriven = self.drive(async move { bus.redrive(name, ids).await }).await?;
                redriven.map_err(|error| error.to_string())?;
            }
            if is_done {
                for (state, count) in model::sagas::check(&self.bus, &self.world.model.words)? {
                    self.world.counts.add(&format!("sagas {state}"), count);
                }
                self.go_over().await?;
                self.ask_again().await?;
                self.check_aggregates().await?;
                self.clear_out().await?;
                return self.check();
            }
            self.come_through().await?;
            self.check()?;
        }
        Err("dead letters that were redriven come back".to_owned())
    }

    /// Whatever nobody needs any more is removed, and nothing else.
    async fn clear_out(&mut self) -> Result<(), String> {
        loop {
            let bus = self.bus.clone();
            let trimmed = self.drive(async move { bus.trim().await }).await?;
            if !trimmed.map_err(|error| error.to_string())?.more {
                break;
            }
        }
        let left = model::blobs::check_store(&self.bus)?;
        self.world.counts.add("blobs left at the end", left);
        Ok(())
    }

    /// Every lane goes over to the version that was accepted last, after the delivery that it is at.
    async fn go_over(&mut self) -> Result<(), String> {
        for _ in 0..PATIENCE / 10 {
            self.idle().await;
            if self.stepper.go_on() || self.step()? == Step::Worked {
                continue;
            }
            let consumers = self.bus.consumers().map_err(|error| error.to_string())?;
            let late = |consumer: &&ConsumerStatus| {
                consumer.lanes.iter().any(|lane| lane.version != consumer.version)
            };
            if !consumers.iter().any(|consumer| late(&consumer)) {
                return Ok(());
            }
            self.world.clock.advance(Duration::from_secs(10));
        }
        Err(format!("lanes don't go over to the accepted version: {:#?}", self.bus.consumers()))
    }

    async fn come_through(&mut self) -> Result<(), String> {
        for _ in 0..PATIENCE {
            self.idle().await;
            if self.stepper.go_on() || self.step()? == Step::Worked {
                continue;
            }
            self.check()?;
            if self.world.model.is_through(&self.bus, self.world.held_max)? {
                return Ok(());
            }
            self.world.clock.advance(Duration::from_secs(1 + self.world.draw(60)));
        }
        Err(format!("the consumers don't come to their end: {:#?}", self.bus.consumers()))
    }
}
