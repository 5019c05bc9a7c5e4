//! A dead-letter queue of any length: listing, showing, redriving and discarding take no more memory for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, TopicConfig};
use tidegate::{AdminError, Blocking, Bus, Event, Failure, handler_fn};

use crate::fuzz::memory_kib;

/// Events in one commit.
const EVENTS_AT_ONCE: u16 = 4096;

/// Most memory that looking at the queue and settling it take beside what filling it took: a lane's redriven events, the
/// database's cache and a commit.
const GROWTH_KIB_MAX: u64 = 160 << 10;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Fills a queue with so many letters, and works on it. Says what that took.
///
/// # Errors
///
/// The first promise that is broken.
pub fn run(count: u64) -> Result<String, String> {
    measure(count).map_err(|error| format!("letters: {error}"))
}

fn measure(count: u64) -> Outcome<String> {
    let folder = TempDir::new()?;
    let bus = Bus::open(folder.path())?.blocking();
    bus.create_topic("in", TopicConfig::new(1))?;
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let handler = handler_fn(move |_, _| {
        if mended.load(Ordering::Relaxed) { Ok(()) } else { Err(Failure::permanent("bad", "for now")) }
    });
    bus.subscribe("c", ConsumerConfig::new(["in"]), handler)?;
    for first in (0..count).step_by(usize::from(EVENTS_AT_ONCE)) {
        let ids = first..count.min(first + u64::from(EVENTS_AT_ONCE));
        let events = ids.map(|id| Ok(("in", event(id)?))).collect::<Outcome<Vec<_>>>()?;
        bus.publish_all(events)?;
        bus.caught_up("c")?;
    }
    let before = memory_kib();
    let (listed, last) = walk(&bus, |_| Ok(()))?;
    if listed != count {
        return Err(format!("{listed} letters are listed of {count}").into());
    }
    let shown = bus.bus().dead_letter("c", last)?.ok_or("the last letter isn't shown")?;
    bus.redrive("c", vec![shown.id])?;
    bus.caught_up("c")?;
    let listing = memory_kib();
    is_mended.store(true, Ordering::Relaxed);
    // Half of them are put back to work, as fast as the consumer works them off; the rest is discarded.
    let (mut redriven, mut waits) = (0, 0_u64);
    walk(&bus, |page| {
        if redriven * 2 >= count {
            return Ok(());
        }
        loop {
            match bus.redrive("c", page.to_vec()) {
                Ok(()) => break,
                Err(AdminError::RedrivenWait { .. }) => {
                    waits += 1;
                    bus.caught_up("c")?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        redriven += page.len() as u64;
        Ok(())
    })?;
    bus.caught_up("c")?;
    let redriving = memory_kib();
    let mut discarded = 0;
    walk(&bus, |page| {
        discarded += page.len() as u64;
        Ok(bus.discard("c", page.to_vec())?)
    })?;
    let after = memory_kib();
    if redriven + discarded != count || !bus.bus().dead_letters("c", 0, 1)?.is_empty() {
        return Err(format!("{redriven} letters were redriven and {discarded} discarded, of {count}").into());
    }
    let growth = listing.max(redriving).max(after).saturating_sub(before);
    if growth > GROWTH_KIB_MAX {
        return Err(format!("the process grew by {growth} KiB, more than {GROWTH_KIB_MAX}").into());
    }
    bus.shutdown(Duration::from_secs(10));
    Ok(format!(
        "letters: {count} listed, {redriven} redriven in {waits} waits, {discarded} discarded; {before} KiB before, {listing} \
         after listing, {redriving} after redriving, {after} after discarding; 0 promises broken"
    ))
}

fn event(id: u64) -> Outcome<Event> {
    let json = format!("{{\"number\": {id}, \"text\": \"{}\"}}", "x".repeat(200));
    Ok(Event::new(id.to_string(), "/proof", "Bad.v1")
        .subject((id % 100).to_string())
        .json_text(json)
        .build()?)
}

/// Goes through the queue page by page. Says how many letters there were, and which was the last.
fn walk(bus: &Blocking, mut take: impl FnMut(&[u64]) -> Outcome<()>) -> Outcome<(u64, u64)> {
    let (mut count, mut last) = (0, 0);
    loop {
        let page = bus.bus().dead_letters("c", last, 1000)?;
        let ids: Vec<u64> = page.iter().map(|letter| letter.id).collect();
        let Some(end) = ids.last() else { return Ok((count, last)) };
        (count, last) = (count + ids.len() as u64, *end);
        drop(page);
        take(&ids)?;
    }
}
