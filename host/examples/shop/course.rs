//! The course of the story on one side.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::Client;
use crate::error::ShopError;
use crate::process::{Process, Side, Start};
use crate::producers;
use crate::provider::{Book, Provider};
use crate::service::Report;
use crate::story::Story;

/// How long anything that is waited for may take: only a story that fails comes near it.
const PATIENCE: Duration = Duration::from_mins(2);

/// The pause between two looks at a shop that has something to do.
const PAUSE: Duration = Duration::from_millis(50);

/// What is left at the end, as seen from outside.
pub struct Evidence {
    /// Events that were given up on, kept, and then put right.
    pub put_aside: usize,
    pub report: Report,
    pub book: Book,
}

/// Plays the story.
pub async fn play(side: Side, story: &Story, plugins: &Path) -> Result<Evidence, ShopError> {
    let directory = TempDir::new()?;
    let provider = Provider::start(story).await?;
    let start = Start { side, directory: directory.path(), plugins, payments: provider.address, story };
    let client = Client::new(PATIENCE);
    let (tell, address) = watch::channel(None);

    // The front ends send what they have, and the shop is killed while it waits for a payment.
    let shop = within("the start of the shop", Process::start(&start)).await??;
    tell.send_replace(Some(shop.address));
    let mut front_ends = producers::send(&story.phases[0], &address);
    within("the crash", provider.crash()).await?;
    tell.send_replace(None);
    shop.kill()?;

    // It is started again on what it has left, and the front ends repeat what they got no answer to.
    let shop = within("the start of the shop", Process::start(&start)).await??;
    tell.send_replace(Some(shop.address));
    within("the end of the front ends", all(&mut front_ends)).await??;

    // The second release comes while the first half of the orders is worked on, and then its front ends.
    shop.tell(&client, "/deploy").await?;
    let mut front_ends = producers::send(&story.phases[1], &address);
    within("the end of the front ends", all(&mut front_ends)).await??;
    until_idle(&shop, &client).await?;

    // Somebody has found out why an order isn't shipped.
    let before: Report = shop.ask(&client, "/report").await?;
    shop.tell(&client, "/mend").await?;
    until_idle(&shop, &client).await?;
    let report = shop.ask(&client, "/report").await?;
    within("the end of the shop", shop.end()).await??;
    Ok(Evidence { put_aside: before.put_aside, report, book: provider.close() })
}

async fn all(tasks: &mut JoinSet<Result<(), ShopError>>) -> Result<(), ShopError> {
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

async fn until_idle(shop: &Process, client: &Client) -> Result<(), ShopError> {
    let idle = async {
        let mut pause = tokio::time::interval(PAUSE);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !shop.ask::<bool>(client, "/idle").await? {
            pause.tick().await;
        }
        Ok(())
    };
    within("the end of the work", idle).await?
}

async fn within<T>(what: &'static str, wait: impl Future<Output = T>) -> Result<T, ShopError> {
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| ShopError::TooLong(what))
}
