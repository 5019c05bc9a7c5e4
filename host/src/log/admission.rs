//! The way to the committer: a queue that is bounded in items and in bytes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::txn::Change;
use crate::limits::{ADMISSION_BYTES_MAX, ADMISSION_ITEMS_MAX};

/// Bytes that one permit of the semaphore stands for.
const GRAIN: usize = 1024;

/// An item with its share of the bound, which it gives back when it is finished.
pub(super) struct Admitted {
    pub change: Box<dyn Change>,
    _bytes: OwnedSemaphorePermit,
    _item: OwnedSemaphorePermit,
}

/// The sending side.
#[derive(Clone)]
pub(super) struct Admission {
    queue: Sender<Admitted>,
    bytes: Arc<Semaphore>,
    items: Arc<Semaphore>,
    /// Calls on their way in; once nobody is let in any more, those that will never be.
    waiting: Arc<AtomicU64>,
}

/// A call on its way in.
struct Waiting<'a> {
    admission: &'a Admission,
    is_through: bool,
}

/// The log is closed.
#[derive(Debug)]
pub(super) struct Closed;

/// A queue: the side that sends and the side that the committer reads.
pub(super) fn queue() -> (Admission, Receiver<Admitted>) {
    // A permit for each item comes first, so the channel itself is never full.
    let (sender, receiver) = bounded(ADMISSION_ITEMS_MAX);
    let admission = Admission {
        queue: sender,
        bytes: Arc::new(Semaphore::new(ADMISSION_BYTES_MAX / GRAIN)),
        items: Arc::new(Semaphore::new(ADMISSION_ITEMS_MAX)),
        waiting: Arc::default(),
    };
    (admission, receiver)
}

impl Admission {
    /// Hands the item of a call to the committer, as soon as there is room.
    pub async fn admit(&self, change: Box<dyn Change>) -> Result<(), Closed> {
        if self.items.is_closed() {
            return Err(Closed);
        }
        let mut waiting = Waiting::new(self);
        self.enqueue(change).await?;
        waiting.is_through = true;
        Ok(())
    }

    /// The same for an item of the bus's own, which is no call that could be refused.
    pub async fn enqueue(&self, change: Box<dyn Change>) -> Result<(), Closed> {
        // One that is larger than the bound waits until it is alone.
        let grains = change.bytes().div_ceil(GRAIN).clamp(1, ADMISSION_BYTES_MAX / GRAIN);
        let grains = u32::try_from(grains).unwrap_or(u32::MAX);
        let item = Arc::clone(&self.items).acquire_owned().await.map_err(|_| Closed)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(grains).await.map_err(|_| Closed)?;
        self.queue.send(Admitted { change, _bytes: bytes, _item: item }).map_err(|_| Closed)
    }

    /// Lets nobody in any more. What is in the queue stays there.
    pub fn close(&self) {
        self.items.close();
        self.bytes.close();
    }

    /// Calls that waited for room when the way was closed, and so never got in.
    pub fn refused(&self) -> u64 {
        if self.items.is_closed() { self.waiting.load(Ordering::Acquire) } else { 0 }
    }
}

impl<'a> Waiting<'a> {
    fn new(admission: &'a Admission) -> Self {
        admission.waiting.fetch_add(1, Ordering::AcqRel);
        Self { admission, is_through: false }
    }
}

impl Drop for Waiting<'_> {
    /// One that is through doesn't wait any more, nor does one whose caller has given up while there was hope.
    fn drop(&mut self) {
        if self.is_through || !self.admission.items.is_closed() {
            self.admission.waiting.fetch_sub(1, Ordering::AcqRel);
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
