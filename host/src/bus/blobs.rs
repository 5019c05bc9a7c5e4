//! The blob store, for those who read events themselves and for operators.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Bus;
use crate::event::{BlobDigest, Event};
use crate::limits::BLOBS_LISTED_MAX;
use crate::log::{BlobError, ListedBlob, ReadError};

/// What the blob store has.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// let bus = tidegate::Bus::open(directory.path())?;
/// let usage = bus.blob_usage();
/// assert_eq!((usage.blobs, usage.bytes, usage.bytes_max), (0, 0, 16 << 30));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlobUsage {
    /// How many blobs. Those that nobody names any more are among them until they are removed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The most that it may have, in bytes: [`BusConfig::blobs_bytes_max`](crate::config::BusConfig::blobs_bytes_max).
    pub bytes_max: u64,
}

/// A blob that is named by somebody: data that was too large for the log.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::{Event, config::TopicConfig};
/// bus.create_topic("scans", TopicConfig::new(1).claim_check_over(64 << 10))?;
/// let scan = Event::new("scan-7", "/scanner", "Scanned.v1").binary("image/png", vec![0; 100_000]).build()?;
/// bus.publish("scans", scan)?;
/// let blob = bus.bus().verify_blobs(None, 10)?.remove(0);
/// assert_eq!((blob.bytes, blob.holders, blob.problem), (100_000, 1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlobStatus {
    /// The SHA-256 of the data, in lower-case hexadecimal. It is the name of its file in `blobs/` of the data directory.
    pub digest: String,
    /// Its bytes.
    pub bytes: u64,
    /// How many name it: events in topics, dead letters, and redriven events.
    pub holders: u64,
    /// What is wrong with it and what to do, where it was verified and something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl BlobStatus {
    fn of(blob: ListedBlob, verified: Result<(), BlobError>) -> Self {
        let ListedBlob { digest, bytes, holders } = blob;
        let problem = verified.err().map(|error| error.to_string());
        Self { digest: digest.to_string(), bytes, holders, problem }
    }
}

impl Bus {
    /// An event with its data, where that is in the blob store: as its consumers get it, and as it was published. Any other
    /// event as it is, also one whose producer has named data elsewhere by a `dataref` of its own. The data is in memory as a
    /// whole then, up to 64 MiB.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// # use tidegate::{Event, Position, config::TopicConfig};
    /// bus.create_topic("scans", TopicConfig::new(1).claim_check_over(64 << 10))?;
    /// let scan = Event::new("scan-7", "/scanner", "Scanned.v1").binary("image/png", vec![0; 100_000]).build()?;
    /// bus.publish("scans", scan.clone())?;
    ///
    /// let record = bus.bus().read("scans", None, Position::Earliest)?.try_next()?.ok_or("nothing there")?;
    /// assert!(record.event.data().is_none() && record.event.extension("dataref").is_some());
    /// assert_eq!(*bus.bus().with_data(&record.event)?, scan);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`BlobError`]. The data of an event that retention has removed is gone as well.
    pub fn with_data(&self, event: &Arc<Event>) -> Result<Arc<Event>, BlobError> {
        Ok(self.inner.log.with_data(event)?.map_or_else(|| Arc::clone(event), Arc::new))
    }

    /// What the blob store has.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// let usage = bus.blob_usage();
    /// println!("{} blobs of {} bytes", usage.blobs, usage.bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn blob_usage(&self) -> BlobUsage {
        let (usage, bytes_max) = self.inner.log.blob_usage();
        BlobUsage { blobs: usage.blobs, bytes: usage.bytes, bytes_max }
    }

    /// The blobs that somebody names, by their digests: those behind `after`, at most `limit` of them and at most 1000. To go
    /// on, call it with the last one's digest.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// for blob in bus.blobs(None, 100)? {
    ///     println!("{}: {} bytes, named by {}", blob.digest, blob.bytes, blob.holders);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `after` is no digest, or the log can't be read.
    pub fn blobs(&self, after: Option<&str>, limit: usize) -> Result<Vec<BlobStatus>, ReadError> {
        let listed = self.listed_blobs(after, limit)?.into_iter();
        Ok(listed.map(|blob| BlobStatus::of(blob, Ok(()))).collect())
    }

    /// The same, and reads each of them to find out whether it is as it was written. It takes as long as reading them does.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// for blob in bus.verify_blobs(None, 100)? {
    ///     if let Some(problem) = blob.problem {
    ///         eprintln!("{problem}");
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`blobs`](Self::blobs).
    pub fn verify_blobs(&self, after: Option<&str>, limit: usize) -> Result<Vec<BlobStatus>, ReadError> {
        let mut after = after.map(str::to_owned);
        loop {
            let listed = self.listed_blobs(after.as_deref(), limit)?;
            let Some(last) = listed.last() else { return Ok(Vec::new()) };
            after = Some(last.digest.to_string());
            let mut verified = Vec::with_capacity(listed.len());
            for blob in listed {
                verified.extend(self.inner.log.verify_blob(blob)?.map(|found| BlobStatus::of(blob, found)));
            }
            // An empty answer is the end of the list, so those that were removed meanwhile don't make one.
            if !verified.is_empty() {
                return Ok(verified);
            }
        }
    }

    fn listed_blobs(&self, after: Option<&str>, limit: usize) -> Result<Vec<ListedBlob>, ReadError> {
        let unknown = |digest: &str| ReadError::NoDigest(digest.to_owned());
        let after =
            after.map(|digest| BlobDigest::parse(digest).ok_or_else(|| unknown(digest))).transpose()?;
        self.inner.log.blobs(after, limit.min(BLOBS_LISTED_MAX))
    }
}
