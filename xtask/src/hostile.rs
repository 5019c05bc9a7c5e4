//! Hostile plugins: what they do to their host is tested, and what they do to their neighbours is measured.

use anyhow::{Context as _, Result, bail};

use crate::{
    bench, plugins,
    process::{read, run},
    workspace::Workspace,
};

/// The benchmark of their neighbours' pace.
const BENCHMARK: &str = "hostile-neighbours";

/// Runs the tests of all kinds of hostility, then the benchmark with `args`; it ends with a line of counts.
pub fn run_with(workspace: &Workspace, args: &[String]) -> Result<()> {
    plugins::build(workspace)?;
    let mut tests = test(workspace);
    run(tests.arg("hostile::"))?;
    let listed = read(test(workspace).args(["hostile::", "--", "--list"]))?;
    let count = listed.lines().filter(|line| line.ends_with(": test")).count();
    if count == 0 {
        bail!("there are no tests of hostile plugins");
    }
    bench::run_with(workspace, &[&["--only".to_owned(), BENCHMARK.to_owned()], args].concat())?;
    let told = if args.iter().any(|arg| arg == "--smoke") {
        "the neighbours' pace was not judged".to_owned()
    } else {
        pace(workspace)?
    };
    println!("hostile: {count} kinds of plugins contained, 0 broken promises; {told}");
    Ok(())
}

/// What the benchmark has written of the neighbours' pace.
fn pace(workspace: &Workspace) -> Result<String> {
    let file = workspace.target().join("bench.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    let id = format!("{BENCHMARK}-p99");
    let rows = report["rows"].as_array().context("the report has no rows")?;
    let row = rows.iter().find(|row| row["id"] == id.as_str()).context("the report lacks the row")?;
    let told = format!(
        "neighbours' p99 {:.2} times that without them, goal {}",
        row["ratio"].as_f64().unwrap_or(f64::NAN),
        row["goal"].as_str().unwrap_or_default()
    );
    if row["met"] != true {
        bail!("hostile: a promise is broken: {told}");
    }
    Ok(told)
}

/// `cargo test` of the whole-system tests, with the features that they have in the workspace.
fn test(workspace: &Workspace) -> std::process::Command {
    let mut cargo = workspace.cargo();
    cargo.args([
        "test",
        "--workspace",
        "--exclude",
        plugins::GUESTS,
        "--locked",
        "--quiet",
        "--test",
        "system",
    ]);
    cargo
}
