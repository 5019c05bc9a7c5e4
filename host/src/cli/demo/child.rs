//! The process that runs the bus.

use std::fs::File;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tidegate::server::Client;
use tidegate::{Clock, ConsumerKind, SystemClock, Timestamp};

use super::failed;
use super::readback;
use super::stage::{CONSUMERS, Stage};
use crate::cli::error::CliError;

/// Time for the whole demo. It takes seconds; a slow machine may take longer, and one that hangs is to say so.
const PATIENCE: Duration = Duration::from_mins(5);

/// The pause between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long everything may take.
pub struct Patience {
    clock: SystemClock,
    end: Timestamp,
}

impl Patience {
    pub fn new() -> Self {
        let clock = SystemClock::new();
        let end = clock.now().after(PATIENCE);
        Self { clock, end }
    }

    /// Looks again and again until there is something.
    pub fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, CliError>,
    ) -> Result<T, CliError> {
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if self.clock.now() >= self.end {
                let seconds = PATIENCE.as_secs();
                return Err(CliError::Failed(format!(
                    "{what} took too long: the demo has {seconds} seconds for all"
                )));
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}

/// A running `tidegate run`, which ends with this.
pub struct Child(process::Child);

impl Child {
    /// Starts the bus, and connects to it once its consumers run.
    pub fn start(stage: &Stage, patience: &Patience) -> Result<(Self, Client), CliError> {
        let program =
            std::env::current_exe().map_err(|error| CliError::Failed(format!("who am I? {error}")))?;
        let log = stage.directory.join("run.log");
        let log_file = File::options().create(true).append(true).open(&log).map_err(failed(&log))?;
        let child = Command::new(&program)
            .arg("--dir")
            .arg(&stage.directory)
            .args(["run", "--log", "info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .map_err(failed(&program))?;
        let mut child = Self(child);
        let client = patience.until("starting the bus", || {
            if let Ok(Some(status)) = child.0.try_wait() {
                return Err(CliError::Failed(format!(
                    "the bus ended at once ({status}): see {}",
                    log.display()
                )));
            }
            // Until it serves, nobody answers there; then it starts one consumer after the other.
            let Ok(mut client) = Client::connect(&stage.directory) else { return Ok(None) };
            let running = readback::consumers(&mut client)?;
            let all =
                running.iter().filter(|consumer| consumer.kind == ConsumerKind::Plugin).count() == CONSUMERS;
            Ok(all.then_some(client))
        })?;
        Ok((child, client))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(&mut self) -> Result<(), CliError> {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        killed.map(drop).map_err(|error| CliError::Failed(format!("the bus could not be killed: {error}")))
    }

    /// Ends it in good order.
    pub fn stop(mut self, patience: &Patience) -> Result<(), CliError> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let asked = pid.map_or(Ok(()), |pid| kill_process(pid, Signal::TERM));
        asked.map_err(|error| CliError::Failed(format!("the bus could not be told to end: {error}")))?;
        let status = patience.until("ending the bus", || {
            self.0
                .try_wait()
                .map_err(|error| CliError::Failed(format!("the bus can't be waited for: {error}")))
        })?;
        if status.success() {
            return Ok(());
        }
        Err(CliError::Failed(format!("the bus did not end in good order: {status}")))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended already, or the demo has failed and nothing of it is to stay.
        drop(self.kill());
    }
}
