//! What the figures belong to.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine that a run was made on. What it doesn't tell is empty.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    /// The load of the last minute when the run began: what else the machine was doing.
    pub load: String,
}

impl Machine {
    pub fn here() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: model.unwrap_or_default().trim_start_matches(['\t', ' ', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The commit that is measured; empty outside a repository.
pub fn commit() -> String {
    let asked = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let told = asked.ok().filter(|output| output.status.success());
    told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
