//! The way to the committer: a queue that is bounded in items and in bytes, and one for transactions.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shared::Shared;
use super::transaction::Closure;
use super::txn::{Change, Verdict};
use crate::handler::panic_message;
use crate::limits::{ADMISSION_BYTES_MAX, ADMISSION_ITEMS_MAX, TRANSACTIONS_WAITING_MAX};

/// Bytes that one permit of the semaphore stands for.
const GRAIN: usize = 1024;

/// An item with its share of the bound, which it gives back when it is finished.
pub(super) struct Admitted {
    pub change: Box<dyn Change>,
    _bytes: OwnedSemaphorePermit,
    _item: OwnedSemaphorePermit,
}

/// A transaction's closure with its place among those that wait, which it gives back when it is finished.
pub(super) struct AdmittedClosure {
    pub closure: Box<dyn Closure>,
    _place: OwnedSemaphorePermit,
}

/// Answers items.
pub(super) fn finish(items: impl IntoIterator<Item = Admitted>, verdict: &Verdict) {
    for item in items {
        item.change.finish(verdict);
    }
}

impl AdmittedClosure {
    /// Answers whoever waits. What is dropped on the way may be the application's, and is kept from waiting for the bus and
    /// from ending its thread, as the closure itself was.
    pub fn finish(self, shared: &Shared, verdict: &Verdict) {
        let closure = self.closure;
        shared.enter_closure();
        let finished = catch_unwind(AssertUnwindSafe(|| closure.finish(verdict)));
        shared.leave_closure();
        if let Err(panic) = finished {
            tracing::error!(
                panic = panic_message(&*panic),
                "what a transaction held panicked when it was dropped"
            );
        }
    }
}

/// The sending side.
#[derive(Clone)]
pub(super) struct Admission {
    items: Way<Admitted>,
    bytes: Arc<Semaphore>,
    closures: Way<AdmittedClosure>,
    /// Calls on their way in; once nobody is let in any more, those that will never be.
    calls: Arc<AtomicU64>,
}

/// A call on its way in.
struct Call<'a> {
    admission: &'a Admission,
    is_through: bool,
}

/// A queue, and the places in it.
struct Way<T> {
    queue: Sender<T>,
    places: Arc<Semaphore>,
}

/// The sides that the committer reads. Items and closures wait apart, so that neither stands in the other's way.
pub(super) struct Waiting {
    pub items: Receiver<Admitted>,
    pub closures: Receiver<AdmittedClosure>,
}

/// Why nothing was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The log is closed.
    Closed,
    /// Called from within a transaction, where it would wait for itself.
    InTransaction,
}

/// The way to the committer: the sides that send and those that it reads.
pub(super) fn queues() -> (Admission, Waiting) {
    let (items, waiting_items) = Way::new(ADMISSION_ITEMS_MAX);
    let (closures, waiting_closures) = Way::new(TRANSACTIONS_WAITING_MAX);
    let bytes = Arc::new(Semaphore::new(ADMISSION_BYTES_MAX / GRAIN));
    (
        Admission { items, bytes, closures, calls: Arc::default() },
        Waiting { items: waiting_items, closures: waiting_closures },
    )
}

impl<T> Way<T> {
    fn new(places: usize) -> (Self, Receiver<T>) {
        // A place for each item comes first, so the channel itself is never full.
        let (queue, receiver) = bounded(places);
        (Self { queue, places: Arc::new(Semaphore::new(places)) }, receiver)
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| Refusal::Closed)
    }

    fn send(&self, item: T) -> Result<(), Refusal> {
        self.queue.send(item).map_err(|_| Refusal::Closed)
    }
}

impl<T> Clone for Way<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), places: Arc::clone(&self.places) }
    }
}

impl Admission {
    /// Hands the item of a call to the committer, as soon as there is room.
    pub async fn admit(&self, change: Box<dyn Change>) -> Result<(), Refusal> {
        let call = Call::new(self)?;
        self.enqueue(change).await?;
        call.through();
        Ok(())
    }

    /// The same for an item of the bus's own, which is no call that could be refused.
    pub async fn enqueue(&self, change: Box<dyn Change>) -> Result<(), Refusal> {
        // One that is larger than the bound waits until it is alone.
        let grains = change.bytes().div_ceil(GRAIN).clamp(1, ADMISSION_BYTES_MAX / GRAIN);
        let grains = u32::try_from(grains).unwrap_or(u32::MAX);
        let item = self.items.place().await?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(grains).await.map_err(|_| Refusal::Closed)?;
        self.items.send(Admitted { change, _bytes: bytes, _item: item })
    }

    /// Hands the closure of a call to the committer, as soon as there is room.
    pub async fn admit_closure(&self, closure: Box<dyn Closure>) -> Result<(), Refusal> {
        let call = Call::new(self)?;
        let place = self.closures.place().await?;
        self.closures.send(AdmittedClosure { closure, _place: place })?;
        call.through();
        Ok(())
    }

    /// Lets nobody in any more. What is in the queues stays there.
    pub fn close(&self) {
        self.items.places.close();
        self.bytes.close();
        self.closures.places.close();
    }

    /// Calls that waited for room when the way was closed, and so never got in.
    pub fn refused(&self) -> u64 {
        if self.is_closed() { self.calls.load(Ordering::Acquire) } else { 0 }
    }

    fn is_closed(&self) -> bool {
        self.items.places.is_closed()
    }
}

impl<'a> Call<'a> {
    fn new(admission: &'a Admission) -> Result<Self, Refusal> {
        if admission.is_closed() {
            return Err(Refusal::Closed);
        }
        admission.calls.fetch_add(1, Ordering::AcqRel);
        Ok(Self { admission, is_through: false })
    }

    fn through(mut self) {
        self.is_through = true;
    }
}

impl Drop for Call<'_> {
    /// One that is through doesn't wait any more, nor does one whose caller has given up while there was hope.
    fn drop(&mut self) {
        if self.is_through || !self.admission.is_closed() {
            self.admission.calls.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Waits for a future on a thread of no runtime, or of any.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
