//! What a run came to.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::machine::{Machine, commit};
use crate::row::Row;

/// What a run came to: `target/bench.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub commit: String,
    pub rows: Vec<Row>,
}

impl Report {
    pub fn new() -> Self {
        Self { machine: Machine::here(), commit: commit(), rows: Vec::new() }
    }

    /// Prints the table.
    pub fn print(&self) {
        println!(
            "{:<38} {:>11} {:>11}  {:<9} {:>7} {:>15}  {:<8} {:<4} beside it",
            "work", "ours", "beside", "unit", "ratio", "spread", "goal", "met"
        );
        for row in &self.rows {
            println!(
                "{:<38} {:>11.1} {:>11.1}  {:<9} {:>7.2} {:>15}  {:<8} {:<4} {}",
                row.id,
                row.ours,
                row.beside,
                row.unit,
                row.ratio,
                format!("{:.2} to {:.2}", row.spread[0], row.spread[1]),
                row.goal.to_string(),
                if row.met { "yes" } else { "no" },
                row.beside_name,
            );
        }
    }

    /// Writes `target/bench.json`. Returns where that is.
    pub fn write(&self) -> Result<PathBuf> {
        let file = target()?.join("bench.json");
        let text = serde_json::to_string_pretty(self)?;
        fs::write(&file, text + "\n").with_context(|| format!("can't write {}", file.display()))?;
        Ok(file)
    }
}

/// The folder for what is built and measured, in the current directory: it is on a disk, which a temporary folder needn't
/// be.
pub fn target() -> Result<PathBuf> {
    let target = PathBuf::from("target");
    fs::create_dir_all(&target).with_context(|| format!("can't make {}", target.display()))?;
    Ok(target)
}
