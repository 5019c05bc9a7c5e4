//! Every sync point: a fixed scenario whose disk is frozen at each write, change of length and sync in turn. What is there
//! afterwards is compared with what the scenario knows, for three ends: all of what was not synced is lost, all of it has
//! reached the disk, and some of it has, as chance will have it.

use std::fmt;

use crate::scenario::{Outcome, Stage};

/// What became of what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The power went, and with it all of it.
    Lost,
    /// The process ended, and the disk has all of it.
    Kept,
    /// The power went, and the disk had written some of it, in no order.
    Torn,
}

/// Points in a row at which the scenario was at its end already, after which there are no more.
const BEYOND: u32 = 3;

/// Bytes of the journal: none, and one that takes few commits between checkpoints.
const JOURNALS: [usize; 2] = [0, 16 << 10];

const ENDS: [End; 3] = [End::Lost, End::Kept, End::Torn];

/// What was done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Operations of the disk at which it was frozen.
    pub points: u64,
    /// Ends that were tried.
    pub runs: u64,
    /// Of these, those in which the scenario was cut off in an operation that it was told is in doubt.
    pub in_doubt: u64,
    /// Of those, the ones in which the operation turned out to be durable.
    pub durable_in_doubt: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sync points: {} operations frozen, {} runs, {} in doubt, of which {} durable; 0 promises broken",
            self.points, self.runs, self.in_doubt, self.durable_in_doubt
        )
    }
}

/// Freezes the disk at every `stride`th operation, from `from` on.
///
/// # Errors
///
/// The first promise that is broken, with the command that repeats it.
pub fn run(from: u64, stride: u64, seed: u64) -> Result<Counts, String> {
    for journal in JOURNALS {
        Stage::new(seed, journal).play().map_err(|broken| format!("without a fault: {broken}"))?;
    }
    let mut counts = Counts::default();
    let mut point = from;
    // Lanes commit in other groups from run to run, so the last operations are not there in each of them.
    let mut beyond = 0;
    while beyond < BEYOND {
        let mut was_frozen = false;
        for (journal, end) in JOURNALS.into_iter().flat_map(|journal| ENDS.map(|end| (journal, end))) {
            let outcome = freeze(point, end, seed, journal).map_err(|broken| {
                format!("{broken}\nrepeat it: cargo xtask sync-points --from {point} --stride 1000000 --seed {seed}  ({end:?}, a journal of {journal} bytes)")
            })?;
            let Some(outcome) = outcome else { continue };
            was_frozen = true;
            counts.runs += 1;
            counts.in_doubt += u64::from(outcome.in_doubt);
            counts.durable_in_doubt += u64::from(outcome.in_doubt && outcome.was_durable);
        }
        counts.points += u64::from(was_frozen);
        beyond = if was_frozen { 0 } else { beyond + 1 };
        point += stride;
    }
    Ok(counts)
}

/// Nothing where the scenario has come to its end before that operation.
fn freeze(point: u64, end: End, seed: u64, journal: usize) -> Result<Option<Outcome>, String> {
    let stage = Stage::new(seed.wrapping_add(point), journal);
    stage.freeze_at(point);
    let known = stage.play_until_frozen()?;
    let was_frozen = stage.is_frozen();
    stage.end(end);
    let outcome = stage.check(&known)?;
    Ok(was_frozen.then_some(outcome))
}
