//! The child: an application that sells, and the bus with the relay, in one process.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tidegate::Bus;
use tidegate::config::{Dedup, TopicConfig};

use super::shop::{OUTBOX, Shop, TOPIC};
use crate::place::{Place, READY, Told};

/// Threads that sell, each with a connection of its own.
const WRITERS: u32 = 3;

/// One of so many transactions is rolled back.
const ROLLBACK_EVERY: u32 = 4;

/// Sells until it is killed.
pub fn run(shop: &dyn Shop, place: &Place, round: u32, told: &Told) -> Result<()> {
    let bus = Bus::open(place.bus())?.blocking();
    // Without a window, nothing but the position keeps a row from being published twice.
    bus.create_topic(TOPIC, TopicConfig::new(1).dedup(Dedup::new(Duration::ZERO, 0)))?;
    bus.bus().start_outbox(OUTBOX, shop.config(place.directory()))?;
    told.tell(READY)?;
    thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || sell(shop, place, round, writer, told))).collect();
        for writer in writers {
            if let Ok(Err(error)) = writer.join() {
                return Err(error);
            }
        }
        bail!("a writer has ended")
    })
}

fn sell(shop: &dyn Shop, place: &Place, round: u32, writer: u32, told: &Told) -> Result<()> {
    let mut till = shop.open(place.directory())?;
    for sale in 0_u32.. {
        let id = format!("{round:06}.{writer}.{sale:06}");
        let commits = !sale.is_multiple_of(ROLLBACK_EVERY);
        till.sell(&id, commits).with_context(|| format!("sale {id}"))?;
        if commits {
            told.tell(&id)?;
        }
    }
    Ok(())
}
