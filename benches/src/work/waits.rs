//! How long one waits while others flood the bus.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Result, anyhow};

use super::bus::{KEYS, Measured, event};
use crate::row::{Goal, P50_P99_MAX, Row, WaitRounds};
use crate::scale::Scale;
use crate::time::{Waits, timed};

/// Publishers of a flood of events, each of which waits for its acknowledgement.
const PUBLISHERS: usize = 64;
/// Threads of a flood of transactions, each of which waits for its own.
const TRANSACTORS: usize = 16;
/// Publishers that are measured under a flood of transactions.
const MEASURED: usize = 8;

/// A transaction under a flood of publishes waits for the commit before it and its own, as a publish does. The longest wait
/// of many thousand publishes is longer than that of a few hundred transactions, so only p50 and p99 say much.
pub fn transaction_flood(scale: &Scale) -> Result<Vec<Row>> {
    let (mut beside_publish, mut beside_idle) = (WaitRounds::new(P50_P99_MAX), WaitRounds::new(P50_P99_MAX));
    for _ in 0..scale.rounds {
        let measured = Measured::new()?;
        let mut idle = transactions(&measured, 0, scale.samples, || true)?;
        let (mut publishes, mut flooded) = flood(&measured, scale)?;
        beside_publish.push(&mut flooded, &mut publishes);
        beside_idle.push(&mut flooded, &mut idle);
    }
    let publish = "a plain publish in the same flood";
    let rows = beside_publish.rows("transaction-flood", publish, Goal::AtMost(1.5));
    let idle = "a transaction on an idle bus";
    Ok(rows.chain(beside_idle.rows("transaction-flood-idle", idle, Goal::AtMost(10.0))).collect())
}

/// A flood of publishes, and one thread of transactions until it is over: how long each of both waited.
fn flood(measured: &Measured, scale: &Scale) -> Result<(Waits, Waits)> {
    let flooding = AtomicBool::new(true);
    thread::scope(|scope| {
        let transactor = scope
            .spawn(|| transactions(measured, scale.samples, usize::MAX, || flooding.load(Ordering::Relaxed)));
        // The first ones take what doesn't divide.
        let share = |publisher: usize| (scale.flood_events + PUBLISHERS - 1 - publisher) / PUBLISHERS;
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| scope.spawn(move || publishes(measured, publisher, share(publisher))))
            .collect();
        let publishes = joined(publishers);
        flooding.store(false, Ordering::Relaxed);
        Ok((publishes?, joined([transactor])?))
    })
}

/// A publish under a flood of transactions waits for one closure more than on a bus without.
pub fn publish_under_transactions(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = WaitRounds::new(P50_P99_MAX);
    for _ in 0..scale.rounds {
        let measured = Measured::new()?;
        let each = scale.samples;
        let quiet = |from: usize| -> Result<Waits> {
            thread::scope(|scope| {
                let measured = &measured;
                let publishers = (from..from + MEASURED)
                    .map(|publisher| scope.spawn(move || publishes(measured, publisher, each)));
                joined(publishers.collect::<Vec<_>>())
            })
        };
        let mut alone = quiet(0)?;
        let publishing = AtomicBool::new(true);
        let mut flooded = thread::scope(|scope| {
            let (measured, publishing) = (&measured, &publishing);
            let transactors: Vec<_> = (0..TRANSACTORS)
                .map(|transactor| {
                    let going_on = || publishing.load(Ordering::Relaxed);
                    scope.spawn(move || transactions(measured, transactor << 32, usize::MAX, going_on))
                })
                .collect();
            let flooded = quiet(MEASURED);
            publishing.store(false, Ordering::Relaxed);
            joined(transactors).and(flooded)
        })?;
        rounds.push(&mut flooded, &mut alone);
    }
    let beside = "the same publishers without transactions";
    Ok(rounds.rows("publish-under-transactions", beside, Goal::AtMost(2.0)).collect())
}

/// Transactions one after the other, numbered from `first`, for as long as it goes on.
fn transactions(
    measured: &Measured,
    first: usize,
    count: usize,
    goes_on: impl Fn() -> bool,
) -> Result<Waits> {
    let mut waits = Waits::default();
    for number in (first..).take(count) {
        if !goes_on() {
            break;
        }
        let event = event(&format!("transaction-{number}"), number % KEYS)?;
        let (outcome, took) = timed(|| measured.transact(number as u64, event));
        outcome?;
        waits.push(took);
    }
    Ok(waits)
}

/// Publishes one after the other.
fn publishes(measured: &Measured, publisher: usize, count: usize) -> Result<Waits> {
    let mut waits = Waits::default();
    for number in 0..count {
        let event = event(&format!("plain-{publisher}-{number}"), (publisher + number) % KEYS)?;
        let (outcome, took) = timed(|| measured.bus.publish("plain", event));
        outcome?;
        waits.push(took);
    }
    Ok(waits)
}

/// The waits of some threads together.
pub fn joined<'s>(threads: impl IntoIterator<Item = ScopedJoinHandle<'s, Result<Waits>>>) -> Result<Waits> {
    let mut all = Waits::default();
    for thread in threads {
        all.extend(thread.join().map_err(|_| anyhow!("a thread panicked; it says why above"))??);
    }
    Ok(all)
}
