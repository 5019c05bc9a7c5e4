//! The scenario.

use anyhow::Result;

use super::account::OutboxAccount;
use super::load;
use crate::place::{Place, Told};
use crate::scenario::{Account, Scenario};

/// See the module above.
pub struct Outbox;

impl Scenario for Outbox {
    fn name(&self) -> &'static str {
        "outbox"
    }

    fn promise(&self) -> &'static str {
        "an application's table and the log never disagree; effects take place once; acknowledged is durable"
    }

    fn load(&self, place: &Place, round: u32, told: &Told) -> Result<()> {
        load::until_killed(place, round, told)
    }

    fn account(&self) -> Box<dyn Account> {
        Box::new(OutboxAccount::default())
    }
}
