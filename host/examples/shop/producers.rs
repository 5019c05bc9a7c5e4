//! The front ends: connections that send requests until the shop says that it has them.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate::Event;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::Client;
use crate::error::ShopError;

/// How long a front end waits for an answer before it sends a request again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before that.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the shop is, while it is anywhere.
pub type Address = watch::Receiver<Option<SocketAddr>>;

/// Starts a connection for each of these lists. A list is sent in its order, one request at a time.
pub fn send(lists: &[Vec<Event>], shop: &Address) -> JoinSet<Result<(), ShopError>> {
    let client = Client::new(PATIENCE);
    lists.iter().map(|list| connection(client.clone(), list.clone(), shop.clone())).collect()
}

async fn connection(client: Client, list: Vec<Event>, mut shop: Address) -> Result<(), ShopError> {
    let mut pause = tokio::time::interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for event in list {
        let body = event.to_json();
        loop {
            // The other end is gone where the story has ended, and with it this connection.
            let Ok(address) = shop.wait_for(Option::is_some).await.map(|address| *address) else {
                return Ok(());
            };
            let Some(address) = address else { continue };
            match client.post(address, "/requests", None, body.clone()).await {
                Ok(answer) if answer.status == 202 => break,
                Ok(answer) if answer.status < 500 => {
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    return Err(ShopError::Refused { path: "/requests", status: answer.status, body });
                }
                // It has it, or it hasn't.
                Ok(_) | Err(_) => _ = pause.tick().await,
            }
        }
    }
    Ok(())
}
