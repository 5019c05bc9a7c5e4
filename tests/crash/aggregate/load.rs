//! The child: clients who give one command after the other.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use tidegate::{Blocking, Bus};

use super::work::{NAME, command, start};
use crate::outbox::load::or_end;
use crate::place::{Place, READY, Told};

/// Clients at once.
const CLIENTS: u64 = 6;
/// What a client waits at the most: nobody comes near it.
pub const WAIT: Duration = Duration::from_mins(1);

/// Works until it is killed.
pub fn until_killed(place: &Place, round: u32, told: &Told) -> Result<()> {
    let bus = Bus::open(place.bus())?.blocking();
    start(&bus)?;
    told.tell(READY)?;
    place.again()?.iter().try_for_each(|id| give(&bus, id, told))?;
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let bus = &bus;
            scope.spawn(move || {
                or_end((0_u64..).try_for_each(|n| {
                    let id = format!("r{round}-c{client}-{n}");
                    told.tell(format_args!("asks {id}"))?;
                    give(bus, &id, told)
                }));
            });
        }
    });
    bail!("the load came to an end");
}

/// Gives a command and tells its answer.
fn give(bus: &Blocking, id: &str, told: &Told) -> Result<()> {
    let outcome = bus.execute(NAME, command(id)?, WAIT)?;
    told.tell(format_args!("answered {id} {}", serde_json::to_string(&outcome)?))
}
