//! Waiting for the log to change.

use std::sync::Arc;

use tokio::sync::Notify;

/// Waits for new events in the partitions that it watches, and for changes of its lane.
#[derive(Debug)]
pub(crate) struct Watcher(pub(super) Arc<Notify>);

impl Watcher {
    pub(super) fn new() -> Self {
        Self(Arc::new(Notify::new()))
    }

    /// Returns once there is something new since the last call, or since the watcher was made. It may return without
    /// anything new. Dropping the future loses nothing.
    pub async fn changed(&self) {
        self.0.notified().await;
    }
}
