//! The control socket: `control.sock` in the data directory, for its owner alone.
//!
//! Whether a bus runs on a directory is decided by the lock of its database, never by the socket: one that a killed
//! process left behind is replaced.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::protocol::Reply;
use super::socket_path::{SOCKET_PATH_BYTES_MAX, SocketPath};
use super::{ControlError, Hello, PROTOCOL, Refusal, Request, Welcome, execute, frame};
use crate::bus::Bus;
use crate::limits::{ANSWERS_AHEAD, CONNECTIONS_MAX, CONTROL_ACCEPT_PAUSE, CONTROL_IDLE, CONTROL_STALLED};

/// The socket's name in the data directory.
pub(super) const SOCKET: &str = "control.sock";

/// The folder in which the socket is made, out of everyone's sight until its permissions are right.
const WORKSHOP: &str = "control.new";

/// A control socket that is being served, until this is dropped or [`shutdown`](Self::shutdown).
///
/// It holds the bus: end it before you expect that dropping the last handle ends the bus.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// let control = tidegate::server::serve_control(&bus)?;
/// assert!(control.path().exists());
/// control.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ControlServer {
    socket: PathBuf,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// Serves the control socket in the bus's data directory: the `tidegate` commands reach the bus through it.
///
/// The socket is for the owner of the directory alone; whoever can connect to it can do all that the owner can.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// let control = tidegate::server::serve_control(&bus)?;
/// // `tidegate consumers` works on this directory from here on.
/// control.shutdown().await;
/// bus.shutdown(std::time::Duration::from_secs(5)).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// See [`ControlError`].
pub fn serve_control(bus: &Bus) -> Result<ControlServer, ControlError> {
    let socket = bus.directory().join(SOCKET);
    let failed = |source| ControlError::Socket { path: socket.clone(), source };
    let listener = bind(bus.directory()).map_err(failed)?.ok_or_else(|| ControlError::PathTooLong {
        path: socket.clone(),
        bytes_max: SOCKET_PATH_BYTES_MAX,
    })?;
    // A listener belongs to the runtime that it is made in.
    let listener = {
        let _runtime = bus.runtime().enter();
        UnixListener::from_std(listener).map_err(failed)?
    };
    let (stop, stopped) = watch::channel(false);
    let task = bus.runtime().spawn(accept(bus.clone(), listener, stopped));
    Ok(ControlServer { socket, stop, task: Some(task) })
}

impl ControlServer {
    /// The socket.
    pub fn path(&self) -> &Path {
        &self.socket
    }

    /// Ends it: requests that are being carried out are cut off, and whoever asked sees that nobody answers any more.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // It ended by itself or with the bus: either way it is over.
            drop(task.await);
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        // Where it is gone already, or can't be removed, the lock decides all the same.
        drop(fs::remove_file(&self.socket));
    }
}

/// Binds the socket in a folder of its own, where nobody else can reach it before its permissions are right, and moves it
/// to its place, over one that is left of another process.
fn bind(directory: &Path) -> io::Result<Option<std::os::unix::net::UnixListener>> {
    let workshop = directory.join(WORKSHOP);
    match fs::remove_dir_all(&workshop) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&workshop)?;
    let Some(address) = SocketPath::of(&workshop, SOCKET)? else { return Ok(None) };
    let listener = std::os::unix::net::UnixListener::bind(address.path())?;
    fs::set_permissions(workshop.join(SOCKET), Permissions::from_mode(0o600))?;
    fs::rename(workshop.join(SOCKET), directory.join(SOCKET))?;
    fs::remove_dir(&workshop)?;
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

async fn accept(bus: Bus, listener: UnixListener, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let place = Arc::clone(&places).try_acquire_owned();
                let (bus, mut stopped) = (bus.clone(), stopped.clone());
                bus.clone().runtime().spawn(async move {
                    let connection = Connection::new(bus, stream);
                    let served = async {
                        match &place {
                            Ok(_) => connection.serve().await,
                            Err(_) => connection.turn_away().await,
                        }
                    };
                    tokio::select! {
                        biased;
                        _ = stopped.wait_for(|stopped| *stopped) => {}
                        // Whoever was there has hung up, or sent what is no request: the connection is over.
                        outcome = served => {
                            if let Err(error) = outcome {
                                tracing::debug!(%error, "a connection to the control socket broke");
                            }
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket could not be accepted");
                // Such as too many open files, which only time heals.
                bus.clock().sleep_until(bus.clock().now().after(CONTROL_ACCEPT_PAUSE)).await;
            }
        }
    }
}

/// One client.
struct Connection {
    bus: Bus,
    input: OwnedReadHalf,
    output: OwnedWriteHalf,
}

impl Connection {
    fn new(bus: Bus, stream: UnixStream) -> Self {
        let (input, output) = stream.into_split();
        Self { bus, input, output }
    }

    /// Says that there is no place.
    async fn turn_away(mut self) -> io::Result<()> {
        let message =
            format!("the control socket serves {CONNECTIONS_MAX} connections at a time: try again later");
        self.send(&Err::<Welcome, _>(Refusal::new(message))).await
    }

    async fn serve(mut self) -> io::Result<()> {
        let Some(hello) = self.receive::<Hello>().await? else { return Ok(()) };
        let ours = Hello::ours();
        if hello.protocol != PROTOCOL {
            let message = format!(
                "the bus is served by tidegate {} with protocol {PROTOCOL}, and this is tidegate {} with protocol {}: use \
                 the same version",
                ours.version, hello.version, hello.protocol
            );
            return self.send(&Err::<Welcome, _>(Refusal::new(message))).await;
        }
        let event_bytes_max = self.bus.config().event_bytes_max;
        let welcome = Welcome {
            protocol: PROTOCOL,
            version: ours.version,
            process: std::process::id(),
            event_bytes_max,
        };
        self.send(&Ok::<_, Refusal>(welcome)).await?;
        while let Some(request) = self.receive().await? {
            self.answer(request).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, request: Request) -> io::Result<()> {
        let (answers, mut answered) = mpsc::channel(ANSWERS_AHEAD);
        let bus = self.bus.clone();
        let mut work = std::pin::pin!(execute(&bus, request, answers));
        let mut outcome = None;
        loop {
            tokio::select! {
                biased;
                answer = answered.recv() => match answer {
                    Some(answer) => self.send(&Reply::Answer(answer)).await?,
                    None => break,
                },
                done = &mut work, if outcome.is_none() => outcome = Some(done),
                () = hung_up(&mut self.input) => return Ok(()),
            }
        }
        match outcome {
            Some(Err(refusal)) => self.send(&Reply::Refused(refusal)).await,
            _ => self.send(&Reply::Done).await,
        }
    }

    /// Reads a message, from a client that neither sleeps nor dawdles.
    async fn receive<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let received = frame::receive(&mut self.input);
        within(&self.bus, CONTROL_IDLE, received).await
    }

    async fn send(&mut self, message: &impl serde::Serialize) -> io::Result<()> {
        let bytes = frame::encode(message)?;
        let sent = self.output.write_all(&bytes);
        within(&self.bus, CONTROL_STALLED, sent).await
    }
}

async fn within<T>(bus: &Bus, wait: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = bus.clock().sleep_until(bus.clock().now().after(wait)) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Ends when the client hangs up, or speaks out of turn.
async fn hung_up(input: &mut OwnedReadHalf) {
    drop(input.read_u8().await);
}
