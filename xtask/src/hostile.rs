//! Hostile plugins: what they do to their host is tested, and what they do to their neighbours is measured.

use anyhow::{Context as _, Result, bail};

use crate::{
    bench, plugins,
    process::{read, run},
    workspace::Workspace,
};

/// The benchmark of their neighbours' pace.
const BENCHMARK: &str = "hostile-neighbours";
/// Its line for all hostile plugins at once.
const BESIDE_ALL: &str = "hostile-neighbours-all-p99";

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

/// What the benchmark has written of the neighbours' pace: the worst beside one hostile plugin, and beside all.
fn pace(workspace: &Workspace) -> Result<String> {
    let file = workspace.target().join("bench.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    judge(&serde_json::from_str(&text)?)
}

fn judge(report: &serde_json::Value) -> Result<String> {
    let rows = report["rows"].as_array().context("the report has no rows")?;
    let p99 = |row: &&serde_json::Value| {
        row["id"].as_str().is_some_and(|id| id.starts_with(BENCHMARK) && id.ends_with("-p99"))
    };
    let (all, alone): (Vec<_>, Vec<_>) = rows.iter().filter(p99).partition(|row| row["id"] == BESIDE_ALL);
    let ratio = |row: &serde_json::Value| row["ratio"].as_f64().unwrap_or(f64::NAN);
    let worst =
        alone.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))).context("the report lacks the rows")?;
    let all = all.first().context("the report lacks the row of all hostile plugins")?;
    let told = |row: &serde_json::Value| {
        format!("{:.2} times (goal {})", ratio(row), row["goal"].as_str().unwrap_or_default())
    };
    let told =
        format!("neighbours' p99 is {} beside the worst one, {} beside all at once", told(worst), told(all));
    if alone.iter().chain([all]).any(|row| row["met"] != true) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(ratios: &[(&str, f64, bool)]) -> serde_json::Value {
        let row = |(name, ratio, met): &(&str, f64, bool)| {
            let id = format!("{BENCHMARK}-{name}");
            json!({ "id": id, "ratio": ratio, "goal": "<= 1.5", "met": met })
        };
        json!({ "rows": ratios.iter().map(row).collect::<Vec<_>>() })
    }

    #[test]
    fn the_neighbours_pace_is_judged_by_each_line_of_the_99th_percentile() {
        let good = [
            ("loop-p99", 1.2, true),
            ("flood-p99", 1.4, true),
            ("all-p99", 1.1, true),
            ("noise", 3.0, false),
        ];
        let told = judge(&report(&good)).unwrap();
        assert!(told.contains("1.40 times (goal <= 1.5) beside the worst one, 1.10"), "{told}");
        for bad in 0..3 {
            let mut rows = good;
            rows[bad].2 = false;
            assert!(judge(&report(&rows)).is_err(), "{rows:?}");
        }
        assert!(judge(&report(&good[2..])).is_err() && judge(&report(&good[..2])).is_err());
    }
}
