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

const USAGE: &str = "usage: xtask-api check|lint|bless RUSTDOC_JSON DUMP";

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
    let text = std::fs::read_to_string(json).with_context(|| json.display().to_string())?;
    if let Err(other) = check_format(&text) {
        // A newer compiler is no fault of who lints with it.
        ensure!(task == "lint", other);
        println!("xtask: the public API is not checked: {other}");
        return Ok(());
    }
    let documented: Crate = serde_json::from_str(&text).with_context(|| json.display().to_string())?;
    let api = dump::Api::of(json)?;
    match task.as_str() {
        "check" | "lint" => {
            let without = examples::missing(&documented, &api.ids());
            ensure!(without.is_empty(), "no example in its documentation has\n  {}", without.join("\n  "));
            api.compare(dump)
        }
        "bless" => api.write(dump),
        _ => bail!(USAGE),
    }
}

/// Whether this is of the format that is read here; otherwise what to do.
fn check_format(json: &str) -> Result<(), String> {
    let found = serde_json::from_str::<serde_json::Value>(json).ok();
    let found = found.and_then(|json| json["format_version"].as_u64()).unwrap_or_default();
    if found == u64::from(FORMAT_VERSION) {
        return Ok(());
    }
    Err(format!(
        "this rustdoc writes format {found}, and xtask-api reads {FORMAT_VERSION}: use Rust 1.95, or take the versions \
         of `public-api` and `rustdoc-types` that go with yours"
    ))
}

#[cfg(test)]
mod tests {
    use super::{FORMAT_VERSION, check_format};

    #[test]
    fn another_format_is_told_from_the_one_that_is_read() {
        assert!(check_format(&format!("{{\"format_version\": {FORMAT_VERSION}}}")).is_ok());
        assert!(check_format("{\"format_version\": 1}").unwrap_err().contains("format 1"));
    }
}
