//! What is under load, and what is promised of it.

use std::any::Any;

use anyhow::Result;
use tidegate::Blocking;

use crate::aggregate::Aggregates;
use crate::bus::LoadedBus;
use crate::outbox::Outbox;
use crate::place::{Place, Told};
use crate::relay::{Postgres, Sqlite};

/// All scenarios. Another one is a type like these and a line here.
pub const SCENARIOS: [&dyn Scenario; 5] = [&LoadedBus, &Aggregates, &Outbox, &Sqlite, &Postgres];

/// What panics say that belong to the load.
pub const ON_PURPOSE: &str = "on purpose";

/// Something that is under load and killed. The same value serves in the parent and in the child.
pub trait Scenario: Sync {
    /// What the command line calls it.
    fn name(&self) -> &'static str;

    /// What never breaks, in one line.
    fn promise(&self) -> &'static str;

    /// In the parent, before the first child: starts what outlives the kills, such as a server.
    fn surroundings(&self, _place: &Place) -> Result<Surroundings> {
        Ok(Surroundings::Ready(Box::new(())))
    }

    /// In the child: opens what is under load, tells [`READY`](crate::place::READY), works until it is killed, and tells of
    /// each thing after its acknowledgement. Returns only with an error.
    fn load(&self, place: &Place, round: u32, told: &Told) -> Result<()>;

    /// Most kills in a row, each of the process that the one before made necessary, until somebody looks. A process that
    /// follows upon a kill looks out for a delivery that kills its process; one that follows upon a look doesn't.
    fn kills_in_a_row(&self) -> u32 {
        1
    }

    /// In the parent: what keeps account of the children's work.
    fn account(&self) -> Box<dyn Account>;
}

/// What a scenario needs around it.
pub enum Surroundings {
    /// It is there for as long as this value.
    Ready(Box<dyn Any>),
    /// The machine doesn't have it: the scenario is passed over, and says why.
    Missing(String),
}

/// Holds what the children told against what is on the disk.
pub trait Account {
    /// Takes in a line that a child told.
    fn take(&mut self, line: &str) -> Result<()>;

    /// What the next child is to do first, a line each: what a client does again that got no answer.
    fn again(&self) -> Vec<String> {
        Vec::new()
    }

    /// Checks what is durable after a kill. The bus was opened for this alone. An error is a broken promise.
    fn check(&mut self, bus: &Blocking) -> Result<()>;

    /// Lets what was under way come to its end, and checks all of it from the start.
    fn settle(&mut self, bus: &Blocking) -> Result<()>;

    /// What was counted, for the last line.
    fn counts(&self) -> Vec<(&'static str, u64)>;
}
