//! A real NATS server on loopback, with `JetStream`, and what a test asks of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use async_nats::{Client, ConnectOptions};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::nats_process::NatsProcess;

/// A server, and what asks it.
pub struct NatsServer {
    process: NatsProcess,
    folder: PathBuf,
    runtime: Runtime,
}

/// A message in a stream.
#[derive(Debug)]
pub struct Stored {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub payload: Vec<u8>,
}

impl Stored {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

impl NatsServer {
    /// A server without other settings; `None`, and told, where there is no program.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// A server with more settings.
    pub fn start_with(settings: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_owned();
        let Some(process) = NatsProcess::start(folder, "", settings).unwrap() else {
            // Past what captures the tests' own output: a test that is skipped is to be seen.
            drop(writeln!(
                std::io::stderr(),
                "skipped: there is no nats-server; `cargo xtask test` gets one, or install it on the PATH"
            ));
            return None;
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Some(Self { process, folder: path, runtime })
    }

    /// Starts it on its store and its port.
    pub fn begin(&mut self) {
        self.process.begin().unwrap();
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn url(&self) -> String {
        format!("nats://localhost:{}", self.process.port())
    }

    pub fn tls_url(&self) -> String {
        format!("tls://localhost:{}", self.process.port())
    }

    fn client(&self, options: ConnectOptions) -> Client {
        self.runtime.block_on(options.connect(self.url())).unwrap()
    }

    /// Asks `JetStream`'s interface for something.
    fn ask_as(&self, options: ConnectOptions, subject: &str, request: &Value) -> Value {
        let client = self.client(options);
        let payload = request.to_string().into();
        let answer = self.runtime.block_on(client.request(format!("$JS.API.{subject}"), payload)).unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    fn ask(&self, subject: &str, request: &Value) -> Value {
        self.ask_as(ConnectOptions::new(), subject, request)
    }

    /// Makes a stream of these subjects.
    pub fn make_stream(&self, name: &str, subjects: &[&str], more: &Value) {
        self.make_stream_as(ConnectOptions::new(), name, subjects, more);
    }

    pub fn make_stream_as(&self, options: ConnectOptions, name: &str, subjects: &[&str], more: &Value) {
        let mut stream = json!({ "name": name, "subjects": subjects, "storage": "file", "num_replicas": 1 });
        let settings = stream.as_object_mut().unwrap();
        settings.extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.ask_as(options, &format!("STREAM.CREATE.{name}"), &stream);
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// All messages of a stream.
    pub fn stored(&self, stream: &str) -> Vec<Stored> {
        self.stored_as(ConnectOptions::new, stream)
    }

    pub fn stored_as(&self, options: impl Fn() -> ConnectOptions, stream: &str) -> Vec<Stored> {
        let info = self.ask_as(options(), &format!("STREAM.INFO.{stream}"), &json!({}));
        let last = info["state"]["last_seq"].as_u64().unwrap();
        let get = |sequence: u64| {
            let answer =
                self.ask_as(options(), &format!("STREAM.MSG.GET.{stream}"), &json!({ "seq": sequence }));
            let message = &answer["message"];
            let bytes =
                |name: &str| BASE64.decode(message[name].as_str().unwrap_or_default().as_bytes()).unwrap();
            let headers = String::from_utf8(bytes("hdrs")).unwrap();
            let headers = headers.lines().filter_map(|line| line.split_once(": "));
            Stored {
                subject: message["subject"].as_str().unwrap().to_owned(),
                headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                payload: bytes("data"),
            }
        };
        (1..=last).map(get).collect()
    }

    /// How many messages a stream has.
    pub fn count(&self, stream: &str) -> u64 {
        self.ask(&format!("STREAM.INFO.{stream}"), &json!({}))["state"]["messages"].as_u64().unwrap()
    }
}
