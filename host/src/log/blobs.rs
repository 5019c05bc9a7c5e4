//! The blob store: data that is too large for the log, each named by its SHA-256, in files of their own.
//!
//! The order of things is what keeps it whole:
//!
//! - A blob is on the disk before the commit that names it is begun. It is [`Kept`] from before it is looked for until the fate of
//!   that commit is known, so that nobody removes it in between.
//! - It is removed after a commit is durable in which nobody names it. Whoever wants to name it from there on keeps it first, which
//!   takes it from those that are to be removed; and those are removed under the same lock.
//!
//! So a commit that names a blob that isn't there can't be, and a crash leaves blobs that nobody names at the most. All that are
//! there when the log is opened are looked at.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::error::{BlobError, PublishError};
use super::medium::Medium;
use super::shared::Shared;
use super::topics::Topic;
use crate::event::{BlobDigest, BlobRef, Data, Event};
use crate::limits::BLOBS_COLLECTED_MAX;

/// See the module.
pub(super) struct BlobStore {
    bytes_max: u64,
    /// Whether the directory is this bus's. Who changes something there looks at it for as long as that takes.
    is_open: RwLock<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that are kept.
    kept: HashMap<BlobDigest, Keeping>,
    /// Those that nobody may have a claim to any more.
    suspects: BTreeSet<BlobDigest>,
    /// Those among them that are being looked at. Who keeps one takes it out.
    condemned: BTreeSet<BlobDigest>,
    usage: Usage,
}

/// What is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// How many blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of blobs that were to be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// Those that are gone.
    pub blobs: u64,
    /// Those that the storage didn't remove.
    pub failed: u64,
}

struct Keeping {
    /// How often it is kept.
    times: usize,
    /// Whether it is known to be on the disk. One at a time finds out.
    is_written: Arc<Mutex<bool>>,
}

/// A blob that stays as long as this is there.
pub(super) struct Kept {
    store: Arc<BlobStore>,
    blob: BlobRef,
}

impl Kept {
    pub fn blob(&self) -> BlobRef {
        self.blob
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.store.let_go(self.blob.digest);
    }
}

/// Why a blob could not be written.
pub(super) enum PutError {
    /// The store would have more than it may.
    Full {
        bytes: u64,
        max: u64,
    },
    /// The disk would have less free space than it is to have.
    DiskFull {
        free: u64,
        min: u64,
    },
    /// The directory may be another bus's.
    Closed,
    Io(io::Error),
}

impl BlobStore {
    /// The one that has what the medium says that there is.
    pub fn open(medium: &dyn Medium, bytes_max: u64) -> io::Result<Arc<Self>> {
        let mut state = State::default();
        for (name, bytes) in medium.blobs()? {
            match BlobDigest::parse(&name) {
                Some(digest) => {
                    state.suspects.insert(digest);
                    state.usage.blobs += 1;
                    state.usage.bytes = state.usage.bytes.saturating_add(bytes);
                }
                // One that was being written when the process before ended.
                None => {
                    if let Err(error) = medium.remove_blob(&name) {
                        tracing::warn!(%name, %error, "what is left of a blob could not be removed");
                    }
                }
            }
        }
        Ok(Arc::new(Self { bytes_max, is_open: RwLock::new(true), state: Mutex::new(state) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in it.
    pub fn usage(&self) -> Usage {
        self.state().usage
    }

    /// Neither writes nor removes any more when it returns: from here on, another bus may have the directory.
    pub fn close(&self) {
        *self.is_open.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn is_open(&self) -> RwLockReadGuard<'_, bool> {
        self.is_open.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all that are there looked at: what was let go of by commits of which nobody knows whether they came to be, is unknown.
    pub fn look_at_all(&self, medium: &dyn Medium) -> io::Result<()> {
        let found = medium.blobs()?;
        self.state().suspects.extend(found.iter().filter_map(|(name, _)| BlobDigest::parse(name)));
        Ok(())
    }

    /// The most that it may have, in bytes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Has a blob on the disk when it returns, and for as long as what it returns is there.
    pub fn put(
        self: &Arc<Self>,
        medium: &dyn Medium,
        free_bytes_min: u64,
        blob: BlobRef,
        data: &[u8],
    ) -> Result<Kept, PutError> {
        let (kept, is_written) = self.keep(blob);
        let mut is_written = is_written.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_written {
            self.write(medium, free_bytes_min, blob, data)?;
            *is_written = true;
        }
        Ok(kept)
    }

    fn keep(self: &Arc<Self>, blob: BlobRef) -> (Kept, Arc<Mutex<bool>>) {
        let mut state = self.state();
        state.condemned.remove(&blob.digest);
        let keeping =
            state.kept.entry(blob.digest).or_insert_with(|| Keeping { times: 0, is_written: Arc::default() });
        keeping.times += 1;
        (Kept { store: Arc::clone(self), blob }, Arc::clone(&keeping.is_written))
    }

    fn let_go(&self, digest: BlobDigest) {
        let mut state = self.state();
        let Some(keeping) = state.kept.get_mut(&digest) else { return };
        keeping.times -= 1;
        if keeping.times == 0 {
            state.kept.remove(&digest);
            // The commit may have come to nothing.
            state.suspects.insert(digest);
        }
    }

    /// Writes a blob that is not there, or not as it should be: what is damaged is mended by whoever has the same data.
    fn write(
        &self,
        medium: &dyn Medium,
        free_bytes_min: u64,
        blob: BlobRef,
        data: &[u8],
    ) -> Result<(), PutError> {
        let is_open = self.is_open();
        if !*is_open {
            return Err(PutError::Closed);
        }
        let name = blob.digest.to_string();
        // What can't be read is written anew, as what is damaged.
        let found = medium.read_blob(&name).unwrap_or_else(|error| {
            tracing::warn!(%name, %error, "a blob can't be read, and is replaced");
            Some(Vec::new())
        });
        if found.as_deref() == Some(data) {
            // Whoever wrote it may have come to its end before it was durable.
            return medium.sync_blobs().map_err(PutError::Io);
        }
        let replaced = found.map(|found| found.len() as u64);
        // A disk that doesn't say is taken to have room, as for commits.
        let free = medium.free_bytes().unwrap_or(u64::MAX);
        if free.saturating_sub(blob.bytes) < free_bytes_min {
            return Err(PutError::DiskFull { free, min: free_bytes_min.saturating_add(blob.bytes) });
        }
        // Counted before it is written, so that several at once don't go beyond the bound together.
        self.reserve(blob.bytes, replaced)?;
        medium.write_blob(&name, data).map_err(|error| {
            // Where its name alone could not be made durable, what was there before is gone as well.
            let left = medium.read_blob(&name).map_or(replaced, |left| left.map(|left| left.len() as u64));
            self.unreserve(blob.bytes, left);
            PutError::Io(error)
        })
    }

    fn reserve(&self, bytes: u64, replaced: Option<u64>) -> Result<(), PutError> {
        let mut state = self.state();
        let after = state.usage.bytes.saturating_sub(replaced.unwrap_or(0)).saturating_add(bytes);
        if after > self.bytes_max {
            return Err(PutError::Full { bytes: after, max: self.bytes_max });
        }
        state.usage.bytes = after;
        state.usage.blobs += u64::from(replaced.is_none());
        Ok(())
    }

    /// Nothing has come of what was reserved; of what is there under the name, so many bytes are left.
    fn unreserve(&self, bytes: u64, left: Option<u64>) {
        let mut state = self.state();
        state.usage.bytes = state.usage.bytes.saturating_sub(bytes).saturating_add(left.unwrap_or(0));
        state.usage.blobs = state.usage.blobs.saturating_sub(u64::from(left.is_none()));
    }

    /// Has a blob looked at, since somebody has let go of it. What they did is durable.
    pub fn look_at(&self, digest: BlobDigest) {
        self.state().suspects.insert(digest);
    }

    /// Some blobs that nobody may have a claim to any more, nor keeps at this moment. One at a time may ask for them, and then
    /// [removes](Self::remove) those that nobody has.
    pub fn condemn(&self) -> Vec<BlobDigest> {
        let mut state = self.state();
        // Whoever looked at them before has not come to the end.
        let left = std::mem::take(&mut state.condemned);
        state.suspects.extend(left);
        let chosen: Vec<_> = state
            .suspects
            .iter()
            .filter(|digest| !state.kept.contains_key(digest))
            .take(BLOBS_COLLECTED_MAX)
            .copied()
            .collect();
        for digest in &chosen {
            state.suspects.remove(digest);
            state.condemned.insert(*digest);
        }
        chosen
    }

    /// Removes those of the condemned blobs that nobody has a claim to, as a durable commit says, and lets the others be. One that
    /// can't be removed is asked for again.
    pub(super) fn remove(&self, medium: &dyn Medium, unclaimed: &[BlobDigest]) -> Removed {
        let mut removed = Removed::default();
        for digest in unclaimed {
            // Held while it is removed: who keeps it next finds that it isn't there. For each anew, so that nobody waits for many.
            let (is_open, mut state) = (self.is_open(), self.state());
            if !*is_open || !state.condemned.remove(digest) {
                continue;
            }
            match medium.remove_blob(&digest.to_string()) {
                Ok(bytes) => {
                    state.usage.blobs = state.usage.blobs.saturating_sub(u64::from(bytes.is_some()));
                    state.usage.bytes = state.usage.bytes.saturating_sub(bytes.unwrap_or(0));
                    removed.blobs += u64::from(bytes.is_some());
                }
                Err(error) => {
                    tracing::warn!(%digest, %error, "a blob that nobody needs could not be removed; it is tried again");
                    state.suspects.insert(*digest);
                    removed.failed += 1;
                }
            }
        }
        self.state().condemned.clear();
        removed
    }
}

/// Whether an event's data goes to the blob store, and its size without it, in bytes of [`Event::size`].
pub(super) fn checked_in_size(shared: &Shared, topic: &Topic, event: &Event) -> Option<usize> {
    let over = topic.claim_check_over()?;
    // A reference of the producer's own stands where that of the bus would.
    if event.has_dataref() {
        return None;
    }
    let data = event.data()?.as_bytes().len();
    let is_large = data > over || event.size() > shared.options.event_bytes_max;
    is_large.then(|| event.size() - data)
}

/// Puts an event's data into the blob store, if it is to go there. Returns the event as the log has it.
pub(super) fn check_in(
    shared: &Shared,
    topic: &Topic,
    event: Event,
) -> Result<(Event, Option<Kept>), PublishError> {
    if checked_in_size(shared, topic, &event).is_none() {
        return Ok((event, None));
    }
    let id = event.id().to_owned();
    let (event, Some((blob, data))) = event.checked_in() else {
        unreachable!("it has data, and no reference");
    };
    let kept = put(shared, blob, &data).map_err(|error| match error {
        PutError::Full { bytes, max } => PublishError::BlobsFull { id, bytes, max },
        PutError::DiskFull { free, min } => PublishError::DiskFull { free, min },
        PutError::Closed => PublishError::Closed,
        PutError::Io(source) => PublishError::Blob { id, source: Arc::new(source) },
    })?;
    Ok((event, Some(kept)))
}

fn put(shared: &Shared, blob: BlobRef, data: &Data) -> Result<Kept, PutError> {
    shared.blobs.put(&*shared.medium, shared.options.free_bytes_min, blob, data.as_bytes())
}

/// The event with its data, where that is in the blob store; `None` where it isn't.
pub(super) fn check_out(shared: &Shared, event: &Event) -> Result<Option<Event>, BlobError> {
    let Some(blob) = event.blob() else { return Ok(None) };
    let bytes = read(&*shared.medium, blob.digest, blob.bytes)?;
    match event.checked_out(blob, bytes) {
        Some(event) => Ok(Some(event)),
        None => Err(BlobError::Damaged {
            digest: blob.digest.to_string(),
            reason: "it is no text, which its event says that it is".to_owned(),
        }),
    }
}

/// A blob of so many bytes, if it is there as it was written.
pub(super) fn read(medium: &dyn Medium, digest: BlobDigest, bytes: u64) -> Result<Vec<u8>, BlobError> {
    let name = digest.to_string();
    let damaged = |reason: String| BlobError::Damaged { digest: digest.to_string(), reason };
    let found = match medium.read_blob(&name) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(BlobError::Missing { digest: name }),
        Err(source) => return Err(BlobError::Io { digest: name, source: Arc::new(source) }),
    };
    if found.len() as u64 != bytes {
        return Err(damaged(format!("it has {} bytes instead of {bytes}", found.len())));
    }
    if BlobDigest::of(&found) != digest {
        return Err(damaged("its content has another SHA-256".to_owned()));
    }
    Ok(found)
}
