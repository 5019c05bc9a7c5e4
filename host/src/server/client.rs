//! The other end of the control socket. It blocks: what uses it is a command.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::control::SOCKET;
use super::protocol::Reply;
use super::socket_path::SocketPath;
use super::{Answer, ClientError, Hello, Refusal, Request, Welcome, frame};

/// A connection to the bus that another process has open.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// use tidegate::server::{Answer, Client, Request, serve_control};
///
/// let control = serve_control(&bus)?;
/// // In another process, of the same user:
/// let mut client = Client::connect(bus.directory())?;
/// for answer in client.ask(&Request::Topics)? {
///     if let Answer::Topics(topics) = answer? {
///         println!("{} topics", topics.len());
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    welcome: Welcome,
}

impl Client {
    /// Connects to the control socket in a data directory.
    ///
    /// # Errors
    ///
    /// Nobody answers there, or somebody of another version.
    pub fn connect(directory: &Path) -> Result<Self, ClientError> {
        let path = directory.join(SOCKET);
        let connected = match SocketPath::of(directory, SOCKET) {
            Ok(Some(address)) => UnixStream::connect(address.path()),
            Ok(None) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket")),
            Err(error) => Err(error),
        };
        let mut stream = connected.map_err(|source| ClientError::Unreachable { path, source })?;
        // A server without a place for us answers and hangs up, maybe before it has heard us.
        let greeted = frame::write(&mut stream, &Hello::ours());
        let mut stream = BufReader::new(stream);
        let welcome = frame::read::<Result<Welcome, Refusal>>(&mut stream);
        match (greeted, welcome) {
            (_, Ok(Ok(welcome))) => Ok(Self { stream, welcome }),
            (_, Ok(Err(refusal))) => Err(ClientError::Version(refusal.message)),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(ClientError::Broken(error)),
        }
    }

    /// What the other side has said of itself.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Asks for something. The answers come one by one from what this returns.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub fn ask(&mut self, request: &Request) -> Result<Answers<'_>, ClientError> {
        frame::write(self.stream.get_mut(), request)?;
        Ok(Answers { client: self, ended: false })
    }
}

/// The answers to one request. Drop the client, too, to end a request before its end.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// let control = tidegate::server::serve_control(&bus)?;
/// let mut client = tidegate::server::Client::connect(bus.directory())?;
///
/// use tidegate::server::Request;
///
/// let answers = client.ask(&Request::Consumers)?.collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(answers.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Answers<'a> {
    client: &'a mut Client,
    ended: bool,
}

impl Iterator for Answers<'_> {
    type Item = Result<Answer, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match frame::read(&mut self.client.stream) {
            Ok(Reply::Answer(answer)) => return Some(Ok(answer)),
            Ok(Reply::Done) => self.ended = true,
            Ok(Reply::Refused(refusal)) => {
                self.ended = true;
                return Some(Err(refusal.into()));
            }
            Err(error) => {
                self.ended = true;
                return Some(Err(error.into()));
            }
        }
        None
    }
}
