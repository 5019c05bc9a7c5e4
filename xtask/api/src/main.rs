//! `cargo xtask api`: what a crate shows to others, compared with the dump of it that is committed, and looked through for
//! what has no example.
//!
//! Its input is the JSON that rustdoc writes. That format changes with the compiler, so this reads the one of Rust 1.95.

mod dump;
mod examples;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use rustdoc_types::{Crate, FORMAT_VERSION};

const USAGE: &str = "usage: xtask-api check|bless RUSTDOC_JSON DUMP";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let [task, json, dump] = args else { bail!(USAGE) };
    let (json, dump) = (Path::new(json), Path::new(dump));
    let documented = read(json)?;
    let api = dump::Api::of(json)?;
    match task.as_str() {
        "check" => {
            let without = examples::missing(&documented, &api.ids());
            ensure!(without.is_empty(), "no example in its documentation has\n  {}", without.join("\n  "));
            api.compare(dump)
        }
        "bless" => api.write(dump),
        _ => bail!(USAGE),
    }
}

fn read(path: &Path) -> Result<Crate> {
    let at = || path.display().to_string();
    let json = std::fs::read_to_string(path).with_context(at)?;
    let version: serde_json::Value = serde_json::from_str(&json).with_context(at)?;
    let found = version["format_version"].as_u64().unwrap_or_default();
    ensure!(
        found == u64::from(FORMAT_VERSION),
        "this rustdoc writes format {found}, and xtask-api reads {FORMAT_VERSION}: use Rust 1.95, or the versions of \
         `public-api` and `rustdoc-types` that go with yours"
    );
    serde_json::from_str(&json).with_context(at)
}
