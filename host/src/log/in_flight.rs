//! A commit of large batches whose pages are on their way to the disk.
//!
//! It is too large for the journal, so it is durable when the disk has all of its pages. The committer need not stand still
//! for that: meanwhile it makes the rows of what comes next. Nobody is told of it before, and memory learns of it with
//! them: who reads through memory's ends doesn't see it, and who reads past them is shown a view from before it.

use std::collections::BTreeMap;

use super::admission::{Admitted, finish};
use super::error::StorageFault;
use super::journal::Journal;
use super::shared::Shared;
use super::txn::{After, Verdict};
use super::write_behind::Moment;
use crate::ids::TopicId;

/// Where partitions end: the first offset that isn't there yet, and the bytes of all batches up to there.
pub(super) type PartitionEnds = BTreeMap<(TopicId, u32), (u64, u64)>;

/// See the module.
pub(super) struct InFlight {
    pub items: Vec<Admitted>,
    pub after: Vec<After>,
    /// Where the partitions end that it has added to, which memory doesn't know yet.
    pub ends: PartitionEnds,
    /// When the disk has it.
    pub moment: Moment,
}

impl InFlight {
    /// Whether the disk has it, or never will.
    pub fn is_over(&self, journal: &Journal) -> bool {
        journal.is_over(self.moment)
    }

    /// Waits until the disk has it.
    ///
    /// # Errors
    ///
    /// The disk failed: it may have all of it, or nothing.
    pub fn wait(&self, journal: &Journal) -> Result<(), StorageFault> {
        Ok(journal.wait_for(self.moment).map_err(redb::Error::Io)?)
    }

    /// Has memory learn of it, now that the disk has it, and answers all of it.
    pub fn succeeded(self, shared: &Shared) {
        for after in self.after {
            after(shared);
        }
        shared.hide_nothing();
        finish(self.items, &Verdict::Durable);
    }

    /// Answers all of it, once nothing can be read any more.
    pub fn failed(self, fault: StorageFault) {
        finish(self.items, &Verdict::InDoubt(fault));
    }
}
