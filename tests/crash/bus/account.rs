//! What was acknowledged, and holding it against what is durable.

use anyhow::{Context as _, Result};
use tidegate::Blocking;

use super::effects::Effects;
use super::load::subscribe;
use super::sources::Sources;
use super::work::{PICKY, READERS};
use crate::outbox::account::OutboxAccount;
use crate::place::Place;
use crate::scenario::Account;

/// Dead letters that are put back to work at a time, at the end.
const REDRIVEN_AT_ONCE: usize = 1000;

/// What the children told, and what is known to be durable.
pub struct BusAccount {
    /// Of transactions and publishers.
    published: OutboxAccount,
    sources: Sources,
    effects: [Effects; READERS.len()],
    reloads: u64,
    redriven: u64,
}

impl Default for BusAccount {
    fn default() -> Self {
        Self {
            published: OutboxAccount::default(),
            sources: Sources::default(),
            effects: READERS.map(Effects::new),
            reloads: 0,
            redriven: 0,
        }
    }
}

impl Account for BusAccount {
    fn take(&mut self, line: &str) -> Result<()> {
        match line.split_once(' ') {
            None if line == "reloaded" => self.reloads += 1,
            Some(("redriven", letters)) => self.redriven += letters.parse::<u64>()?,
            _ => self.published.take(line)?,
        }
        Ok(())
    }

    fn again(&self) -> Vec<String> {
        self.published.again()
    }

    fn check(&mut self, bus: &Blocking) -> Result<()> {
        self.published.check(bus)?;
        self.check_effects(bus)
    }

    fn settle(&mut self, bus: &Blocking) -> Result<()> {
        let directory = bus.directory().parent().context("the bus has no directory around it")?;
        subscribe(bus, &Place::new(directory.to_owned()))?;
        let catch_up = || READERS.iter().try_for_each(|reader| bus.caught_up(reader.name));
        catch_up()?;
        loop {
            let letters = bus.bus().dead_letters(PICKY.name, 0, REDRIVEN_AT_ONCE)?;
            if letters.is_empty() {
                break;
            }
            bus.redrive(PICKY.name, letters.iter().map(|letter| letter.id).collect())?;
            catch_up()?;
        }
        self.published.check_all(bus)?;
        self.sources = Sources::default();
        self.effects = READERS.map(Effects::new);
        self.check_effects(bus)?;
        self.effects.iter().try_for_each(|effects| effects.is_complete(&self.sources))
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts = self.published.counts();
        counts.retain(|(what, _)| *what != "deliveries");
        let [effects, letters] =
            [Effects::done, Effects::letters].map(|count| self.effects.iter().map(count).sum());
        counts.extend([
            ("effects", effects),
            ("dead letters", letters),
            ("redriven", self.redriven),
            ("reloads", self.reloads),
        ]);
        counts
    }
}

impl BusAccount {
    fn check_effects(&mut self, bus: &Blocking) -> Result<()> {
        let snapshot = bus.bus().snapshot()?;
        self.sources.read(&snapshot)?;
        self.effects.iter_mut().try_for_each(|effects| effects.check(bus, &snapshot, &self.sources))
    }
}
