//! Reaching the bus: in this process where nobody has the data directory open, else through its control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate::config::{BusConfig, Config};
use tidegate::server::{Answer, Client, ClientError, Request, execute};
use tidegate::{Bus, BusError, OpenError, Options};

use super::arguments::Global;
use super::error::CliError;

/// Answers that a bus in this process may run ahead of the command.
const ANSWERS_AHEAD: usize = 64;

/// How often a directory is tried that is in use and has no control socket: the process that has it may be a short command
/// as well, or about to serve.
const TRIES: u32 = 40;

/// The pause between two tries.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Time to end a bus on which no consumer runs: what waits for the disk is written.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A bus that can be asked.
pub enum Access {
    /// Open in this process, with no consumer running.
    Local(Bus),
    /// Open in another process.
    Remote(Client),
}

/// The configuration file: the one that was named, else `tidegate.toml` in the data directory.
pub fn config_file(global: &Global) -> PathBuf {
    global.config.clone().unwrap_or_else(|| global.dir.join("tidegate.toml"))
}

/// The configuration; the default one where no file was named and there is none.
pub fn config(global: &Global) -> Result<Config, CliError> {
    let file = config_file(global);
    if global.config.is_none() && !file.exists() {
        return Ok(Config::default());
    }
    Ok(Config::from_file(file)?)
}

impl Access {
    /// The bus of the data directory. The lock of its database decides which way, not whether there is a socket.
    pub fn open(global: &Global) -> Result<Self, CliError> {
        if !global.dir.is_dir() {
            return Err(CliError::NoDirectory(global.dir.clone()));
        }
        let mut last = None;
        for _ in 0..TRIES {
            match open_local(global) {
                Ok(bus) => return Ok(Self::Local(bus)),
                Err(CliError::Open(BusError::Open(OpenError::InUse { .. }))) => {}
                Err(error) => return Err(error),
            }
            match Client::connect(&global.dir) {
                Ok(client) => return Ok(Self::Remote(client)),
                Err(source @ ClientError::Unreachable { .. }) => last = Some(source),
                Err(error) => return Err(error.into()),
            }
            // Nobody unparks this thread: it is a pause, which may end early and do no harm.
            std::thread::park_timeout(TRY_EVERY);
        }
        let directory = global.dir.clone();
        Err(match last {
            Some(source) => CliError::Unreachable { directory, source },
            None => CliError::NoDirectory(directory),
        })
    }

    /// Whether the bus runs in another process, and so has consumers at work.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// The largest event that the bus accepts.
    pub fn event_bytes_max(&self) -> usize {
        match self {
            Self::Local(bus) => bus.config().event_bytes_max,
            Self::Remote(client) => client.welcome().event_bytes_max,
        }
    }

    /// Asks for something and takes the answers one by one.
    pub fn ask(
        &mut self,
        request: Request,
        mut take: impl FnMut(Answer) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        match self {
            Self::Local(bus) => {
                let (answers, mut answered) = tokio::sync::mpsc::channel(ANSWERS_AHEAD);
                let asked = bus.clone();
                let work = std::thread::Builder::new().name("tidegate-ask".to_owned()).spawn(move || {
                    tokio::runtime::Builder::new_current_thread()
                        .build()
                        .map(|runtime| runtime.block_on(execute(&asked, request, answers)))
                });
                let work =
                    work.map_err(|error| CliError::Failed(format!("a thread can't be started: {error}")))?;
                while let Some(answer) = answered.blocking_recv() {
                    take(answer)?;
                }
                match work.join() {
                    Ok(Ok(outcome)) => Ok(outcome.map_err(ClientError::Refused)?),
                    Ok(Err(error)) => Err(CliError::Failed(format!("a runtime can't be started: {error}"))),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Self::Remote(client) => {
                for answer in client.ask(&request)? {
                    take(answer?)?;
                }
                Ok(())
            }
        }
    }

    /// Asks for something that has nothing to say.
    pub fn tell(&mut self, request: Request) -> Result<(), CliError> {
        self.ask(request, |_| Ok(()))
    }

    /// Asks for something with one answer.
    pub fn one<T>(&mut self, request: Request, pick: impl Fn(Answer) -> Option<T>) -> Result<T, CliError> {
        let mut found = None;
        self.ask(request, |answer| {
            found = pick(answer);
            Ok(())
        })?;
        found.ok_or_else(|| {
            CliError::Failed("the bus gave an answer of another kind: are the versions the same?".to_owned())
        })
    }

    /// Ends the bus in good order where it is this process's.
    pub fn close(self) {
        if let Self::Local(bus) = self {
            bus.blocking().shutdown(SHUTDOWN);
        }
    }
}

/// Opens the bus in this process. No consumer is started.
fn open_local(global: &Global) -> Result<Bus, CliError> {
    // A configuration that is wrong is no concern of who reaches a bus that runs: the lock is looked at first.
    let (settings, wrong) = match config(global) {
        Ok(config) => (config.bus, None),
        Err(error) => (BusConfig::default(), Some(error)),
    };
    let bus = Bus::open_with(Options::new(&global.dir).config(settings))?;
    match wrong {
        None => Ok(bus),
        Some(error) => {
            bus.blocking().shutdown(SHUTDOWN);
            Err(error)
        }
    }
}

/// Whether some process serves a control socket in this directory, and which.
pub fn served_by(directory: &Path) -> Option<CliError> {
    let client = Client::connect(directory).ok()?;
    let welcome = client.welcome();
    Some(CliError::RunsAlready {
        directory: directory.to_owned(),
        process: welcome.process,
        version: welcome.version.clone(),
    })
}
