//! The scenario.

use anyhow::{Result, ensure};

use super::account::BusAccount;
use super::load;
use super::work::VERSIONS;
use crate::place::{Place, Told};
use crate::scenario::{Account, Scenario, Surroundings};

/// See the module above.
pub struct LoadedBus;

impl Scenario for LoadedBus {
    fn name(&self) -> &'static str {
        "bus"
    }

    fn promise(&self) -> &'static str {
        "with plugins that are replaced all the time: acknowledged is durable, effects take place once and in order, what is \
         given up on is a dead letter"
    }

    fn surroundings(&self, place: &Place) -> Result<Surroundings> {
        for version in VERSIONS {
            let file = load::component(version);
            ensure!(file.exists(), "{} is not there: `cargo xtask plugins` builds it", file.display());
        }
        load::install(place, VERSIONS[0])?;
        Ok(Surroundings::Ready(Box::new(())))
    }

    fn load(&self, place: &Place, round: u32, told: &Told) -> Result<()> {
        load::until_killed(place, round, told)
    }

    fn kills_in_a_row(&self) -> u32 {
        3
    }

    fn account(&self) -> Box<dyn Account> {
        Box::new(BusAccount::default())
    }
}
