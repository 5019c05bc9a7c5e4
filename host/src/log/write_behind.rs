//! What redb writes, on its way to the disk: at once, or behind the committer's back.
//!
//! The journal has all that a checkpoint makes durable, so nobody need wait for its pages; who publishes what is too large
//! for the journal waits for them, and not the committer. While it [defers](WriteBehind::defer), writes and syncs are
//! queued and carried out by a thread: syncs in their order, and the writes between two of them in any, as a disk may do
//! that is not told to sync. So the end of the process or of the power leaves what redb can open. Reading sees the queued
//! writes. What is not deferred waits for what is.

use std::collections::VecDeque;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use redb::{BackendError, StorageBackend};

use super::pages::Pages;
use crate::limits::{PAGES_KEPT_BYTES, WRITE_BEHIND_BYTES_MAX, WRITE_BEHIND_WAKE_BYTES};

/// See the module. Shared by redb, the committer and the thread that writes.
#[derive(Debug)]
pub(super) struct WriteBehind {
    file: Box<dyn StorageBackend>,
    /// Whether a thread carries out what is queued; otherwise who waits does.
    has_thread: bool,
    state: Mutex<State>,
    /// Woken whenever something is queued or done.
    changed: Condvar,
    /// Told when the moment is over that [`tell_of`](WriteBehind::tell_of) named.
    over: (Sender<()>, Receiver<()>),
}

#[derive(Debug, Default)]
struct State {
    /// What is to be done, oldest first: the first may be under way.
    queue: VecDeque<Operation>,
    /// Memory for the next writes.
    spare: Pages,
    /// How many operations were done that had been queued.
    done: u64,
    /// Bytes of the queued writes.
    bytes: usize,
    /// The file's length once all is done.
    len: u64,
    is_deferring: bool,
    /// What failed: from then on nothing is written any more.
    fault: Option<(io::ErrorKind, String)>,
    is_ending: bool,
    /// The moment that is to be told of.
    told: Option<Moment>,
}

#[derive(Clone, Debug)]
enum Operation {
    /// Writes that nothing has come between. Others may be added while nobody else has hold of them.
    Write(Arc<Pages>),
    Length(u64),
    Sync,
}

/// A moment of the queue: all that was queued before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl WriteBehind {
    /// In front of a file. With `has_thread`, a thread of its own carries out what is queued, until the backend is dropped;
    /// otherwise [`work`](Self::work) and whoever waits do.
    pub fn new(file: Box<dyn StorageBackend>, has_thread: bool) -> io::Result<(Arc<Self>, Backend)> {
        let state = State { len: file.len()?, ..State::default() };
        let over = crossbeam_channel::bounded(1);
        let this =
            Arc::new(Self { file, has_thread, state: Mutex::new(state), changed: Condvar::new(), over });
        let thread = if has_thread {
            let this = Arc::clone(&this);
            let thread = std::thread::Builder::new().name("tidegate-disk".to_owned());
            Some(thread.spawn(move || this.run())?)
        } else {
            None
        };
        Ok((Arc::clone(&this), Backend { disk: this, thread }))
    }

    /// Queues writes and syncs from now on, or not any more.
    pub fn defer(&self, is_deferring: bool) {
        self.state().is_deferring = is_deferring;
    }

    /// Bytes of the file, once all is written that is queued.
    pub fn bytes(&self) -> u64 {
        self.state().len
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        let state = self.state();
        Moment(state.done + state.queue.len() as u64)
    }

    /// Waits until all is on the disk that was queued before.
    ///
    /// # Errors
    ///
    /// Something failed, now or earlier.
    pub fn wait_for(&self, moment: Moment) -> io::Result<()> {
        let mut state = self.state();
        while state.done < moment.0 {
            state.check()?;
            state = self.wait(state);
        }
        state.check()
    }

    /// Whether all is on the disk that was queued before.
    pub fn is_done(&self, moment: Moment) -> bool {
        self.state().done >= moment.0
    }

    /// Has [`over`](Self::over) be told when all is on the disk that was queued before, or when something has failed.
    pub fn tell_of(&self, moment: Moment) {
        let mut state = self.state();
        state.told = Some(moment);
        self.tell(&mut state);
        // It may not have been told of all that is queued.
        self.changed.notify_all();
    }

    /// See [`tell_of`](Self::tell_of).
    pub fn over(&self) -> &Receiver<()> {
        &self.over.1
    }

    fn tell(&self, state: &mut State) {
        if state.told.is_some_and(|moment| state.done >= moment.0 || state.fault.is_some()) {
            state.told = None;
            // One that is there already says the same.
            let _ = self.over.0.try_send(());
        }
    }

    /// Whether something has failed that was queued.
    ///
    /// # Errors
    ///
    /// It has.
    pub fn check(&self) -> io::Result<()> {
        self.state().check()
    }

    /// Carries out so many operations, where no thread does. Returns whether there were any.
    pub fn work(&self, operations: usize) -> bool {
        (0..operations).take_while(|_| !self.has_thread && self.do_next()).count() > 0
    }

    fn run(&self) {
        loop {
            let mut state = self.state();
            while state.queue.is_empty() || state.fault.is_some() {
                if state.is_ending {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            self.do_next();
        }
    }

    /// Carries out the oldest operation that is queued. Returns whether there was one.
    fn do_next(&self) -> bool {
        // It stays in the queue meanwhile: who reads sees all of it, or what the file has.
        let operation = {
            let state = self.state();
            // Nothing may reach the disk that was to come after what failed.
            if state.fault.is_some() {
                return false;
            }
            let Some(operation) = state.queue.front().cloned() else { return false };
            operation
        };
        let outcome = match &operation {
            Operation::Write(pages) => pages.write(|at, data| self.file.write(at, data)),
            Operation::Length(len) => self.file.set_len(*len),
            Operation::Sync => self.file.sync_data(),
        };
        let mut state = self.state();
        match outcome {
            Ok(()) => {
                state.queue.pop_front();
                state.done += 1;
                if let Operation::Write(pages) = operation {
                    state.bytes -= pages.len();
                    state.spare(pages);
                }
            }
            // What is queued stays, for who reads.
            Err(error) => state.fault = Some((error.kind(), error.to_string())),
        }
        self.tell(&mut state);
        self.changed.notify_all();
        true
    }

    /// Waits for something to be done.
    fn wait<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        if self.has_thread {
            // It may not have been told of all that is queued.
            self.changed.notify_all();
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.do_next();
        self.state()
    }

    /// Waits until nothing is queued.
    fn drain(&self) -> io::Result<()> {
        let mut state = self.state();
        state.check()?;
        while !state.queue.is_empty() {
            state = self.wait(state);
            state.check()?;
        }
        Ok(())
    }

    /// Queues an operation, or returns that it is to be done at once.
    fn queue(&self, operation: Operation) -> io::Result<bool> {
        let Some(mut state) = self.deferring(0)? else { return Ok(false) };
        state.queue.push_back(operation);
        drop(state);
        self.changed.notify_all();
        Ok(true)
    }

    /// Queues a write, or returns that it is to be done at once.
    ///
    /// Pages come one after the other, and are of little use before what syncs them: waking the thread for each costs more than
    /// writing them.
    fn queue_write(&self, at: u64, data: &[u8]) -> io::Result<bool> {
        let Some(mut state) = self.deferring(data.len())? else { return Ok(false) };
        let State { queue, spare, bytes, .. } = &mut *state;
        let is_added = match queue.back_mut() {
            Some(Operation::Write(pages)) => Arc::get_mut(pages).is_some_and(|pages| {
                let before = pages.len();
                let is_added = pages.add(at, data);
                *bytes += pages.len() - before;
                is_added
            }),
            _ => false,
        };
        if !is_added {
            let mut pages = std::mem::take(spare);
            pages.add(at, data);
            *bytes += pages.len();
            queue.push_back(Operation::Write(Arc::new(pages)));
        }
        let wakes = *bytes >= WRITE_BEHIND_WAKE_BYTES;
        drop(state);
        if wakes {
            self.changed.notify_all();
        }
        Ok(true)
    }

    /// The state, with room for so many bytes, where operations are queued. Where they are not, nothing is queued any more.
    fn deferring(&self, bytes: usize) -> io::Result<Option<MutexGuard<'_, State>>> {
        let mut state = self.state();
        if !state.is_deferring {
            drop(state);
            self.drain()?;
            return Ok(None);
        }
        state.check()?;
        while state.bytes + bytes > WRITE_BEHIND_BYTES_MAX && !state.queue.is_empty() {
            state = self.wait(state);
            state.check()?;
        }
        Ok(Some(state))
    }

    /// Looks at the file's length again, where nothing is queued: until it was locked, another process may have changed it.
    fn measure(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.queue.is_empty() {
            state.len = self.file.len()?;
        }
        Ok(())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let queued: Vec<Arc<Pages>> = {
            let state = self.state();
            let end = offset.saturating_add(out.len() as u64);
            if end > state.len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if state.queue.is_empty() {
                drop(state);
                return self.file.read(offset, out);
            }
            let writes = state.queue.iter().filter_map(|operation| match operation {
                Operation::Write(pages) => {
                    pages.overlapping(offset, out.len()).next().map(|_| Arc::clone(pages))
                }
                _ => None,
            });
            writes.collect()
        };
        // What was queued to make it longer may not be done yet.
        let there = self.file.len()?.saturating_sub(offset).min(out.len() as u64);
        let (there, missing) = out.split_at_mut(usize::try_from(there).map_err(io::Error::other)?);
        if !there.is_empty() {
            self.file.read(offset, there)?;
        }
        missing.fill(0);
        let len = out.len();
        for (at, data) in queued.iter().flat_map(|pages| pages.overlapping(offset, len)) {
            let within = |distance| usize::try_from(distance).map_err(io::Error::other);
            let (to, from) = (within(at.saturating_sub(offset))?, within(offset.saturating_sub(at))?);
            let len = (out.len() - to).min(data.len() - from);
            out[to..to + len].copy_from_slice(&data[from..from + len]);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps the memory of writes that are done, if nobody reads them and it is more than what is kept already.
    fn spare(&mut self, pages: Arc<Pages>) {
        if let Some(mut pages) = Arc::into_inner(pages) {
            pages.clear(PAGES_KEPT_BYTES);
            if pages.capacity() > self.spare.capacity() {
                self.spare = pages;
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        match &self.fault {
            Some((kind, message)) => Err(io::Error::new(*kind, message.clone())),
            None => Ok(()),
        }
    }
}

/// What redb is given.
#[derive(Debug)]
pub(super) struct Backend {
    disk: Arc<WriteBehind>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.disk.state().is_ending = true;
        self.disk.changed.notify_all();
        // Whoever opens the file next finds it closed.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.bytes())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.disk.queue(Operation::Length(len))? {
            self.disk.file.set_len(len)?;
        }
        self.disk.state().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.queue(Operation::Sync)? { Ok(()) } else { self.disk.file.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.disk.queue_write(offset, data)? { Ok(()) } else { self.disk.file.write(offset, data) }
    }

    fn close(&self) -> io::Result<()> {
        let drained = self.disk.drain();
        self.disk.file.close()?;
        drained
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let is_locked = self.disk.file.try_lock_range(start, end)?;
        self.disk.measure()?;
        Ok(is_locked)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let is_locked = self.disk.file.try_lock_shared_range(start, end)?;
        self.disk.measure()?;
        Ok(is_locked)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.file.lock_range(start, end)?;
        Ok(self.disk.measure()?)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.file.lock_shared_range(start, end)?;
        Ok(self.disk.measure()?)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::backends::InMemoryBackend;

    use super::*;

    /// One that does what is queued when it is told.
    fn paused() -> (Arc<WriteBehind>, Backend) {
        WriteBehind::new(Box::new(InMemoryBackend::new()), false).unwrap()
    }

    fn read(backend: &Backend, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![9; len];
        backend.read(at, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_queued_is_read_whether_or_not_it_is_done() {
        let (disk, backend) = paused();
        backend.set_len(8).unwrap();
        backend.write(0, &[1; 8]).unwrap();
        disk.defer(true);
        backend.write(2, &[2; 4]).unwrap();
        backend.set_len(12).unwrap();
        backend.write(4, &[3; 6]).unwrap();
        let expected = [1, 1, 2, 2, 3, 3, 3, 3, 3, 3, 0, 0];
        for _ in 0..4 {
            assert_eq!(read(&backend, 0, 12), expected);
            assert_eq!(read(&backend, 3, 4), expected[3..7]);
            assert_eq!(backend.len().unwrap(), 12);
            disk.work(1);
        }
        assert!(!disk.work(1));
        assert!(backend.read(8, &mut [0; 5]).is_err(), "it ends there");
    }

    #[test]
    fn what_is_not_deferred_waits_for_what_is() {
        let (disk, backend) = paused();
        backend.set_len(4).unwrap();
        disk.defer(true);
        backend.write(0, &[1; 4]).unwrap();
        backend.sync_data().unwrap();
        let queued = disk.moment();
        disk.defer(false);
        assert_eq!(disk.file.len().unwrap(), 4);
        backend.write(0, &[2; 2]).unwrap();
        assert!(!disk.work(1), "nothing is queued any more");
        disk.wait_for(queued).unwrap();
        assert_eq!(read(&backend, 0, 4), [2, 2, 1, 1]);
    }

    /// A disk that the test has open, too. Its first sync may fail: another one that works doesn't make up for it.
    #[derive(Debug, Default)]
    struct Probe {
        file: Arc<InMemoryBackend>,
        fails_next: AtomicBool,
    }

    impl StorageBackend for Probe {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.file.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            if self.fails_next.swap(false, Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.file.write(offset, data)
        }

        fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
            Ok(true)
        }
    }

    #[test]
    fn behind_what_fails_nothing_is_done_and_everybody_is_told() {
        for has_thread in [false, true] {
            let failing = Probe { fails_next: true.into(), ..Probe::default() };
            let (disk, backend) = WriteBehind::new(Box::new(failing), has_thread).unwrap();
            backend.set_len(4).unwrap();
            disk.defer(true);
            backend.sync_data().unwrap();
            // With a thread, the fault may be there already.
            let was_queued = backend.write(0, &[1; 4]).is_ok();
            disk.work(9);
            let failed = disk.wait_for(disk.moment()).unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
            assert!(backend.write(0, &[2; 4]).is_err() && backend.close().is_err());
            assert_eq!(read(&backend, 0, 4), [u8::from(was_queued); 4], "reading goes on");
            let mut bytes = [7; 4];
            disk.file.read(0, &mut bytes).unwrap();
            assert_eq!(bytes, [0; 4]);
        }
    }

    #[test]
    fn a_file_that_another_process_made_longer_before_it_was_locked_is_as_long() {
        let file = Arc::new(InMemoryBackend::new());
        file.set_len(4).unwrap();
        let (_, backend) =
            WriteBehind::new(Box::new(Probe { file: Arc::clone(&file), ..Probe::default() }), false).unwrap();
        file.set_len(8).unwrap();
        assert!(backend.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
        assert_eq!(backend.len().unwrap(), 8);
        assert_eq!(read(&backend, 4, 4), [0; 4]);
    }

    /// Whether it comes to be, of a thread that has nothing else to do.
    fn comes(is_so: impl Fn() -> bool) -> bool {
        (0..1_000_000).any(|_| {
            std::thread::yield_now();
            is_so()
        })
    }

    #[test]
    fn a_sync_wakes_the_thread_and_so_do_many_pages() {
        let (disk, backend) = WriteBehind::new(Box::new(InMemoryBackend::new()), true).unwrap();
        let many = vec![1; WRITE_BEHIND_WAKE_BYTES];
        backend.set_len(many.len() as u64).unwrap();
        disk.defer(true);
        for _ in 0..20 {
            backend.write(0, &[1; 4]).unwrap();
            backend.sync_data().unwrap();
            assert!(comes(|| disk.is_done(disk.moment())));
            backend.write(0, &many).unwrap();
            assert!(comes(|| disk.is_done(disk.moment())));
        }
    }

    #[test]
    fn a_page_without_a_sync_is_written_for_who_waits() {
        let (disk, backend) = WriteBehind::new(Box::new(InMemoryBackend::new()), true).unwrap();
        backend.set_len(4).unwrap();
        disk.defer(true);
        backend.write(0, &[1; 4]).unwrap();
        disk.wait_for(disk.moment()).unwrap();
        assert!(disk.is_done(disk.moment()));
        let mut bytes = [0; 4];
        disk.file.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [1; 4]);
    }
}
