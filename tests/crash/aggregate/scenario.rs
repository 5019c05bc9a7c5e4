//! The scenario.

use anyhow::Result;

use super::account::AggregateAccount;
use super::load;
use crate::place::{Place, Told};
use crate::scenario::{Account, Scenario};

/// See the module above.
pub struct Aggregates;

impl Scenario for Aggregates {
    fn name(&self) -> &'static str {
        "aggregate"
    }

    fn promise(&self) -> &'static str {
        "a command takes effect once and has one answer, however often it is given; streams have no gap"
    }

    fn load(&self, place: &Place, round: u32, told: &Told) -> Result<()> {
        load::until_killed(place, round, told)
    }

    fn kills_in_a_row(&self) -> u32 {
        3
    }

    fn account(&self) -> Box<dyn Account> {
        Box::new(AggregateAccount::default())
    }
}
