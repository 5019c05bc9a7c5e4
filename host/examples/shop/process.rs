//! The shop, as the story sees it: a process that is started, asked and killed.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use serde::de::DeserializeOwned;

use crate::client::{Answer, Client};
use crate::error::ShopError;
use crate::story::Story;

/// The pause between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// What a shop is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    Naive,
    Tidegate,
}

/// A running shop. It ends with this.
pub struct Process {
    child: Ended,
    pub address: SocketAddr,
}

/// A process that is ended when nobody waits for it any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already, or the story has failed and nothing of it is to stay.
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// How a shop is started.
pub struct Start<'a> {
    pub side: Side,
    pub directory: &'a Path,
    pub plugins: &'a Path,
    pub payments: SocketAddr,
    pub story: &'a Story,
}

impl Process {
    /// Starts a shop and waits until it takes requests.
    pub async fn start(start: &Start<'_>) -> Result<Self, ShopError> {
        let Start { side, directory, plugins, payments, story } = start;
        let log = directory.join("log");
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("serve")
            .arg(side.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned()))
            .args(["--orders", &story.orders.len().to_string(), "--seed", &story.seed.to_string()])
            .args(["--payments", &payments.to_string()])
            .arg("--dir")
            .arg(directory)
            .arg("--plugins")
            .arg(plugins)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log)?);
        let mut child = Ended(command.spawn()?);
        let out = child.0.stdout.take();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            out.map(|out| BufReader::new(out).read_line(&mut line)).transpose()?;
            Ok::<_, io::Error>(line)
        });
        let line = line.await??;
        let address = line.trim_end().strip_prefix("ready: ").and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| ShopError::NotReady(said(&log)))?;
        Ok(Self { child, address })
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) -> Result<(), ShopError> {
        self.child.0.kill()?;
        self.child.0.wait()?;
        Ok(())
    }

    /// Has it end in good order.
    pub async fn end(mut self) -> Result<(), ShopError> {
        drop(self.child.0.stdin.take());
        let mut pause = tokio::time::interval(PAUSE);
        // Not on a thread that nobody could call back: who stops waiting ends the process.
        while self.child.0.try_wait()?.is_none() {
            pause.tick().await;
        }
        Ok(())
    }

    /// Has it do something.
    pub async fn tell(&self, client: &Client, path: &'static str) -> Result<(), ShopError> {
        let answer = client.post(self.address, path, None, String::new()).await?;
        read::<()>(path, &answer)
    }

    /// Asks it for something.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        client: &Client,
        path: &'static str,
    ) -> Result<T, ShopError> {
        read(path, &client.get(self.address, path).await?)
    }
}

/// What it has written to its log.
fn said(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default().trim_end().to_owned()
}

fn read<T: DeserializeOwned>(path: &'static str, answer: &Answer) -> Result<T, ShopError> {
    if answer.status == 200 {
        return Ok(serde_json::from_slice(&answer.body)?);
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Err(ShopError::Refused { path, status: answer.status, body })
}
