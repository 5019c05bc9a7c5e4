//! The child, as its parent sees it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::place::{Place, READY};
use crate::scenario::Scenario;
use crate::stopwatch::Stopwatch;

/// Lines that may wait for the parent. Full means that the child waits.
const LINES_MAX: usize = 1024;

/// Time that a child gets until it is ready: a slow machine may take long to open a bus, and one that hangs is to say so.
const READY_MAX: Duration = Duration::from_mins(2);

/// A running child. It ends with this.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    told: Vec<String>,
}

impl Process {
    pub fn start(scenario: &dyn Scenario, place: &Place, round: u32) -> Result<Self> {
        let program = std::env::current_exe().context("this program doesn't know where it lies")?;
        let mut child = Command::new(&program)
            .args(["--scenario", scenario.name(), "--round", &round.to_string(), "--directory"])
            .arg(place.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let out = child.stdout.take().context("the child has no output")?;
        let (sender, lines) = sync_channel(LINES_MAX);
        thread::spawn(move || read(out, |line| sender.send(line).is_ok()));
        Ok(Self { child, lines, told: Vec::new() })
    }

    /// Waits until it has opened what it works on.
    pub fn ready(&mut self) -> Result<()> {
        match self.lines.recv_timeout(READY_MAX) {
            Ok(line) if line == READY => Ok(()),
            Ok(line) => bail!("the process begins with `{line}`"),
            Err(RecvTimeoutError::Timeout) => bail!("the process isn't ready after {READY_MAX:?}"),
            Err(RecvTimeoutError::Disconnected) => self.ended(),
        }
    }

    /// Waits until it has told of something: a process that opens and then stands still is found out.
    pub fn moves(&mut self) -> Result<()> {
        match self.lines.recv_timeout(READY_MAX) {
            Ok(line) => {
                self.told.push(line);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => bail!("nothing was acknowledged within {READY_MAX:?}"),
            Err(RecvTimeoutError::Disconnected) => self.ended(),
        }
    }

    /// Lets it work for so long.
    pub fn work(&mut self, time: Duration) -> Result<()> {
        let stopwatch = Stopwatch::start();
        while let Some(left) = time.checked_sub(stopwatch.elapsed()) {
            match self.lines.recv_timeout(left) {
                Ok(line) => self.told.push(line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return self.ended(),
            }
        }
        Ok(())
    }

    /// Kills it with SIGKILL. Returns all that it has told.
    pub fn kill(mut self) -> Result<Vec<String>> {
        self.child.kill().context("the process can't be killed")?;
        // What it had told lies in the pipe, which ends with it.
        let mut told = std::mem::take(&mut self.told);
        told.extend(self.lines.iter());
        self.child.wait().context("the process can't be waited for")?;
        told.retain(|line| line != READY);
        Ok(told)
    }

    fn ended(&mut self) -> Result<()> {
        let status = self.child.wait().context("the process can't be waited for")?;
        bail!("the process ended by itself ({status}); it says why above")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or the run has failed and nothing of it is to stay.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// Hands on line after line. The last one has no end where the kill came in the middle of it: nothing was told then.
fn read(out: ChildStdout, mut take: impl FnMut(String) -> bool) {
    let mut out = BufReader::new(out);
    let mut line = String::new();
    while out.read_line(&mut line).is_ok_and(|len| len > 0) {
        let Some(whole) = line.strip_suffix('\n') else { return };
        if !take(whole.to_owned()) {
            return;
        }
        line.clear();
    }
}
