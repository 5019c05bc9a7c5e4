//! What timers cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tidegate::config::{ConsumerConfig, TopicConfig};
use tidegate::{Clock, Outgoing, SystemClock, TIMER_TYPE, handler_fn};

use super::bus::{Measured, PARTITIONS, fill, work_off};
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::{rate, timed};

/// Events of one call of `publish_all`.
const GROUP: usize = 256;
/// Timers that are set in a second, at the least: they are due when all are.
const SET_A_SECOND: usize = 15_000;

/// Timers, each set by an event, which then all come due at once; beside events that each publish one, and events that do nothing.
/// All in one round: there are a million.
pub fn timers(scale: &Scale) -> Result<Vec<Row>> {
    let measured = Measured::new()?;
    let bus = &measured.bus;
    fill(bus, "plain", 0..scale.timers, GROUP)?;
    bus.create_topic("out", TopicConfig::new(PARTITIONS))?;

    let publishing = handler_fn(|delivery, context| {
        let event = Outgoing {
            kind: "Out.v1".into(),
            subject: Some(delivery.event.key().to_owned()),
            ..<_>::default()
        };
        Ok(context.publish("out", event)?)
    });
    bus.subscribe("publishing", ConsumerConfig::new(["plain"]).paused(true), publishing)?;
    let publishing = work_off(bus, "publishing", scale.timers)?;
    bus.subscribe("idle", ConsumerConfig::new(["plain"]).paused(true), handler_fn(|_, _| Ok(())))?;
    let idle = work_off(bus, "idle", scale.timers)?;

    let came = Arc::new(AtomicUsize::new(0));
    let seconds = u64::try_from(scale.timers.div_ceil(SET_A_SECOND))?;
    let clock = SystemClock::new();
    let due = clock.now().after(Duration::from_secs(seconds + 1));
    let counted = Arc::clone(&came);
    let setting = handler_fn(move |delivery, context| {
        if delivery.event.kind() == TIMER_TYPE {
            counted.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Ok(context.set_timer(delivery.event.id(), due, None)?)
    });
    bus.subscribe("setting", ConsumerConfig::new(["plain"]).paused(true), setting)?;
    let set = work_off(bus, "setting", scale.timers)?;
    anyhow::ensure!(came.load(Ordering::Relaxed) == 0, "some came due before all were set");
    while clock.now() < due {
        pause();
    }
    let ((), took) = timed(|| {
        while came.load(Ordering::Relaxed) < scale.timers {
            pause();
        }
    });
    Ok(vec![
        Rounds::one(set, publishing).row(
            "timers-set",
            "1/s",
            "events that each publish one",
            Goal::AtLeast(0.3),
        ),
        Rounds::one(rate(scale.timers, took), idle).row(
            "timers-come",
            "1/s",
            "events that are handled",
            Goal::AtLeast(0.1),
        ),
    ])
}

/// A pause between two looks: nobody unparks this thread.
fn pause() {
    thread::park_timeout(Duration::from_millis(1));
}
