//! The one writer: it drains what waits into one commit after another.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};
use redb::{Database, Durability, ReadableDatabase as _, WriteTransaction};

use super::admission::{Admitted, AdmittedClosure, Waiting, finish};
use super::commit_delay::CommitDelay;
use super::error::{ReadError, StorageFault};
use super::guard::{OpenDatabase, storing};
use super::in_flight::InFlight;
use super::journal::Journal;
use super::last_commit::LastCommit;
use super::load::Loaded;
use super::memtable::{self, Flush, Memtable, PartitionId};
use super::open;
use super::redo::Redo;
use super::schema::Tables;
use super::shared::{Health, Shared};
use super::transaction::Ran;
use super::turns::Turns;
use super::txn::{After, Txn, Verdict};
use super::window::Windows;
use crate::limits::{BALLAST_BYTES, COMMIT_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX};

/// How long the committer waits before it tries again to open a database that failed, while items may still come in
/// and be refused.
const REOPEN_WAIT: Duration = Duration::from_millis(200);

/// What is written behind the committer's back in one of its steps, where it has no thread.
const OPERATIONS_OF_A_STEP: usize = 4;

/// What is never sent: a channel of it only tells of its end.
pub(super) enum Never {}

/// What a step of the committer did, where nobody but its caller has it work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It made an attempt at a commit, or answered what waited.
    Worked,
    /// Nothing waited.
    Idle,
    /// The database could not be opened anew.
    Failing,
}

/// What goes into one commit.
#[derive(Default)]
struct Group {
    /// At most one, since it can only be undone with all that is written with it. It comes first.
    closure: Option<AdmittedClosure>,
    items: Vec<Admitted>,
    /// Whether one of the items is a large batch.
    has_large: bool,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.closure.is_none() && self.items.is_empty()
    }

    /// Answers everybody who waits for it.
    fn finish(self, shared: &Shared, verdict: &Verdict) {
        if let Some(closure) = self.closure {
            closure.finish(shared, verdict);
        }
        finish(self.items, verdict);
    }

    /// Whether all that it does is publish.
    fn publishes_alone(&self) -> bool {
        self.closure.is_none() && self.items.iter().all(|item| item.change.ends_when_durable())
    }
}

/// What became of an attempt at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// It is durable and visible, or will be when the disk has what is in flight.
    Done,
    /// There was nothing to write.
    Idle,
    /// The closure failed and what it wrote was undone, so nothing is written yet.
    Undone,
}

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

/// Has a commit become visible that the journal has, and flushes what is too much for the memtable by now.
fn show(shared: &Shared, mut transaction: WriteTransaction) -> Result<(), StorageFault> {
    let flush = shared.memtable().flush_excess(&transaction, shared.options.memtable_bytes_kept())?;
    transaction.set_durability(Durability::None)?;
    transaction.commit()?;
    shared.memtable_mut().flushed(flush);
    Ok(())
}

/// Has a checkpoint have all that is in the memtable, of which what belongs to these partitions is in its place already. Nothing
/// else leaves the memtable: somebody may be shown a view from before the checkpoint as long as it is in flight.
fn spill(
    shared: &Shared,
    transaction: &WriteTransaction,
    in_place: &BTreeSet<PartitionId>,
) -> Result<Flush, StorageFault> {
    let flush = shared.memtable().found_in_place(transaction, in_place)?;
    shared.memtable().spill(transaction, flush)
}

/// Makes a checkpoint of a journal that goes on in its other half, written behind the committer's back.
fn checkpoint_behind(
    shared: &Shared,
    journal: &mut Journal,
    transaction: WriteTransaction,
) -> Result<(), StorageFault> {
    let options = &shared.options;
    let flush = shared.memtable().flush_excess(&transaction, options.memtable_bytes_kept())?;
    let flush = shared.memtable().spill(&transaction, flush)?;
    let this = journal.checkpoint();
    journal.behind(|| open::checkpoint(transaction, options.commit, Some(this)))?;
    shared.memtable_mut().flushed(flush);
    Ok(())
}

/// See the module.
pub(super) struct Committer {
    shared: Arc<Shared>,
    waiting: Waiting,
    /// Disconnected when it is to end.
    end: Receiver<Never>,
    /// Large batches that wait for their turn, within the bounds of the queue that they come from.
    large: VecDeque<Admitted>,
    turns: Turns,
    delay: CommitDelay,
    windows: Windows,
    last: LastCommit,
    /// Where commits go until the next checkpoint; nothing where each is to be one.
    journal: Option<Journal>,
    /// The commit before, while its pages are on their way to the disk.
    in_flight: Option<InFlight>,
    /// Whether the ballast is there, or can't be.
    ballast_settled: bool,
    /// Whether the database has failed and is to be opened anew.
    is_failing: bool,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        waiting: Waiting,
        end: Receiver<Never>,
        journal: Option<Journal>,
        loaded: Loaded,
    ) -> Self {
        Self {
            shared,
            waiting,
            end,
            large: VecDeque::new(),
            turns: Turns::default(),
            delay: CommitDelay::none(),
            windows: loaded.windows,
            last: loaded.last,
            journal,
            in_flight: None,
            ballast_settled: false,
            is_failing: false,
        }
    }

    /// Works until it is told to end and the queues are empty, and then closes the database. The queues alone don't tell: a
    /// publisher that nobody polls any more holds its place in them for ever.
    pub fn run(mut self) -> Closing {
        while let Some(group) = self.next() {
            self.commit(group);
            if self.is_failing {
                self.reopen();
            }
        }
        self.close()
    }

    /// Does what waits, without waiting for more: one commit, and others as long as one is in flight, or one try to open the
    /// database anew.
    pub fn step(&mut self) -> Step {
        self.step_once(false)
    }

    /// Does what waits to the end, and then closes the database.
    pub fn finish(mut self) -> Closing {
        while self.step_once(true) == Step::Worked {}
        self.close()
    }

    fn step_once(&mut self, is_ending: bool) -> Step {
        if let Some(journal) = &self.journal {
            journal.work(OPERATIONS_OF_A_STEP);
        }
        let group = self.fill(Group::default(), None, is_ending);
        if self.is_failing {
            group.finish(&self.shared, &Verdict::Reopening);
            return if self.try_reopen() { Step::Worked } else { Step::Failing };
        }
        if group.is_empty() {
            return Step::Idle;
        }
        self.commit(group);
        // Who reads between two steps can't wait for what is on its way to the disk.
        while self.in_flight.is_some() {
            let group = self.fill(Group::default(), None, is_ending);
            if group.is_empty() {
                self.settle();
            } else {
                self.commit(group);
            }
        }
        Step::Worked
    }

    /// All that waits, as far as one commit takes it, as soon as there is something; `None` at the end.
    fn next(&mut self) -> Option<Group> {
        let mut is_ending = false;
        loop {
            let mut group = Group::default();
            let mut first = None;
            let now = self.shared.clock.now();
            let wait = match &self.journal {
                _ if !self.large.is_empty() => self.turns.wait(now),
                Some(journal) => journal.checkpoint_after(),
                None => Duration::MAX,
            };
            let none = never();
            let over = match (&self.in_flight, &self.journal) {
                (Some(_), Some(journal)) => journal.over(),
                _ => &none,
            };
            if !wait.is_zero() && !is_ending {
                select! {
                    recv(self.waiting.items) -> item => first = item.ok(),
                    recv(self.waiting.closures) -> closure => group.closure = closure.ok(),
                    recv(self.end) -> _ => is_ending = true,
                    recv(over) -> _ => {}
                    default(wait) => {}
                }
            }
            if !is_ending {
                let (taken, waiting) = (usize::from(first.is_some()), &self.waiting);
                self.delay.wait(|| taken + waiting.items.len() + waiting.closures.len());
            }
            let group = self.fill(group, first, is_ending);
            if is_ending && group.is_empty() || self.in_flight_is_over() {
                self.settle();
            }
            if !group.is_empty() {
                return Some(group);
            }
            if is_ending {
                return None;
            }
            if self.is_failing {
                return Some(group);
            }
            if self.large.is_empty() {
                self.checkpoint();
                if self.is_failing {
                    return Some(group);
                }
            }
        }
    }

    /// Adds what waits, as far as one commit takes it.
    ///
    /// A commit takes a closure if one waits, and items whether or not one does. So a flood of transactions holds back
    /// nobody who publishes for longer than one closure takes, and a flood of events no transaction for longer than one
    /// commit. Large batches of lanes take turns, see `turns`: consumers that write much hold up the others for one batch, now
    /// and then, however many they are.
    fn fill(&mut self, mut group: Group, mut first: Option<Admitted>, is_ending: bool) -> Group {
        if group.closure.is_none() {
            group.closure = self.waiting.closures.try_recv().ok();
        }
        let mut bytes = 0;
        while bytes < COMMIT_BYTES_MAX {
            let Some(next) = first.take().or_else(|| self.waiting.items.try_recv().ok()) else { break };
            if next.change.takes_turns() {
                self.large.push_back(next);
            } else {
                bytes += next.change.bytes();
                group.items.push(next);
            }
        }
        let now = self.shared.clock.now();
        if !group.is_empty() {
            self.turns.others_are_about(now);
        }
        let is_due = !self.large.is_empty() && (is_ending || self.turns.wait(now).is_zero());
        if is_due && self.turns.takes(!group.is_empty()) {
            group.items.extend(self.large.pop_front());
            group.has_large = true;
        }
        group
    }

    /// Whether the commit before need not be waited for any more.
    fn in_flight_is_over(&self) -> bool {
        match (&self.in_flight, &self.journal) {
            (Some(in_flight), Some(journal)) => in_flight.is_over(journal),
            _ => false,
        }
    }

    /// Waits until the disk has the commit before, if it hasn't, and answers all of it.
    fn settle(&mut self) {
        let (Some(in_flight), Some(journal)) = (self.in_flight.take(), &self.journal) else { return };
        match in_flight.wait(journal) {
            Ok(()) => in_flight.succeeded(&self.shared),
            Err(fault) => {
                let ended = self.fail();
                in_flight.failed(fault);
                drop(ended);
            }
        }
    }

    /// Commits a group and answers all of it, now or once the disk has it.
    fn commit(&mut self, mut group: Group) {
        // What else there is in a group may ask memory, which doesn't know of it yet.
        if !group.publishes_alone() {
            self.settle();
        }
        let database = match self.shared.database() {
            Ok(database) => database,
            Err(ReadError::Closed) => {
                return group.finish(&self.shared, &Verdict::Closed);
            }
            Err(_) => {
                self.is_failing = true;
                return group.finish(&self.shared, &Verdict::Reopening);
            }
        };
        if let Some(Err(error)) = self.journal.as_ref().map(Journal::check) {
            tracing::error!(%error, "a checkpoint has failed; the journal has what was to be in it");
            drop(database);
            self.settle();
            self.fail();
            return group.finish(&self.shared, &Verdict::Reopening);
        }
        let full = self.refuse_without_space(&mut group);
        let (begun, has_closure) = (self.shared.clock.now(), group.closure.is_some());
        let (count, mut after) = (group.items.len(), Vec::new());
        let shared = Arc::clone(&self.shared);
        let reached = shared.visibility.reached_when_dropped();
        let written = self.write(&database, &mut group, full, &mut after);
        // Before memory learns of what is durable all the same: then nothing can be read until it is found there.
        let ended = written.is_err().then(|| self.fail());
        if let Err(fault) = &written
            && let Some(before) = self.in_flight.take()
        {
            before.failed(fault.clone());
        }
        for after in after {
            after(&self.shared);
        }
        drop(reached);
        // That may take long, where the disk hangs.
        drop((database, ended));
        let now = self.shared.clock.now();
        // How long the application's closures take says nothing of the others.
        if group.has_large || !has_closure {
            self.turns.has_taken(now.since(begun), group.has_large, now);
        }
        let verdict = match written {
            Ok(()) => Verdict::Durable,
            Err(fault) => Verdict::InDoubt(fault),
        };
        group.finish(&self.shared, &verdict);
        // Nobody need wait for it.
        self.windows.keep();
        self.delay = match self.in_flight {
            Some(_) => CommitDelay::none(),
            None => CommitDelay::after_answers(count, self.turns.typical()),
        };
    }

    /// Answers the items that a full disk refuses, and takes them out. Returns the free bytes and their floor if there are
    /// too few.
    fn refuse_without_space(&mut self, group: &mut Group) -> Option<(u64, u64)> {
        let min = self.shared.options.free_bytes_min;
        if group.closure.is_none() && !group.items.iter().any(|item| item.change.adds()) {
            return None;
        }
        // A disk that doesn't say is taken to have room: a commit that fails says so itself.
        let free = self.shared.medium.free_bytes().unwrap_or(u64::MAX);
        if free >= min {
            if !self.ballast_settled && free >= min.saturating_add(2 * BALLAST_BYTES) {
                self.restore_ballast();
            }
            return None;
        }
        // A closure may delete, so it is run while there is some room for that.
        let least = min / 2;
        if free < least
            && let Some(closure) = group.closure.take()
        {
            closure.finish(&self.shared, &Verdict::DiskFull { free, min: least });
        }
        let items = std::mem::take(&mut group.items);
        let (refused, kept) = items.into_iter().partition(|item| item.change.adds());
        group.items = kept;
        finish(refused, &Verdict::DiskFull { free, min });
        Some((free, min))
    }

    fn restore_ballast(&mut self) {
        self.ballast_settled = true;
        if let Err(error) = self.shared.medium.set_ballast() {
            tracing::debug!(%error, "no ballast could be set aside");
        }
    }

    /// Writes a group and makes it durable and visible, or has it in flight: without its closure, if that fails. Items that
    /// need not be visible for it may be answered in between. Memory has to do what `after` then has, once it is visible or
    /// nothing is.
    fn write(
        &mut self,
        database: &Database,
        group: &mut Group,
        full: Option<(u64, u64)>,
        after: &mut Vec<After>,
    ) -> Result<(), StorageFault> {
        if group.is_empty() {
            return Ok(());
        }
        let attempt = self.attempt(database, group, full, true, after)?;
        if attempt == Attempt::Undone && !group.items.is_empty() {
            self.attempt(database, group, full, false, after)?;
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        database: &Database,
        group: &mut Group,
        full: Option<(u64, u64)>,
        with_closure: bool,
        after: &mut Vec<After>,
    ) -> Result<Attempt, StorageFault> {
        let (shared, windows, last, journal, in_flight) =
            (&self.shared, &mut self.windows, self.last, &mut self.journal, &mut self.in_flight);
        let ends = in_flight.as_ref().map(|in_flight| in_flight.ends.clone()).unwrap_or_default();
        // It would be written down in vain.
        let is_large = |item: &Admitted| item.change.bytes() > JOURNAL_RECORD_BYTES_MAX;
        let redo = match journal.as_mut().map(Journal::record) {
            Some((buffer, bytes_max)) if !group.items.iter().any(is_large) => Redo::new(buffer, bytes_max),
            Some((buffer, _)) => Redo::off_in(buffer),
            None => Redo::off(),
        };
        // A panic within redb poisons its transaction: it counts as a failed commit, and the database is opened anew.
        let (attempt, last) = storing(|| {
            let transaction = database.begin_write()?;
            let mut txn = Txn::new(Tables::open(&transaction, &redo)?, shared, &mut *windows, last, &ends);
            let mut has_closure = false;
            if let Some(AdmittedClosure { closure, .. }) = group.closure.as_mut().filter(|_| with_closure) {
                let (ran, returned) = closure.run(txn, &transaction, full);
                match ran {
                    Ran::Kept => {
                        has_closure = true;
                        redo.stop();
                    }
                    Ran::Nothing => {}
                    Ran::Undo => {
                        drop(returned);
                        transaction.abort()?;
                        return Ok((Attempt::Undone, last));
                    }
                    Ran::Failed(fault) => return Err(fault),
                }
                txn = returned;
            }
            for item in &mut group.items {
                item.change.apply(&mut txn)?;
            }
            let is_idle = !has_closure && txn.idle() == group.items.len();
            let completed = txn.complete()?;
            // Whatever comes of it says that what came before is there.
            if let (Some(before), Some(journal)) = (&*in_flight, &*journal) {
                before.wait(journal)?;
            }
            if let Some(before) = in_flight.take() {
                before.succeeded(shared);
            }
            if is_idle {
                transaction.abort()?;
                return Ok((Attempt::Idle, last));
            }
            let (record, is_whole) = redo.into_bytes();
            let mode = shared.options.commit;
            match journal {
                Some(journal) if is_whole && completed.flushed.is_empty() => {
                    let has_switched = journal.append(record).map_err(redb::Error::Io)?;
                    shared.memtable_mut().extend(completed.rows);
                    *after = completed.after;
                    shared.visibility.pending();
                    finish(
                        group.items.extract_if(.., |item| item.change.ends_when_durable()),
                        &Verdict::Durable,
                    );
                    if has_switched {
                        checkpoint_behind(shared, journal, transaction)?;
                    } else {
                        show(shared, transaction)?;
                    }
                }
                Some(journal) => {
                    let this = journal.next_checkpoint();
                    journal.give_back(record);
                    let flush = spill(shared, &transaction, &completed.flushed)?;
                    memtable::put(
                        &transaction,
                        completed.rows.iter().map(|(partition, row)| (*partition, row)),
                    )?;
                    if group.publishes_alone() {
                        shared.hide_what_comes_after(database.begin_read()?);
                        let moment = journal.behind(|| open::checkpoint(transaction, mode, Some(this)))?;
                        journal.tell_of(moment);
                        *in_flight = Some(InFlight {
                            items: std::mem::take(&mut group.items),
                            after: completed.after,
                            ends: completed.ends,
                            moment,
                        });
                    } else {
                        journal.at_once(|| open::checkpoint(transaction, mode, Some(this)))?;
                        *after = completed.after;
                    }
                    shared.memtable_mut().flushed(flush);
                    journal.switch();
                }
                None => {
                    open::checkpoint(transaction, mode, None)?;
                    *after = completed.after;
                }
            }
            Ok((Attempt::Done, completed.last))
        })?;
        self.last = last;
        if attempt != Attempt::Done {
            self.windows.undo();
        }
        Ok(attempt)
    }

    /// Makes a checkpoint where nothing has come for a while.
    fn checkpoint(&mut self) {
        let Ok(database) = self.shared.database() else { return };
        let Some(journal) = self.journal.as_mut().filter(|journal| !journal.is_empty()) else { return };
        let made = storing(|| {
            journal.switch();
            checkpoint_behind(&self.shared, journal, database.begin_write()?)
        });
        if let Err(fault) = made {
            tracing::error!(%fault, "the storage failed, while nothing was to be committed");
            drop(database);
            self.fail();
        }
    }

    /// The storage has failed: it is to be opened anew. Returns what is to be dropped of it.
    fn fail(&mut self) -> Option<Arc<OpenDatabase>> {
        self.journal = None;
        self.is_failing = true;
        let database = self.shared.take_database(Health::Reopening);
        self.shared.hide_nothing();
        // Opening finds on the disk what was in it.
        *self.shared.memtable_mut() = Memtable::default();
        database
    }

    /// Opens the database anew, for as long as it takes. Items that come in meanwhile are refused.
    fn reopen(&mut self) {
        while !self.try_reopen() {
            // Whoever closes the log ends the attempts.
            select! {
                recv(self.waiting.items) -> item => match item {
                    Ok(item) => item.change.finish(&Verdict::Reopening),
                    Err(_) => return,
                },
                recv(self.waiting.closures) -> closure => match closure {
                    Ok(closure) => closure.finish(&self.shared, &Verdict::Reopening),
                    Err(_) => return,
                },
                recv(self.end) -> _ => return,
                default(REOPEN_WAIT) => {}
            }
        }
    }

    /// Opens the database anew, if that can be done now.
    fn try_reopen(&mut self) -> bool {
        self.ballast_settled = false;
        if let Err(error) = self.shared.medium.release_ballast() {
            tracing::warn!(%error, "the ballast could not be let go of");
        }
        let opened = match open::reopen(&self.shared) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "the storage can't be opened anew; trying again");
                return false;
            }
        };
        self.windows = opened.loaded.windows;
        self.last = opened.loaded.last;
        self.journal = opened.journal;
        // Before anybody can read: what a lane reads from here on belongs to its new epoch.
        self.shared.change_all_lanes();
        // Before anybody can collect them, too: whoever does so once the log is usable again finds all.
        if let Err(error) = self.shared.blobs.look_at_all(&*self.shared.medium) {
            tracing::warn!(%error, "the blobs can't be listed: some that nobody needs may stay until the next start");
        }
        self.shared.put_database(opened.database);
        self.is_failing = false;
        tracing::info!("the storage was opened anew");
        true
    }

    /// Marks the database as closed in good order, and closes it.
    fn close(&mut self) -> Closing {
        self.shared.blobs.close();
        let Some(mut database) = self.shared.take_database(Health::Closed) else {
            return Closing::Failing;
        };
        let mode = self.shared.options.commit;
        let mark = |this| open::mark_closed(&database, &self.shared.memtable(), mode, this);
        let marked = storing(|| match &self.journal {
            Some(journal) => journal.at_once(|| mark(Some(journal.next_checkpoint()))),
            None => mark(None),
        });
        // Who reads holds it for the moment in which it begins. The last one out closes the file, and that is to be here:
        // when this returns, somebody else can open it.
        while let Err(held) = Arc::try_unwrap(database) {
            database = held;
            std::thread::yield_now();
        }
        marked.map_or_else(Closing::Unmarked, |()| Closing::Marked)
    }
}
