//! Tasks beside each other, ours and those of a peer alike.

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// What they run on.
pub fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// Runs tasks to their ends, or to the first failure.
pub fn together<F>(runtime: &Runtime, tasks: impl IntoIterator<Item = F>) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    runtime.block_on(async {
        let mut running: JoinSet<_> = tasks.into_iter().collect();
        ended(&mut running).await
    })
}

/// Waits for all of them, or for the first failure.
pub async fn ended(running: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(outcome) = running.join_next().await {
        outcome??;
    }
    Ok(())
}
