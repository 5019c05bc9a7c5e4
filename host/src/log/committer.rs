//! The one writer: it drains what waits into one commit after another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, select};
use redb::Database;

use super::admission::Admitted;
use super::error::{ReadError, StorageFault};
use super::open;
use super::schema::Tables;
use super::shared::{Health, Shared};
use super::txn::{Txn, Verdict, Windows};
use crate::limits::{BALLAST_BYTES, COMMIT_BYTES_MAX};

/// How long the committer waits before it tries again to open a database that failed, while items may still come in
/// and be refused.
const REOPEN_WAIT: Duration = Duration::from_millis(200);

/// What is never sent: a channel of it only tells of its end.
pub(super) enum Never {}

/// How the database was closed.
#[derive(Debug)]
pub(crate) enum Closing {
    /// In good order, and it says so.
    Marked,
    /// It could not be marked: the next start takes it as one after a crash.
    Unmarked(StorageFault),
    /// It had failed, and couldn't be opened anew before the end.
    Failing,
}

/// See the module.
pub(super) struct Committer {
    shared: Arc<Shared>,
    queue: Receiver<Admitted>,
    /// Disconnected when it is to end.
    end: Receiver<Never>,
    windows: Windows,
    commit_last: u64,
    /// Whether the ballast is there, or can't be.
    ballast_settled: bool,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        queue: Receiver<Admitted>,
        end: Receiver<Never>,
        windows: Windows,
        commit_last: u64,
    ) -> Self {
        Self { shared, queue, end, windows, commit_last, ballast_settled: false }
    }

    /// Works until it is told to end and the queue is empty, and then closes the database. The queue alone doesn't tell: a
    /// publisher that nobody polls any more holds its place in it for ever.
    pub fn run(mut self) -> Closing {
        while let Some(first) = self.next() {
            let group = self.gather(first);
            if !self.commit(group) {
                self.reopen();
            }
        }
        self.close()
    }

    /// The next item, as soon as there is one; `None` at the end.
    fn next(&self) -> Option<Admitted> {
        select! {
            recv(self.queue) -> item => item.ok(),
            recv(self.end) -> _ => self.queue.try_recv().ok(),
        }
    }

    /// Everything that waits, as far as one commit takes it.
    fn gather(&self, first: Admitted) -> Vec<Admitted> {
        let mut bytes = first.change.bytes();
        let mut group = vec![first];
        while bytes < COMMIT_BYTES_MAX {
            let Ok(next) = self.queue.try_recv() else { break };
            bytes += next.change.bytes();
            group.push(next);
        }
        group
    }

    /// Commits a group and answers all of its items. Returns whether the storage still works.
    fn commit(&mut self, group: Vec<Admitted>) -> bool {
        let database = match self.shared.database() {
            Ok(database) => database,
            Err(ReadError::Closed) => {
                finish(group, &Verdict::Closed);
                return true;
            }
            Err(_) => {
                finish(group, &Verdict::Reopening);
                return false;
            }
        };
        let group = self.refuse_without_space(group);
        if group.is_empty() {
            return true;
        }
        let (mut group, result) = self.write(&database, group);
        drop(database);
        let verdict = match result {
            Ok(()) => Verdict::Durable,
            Err(fault) => {
                self.shared.take_database(Health::Reopening);
                Verdict::InDoubt(fault)
            }
        };
        for item in group.drain(..) {
            item.change.finish(&verdict);
        }
        matches!(verdict, Verdict::Durable)
    }

    /// Answers the items that a full disk refuses, and returns the others.
    fn refuse_without_space(&mut self, group: Vec<Admitted>) -> Vec<Admitted> {
        let min = self.shared.options.free_bytes_min;
        if !group.iter().any(|item| item.change.adds()) {
            return group;
        }
        // A disk that doesn't say is taken to have room: a commit that fails says so itself.
        let free = self.shared.medium.free_bytes().unwrap_or(u64::MAX);
        if free >= min {
            if !self.ballast_settled && free >= min.saturating_add(2 * BALLAST_BYTES) {
                self.restore_ballast();
            }
            return group;
        }
        let (refused, group) = group.into_iter().partition(|item| item.change.adds());
        finish(refused, &Verdict::DiskFull { free, min });
        group
    }

    fn restore_ballast(&mut self) {
        self.ballast_settled = true;
        if let Err(error) = self.shared.medium.set_ballast() {
            tracing::debug!(%error, "no ballast could be set aside");
        }
    }

    /// Writes a group and makes it durable.
    fn write(
        &mut self,
        database: &Database,
        mut group: Vec<Admitted>,
    ) -> (Vec<Admitted>, Result<(), StorageFault>) {
        let commit = self.commit_last + 1;
        let (shared, windows) = (&self.shared, &self.windows);
        // A panic within redb poisons its transaction: it counts as a failed commit, and the database is opened anew.
        let result = catch_unwind(AssertUnwindSafe(|| {
            let transaction = open::begin_write(database, shared.options.commit)?;
            let (after, is_idle) = {
                let mut txn = Txn::new(Tables::open(&transaction)?, shared, windows, commit);
                for item in &mut group {
                    item.change.apply(&mut txn)?;
                }
                let is_idle = txn.idle() == group.len();
                (txn.complete()?, is_idle)
            };
            if is_idle {
                transaction.abort()?;
                return Ok(Vec::new());
            }
            transaction.commit()?;
            Ok(after)
        }));
        let result = match result {
            Ok(Ok(after)) => {
                self.commit_last = commit;
                for after in after {
                    after(&self.shared, &mut self.windows);
                }
                Ok(())
            }
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(StorageFault::from(redb::Error::Corrupted("the database panicked".to_owned()))),
        };
        (group, result)
    }

    /// Opens the database anew, for as long as it takes. Items that come in meanwhile are refused.
    fn reopen(&mut self) {
        self.ballast_settled = false;
        if let Err(error) = self.shared.medium.release_ballast() {
            tracing::warn!(%error, "the ballast could not be let go of");
        }
        loop {
            match open::reopen(&self.shared) {
                Ok(opened) => {
                    self.windows = opened.windows;
                    self.commit_last = opened.commit_last;
                    // Before anybody can read: what a lane reads from here on belongs to its new epoch.
                    self.shared.change_all_lanes();
                    self.shared.put_database(opened.database);
                    tracing::info!("the storage was opened anew");
                    return;
                }
                Err(error) => tracing::error!(%error, "the storage can't be opened anew; trying again"),
            }
            // Whoever closes the log ends the attempts.
            select! {
                recv(self.queue) -> item => match item {
                    Ok(item) => item.change.finish(&Verdict::Reopening),
                    Err(_) => return,
                },
                recv(self.end) -> _ => return,
                default(REOPEN_WAIT) => {}
            }
        }
    }

    /// Marks the database as closed in good order, and closes it.
    fn close(&mut self) -> Closing {
        let Some(mut database) = self.shared.take_database(Health::Closed) else {
            return Closing::Failing;
        };
        let marked = open::mark(&database, self.shared.options.commit, false);
        // Who reads holds it for the moment in which it begins. The last one out closes the file, and that is to be here:
        // when this returns, somebody else can open it.
        while let Err(held) = Arc::try_unwrap(database) {
            database = held;
            std::thread::yield_now();
        }
        marked.map_or_else(Closing::Unmarked, |()| Closing::Marked)
    }
}

fn finish(group: Vec<Admitted>, verdict: &Verdict) {
    for item in group {
        item.change.finish(verdict);
    }
}
