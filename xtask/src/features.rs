//! The library in each of its shapes: without features, with each alone, with all.

use anyhow::{Context as _, Result, ensure};

use crate::{process::run, workspace::Workspace};

/// Lints the library and the binary in each shape. What the workspace builds at once has the features of all its
/// members, so it doesn't show what one shape lacks.
pub fn lint(workspace: &Workspace) -> Result<()> {
    let manifest = workspace.root().join("host/Cargo.toml");
    let manifest =
        std::fs::read_to_string(&manifest).with_context(|| format!("can't read {}", manifest.display()))?;
    let features = names(&manifest);
    ensure!(
        !features.is_empty(),
        "host/Cargo.toml has no features any more: neither needs xtask to lint them"
    );
    clippy(workspace, &["--no-default-features"])?;
    for feature in features.iter().filter(|feature| *feature != "default") {
        clippy(workspace, &["--no-default-features", "--features", feature])?;
    }
    clippy(workspace, &["--all-features"])
}

fn clippy(workspace: &Workspace, features: &[&str]) -> Result<()> {
    println!("xtask: clippy {}", features.join(" "));
    run(workspace
        .cargo()
        .args(["clippy", "--quiet", "--package", "tidegate", "--lib", "--bins", "--locked"])
        .args(features)
        .args(["--", "--deny", "warnings"]))
}

/// The features that a manifest declares, in their order.
fn names(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[features]").skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    // What a feature's list has on lines of its own has quotes and no `=`.
    let names = section.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    names.map(|(name, _)| name.trim().trim_matches('"').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn features_are_found_whatever_is_around_them() {
        let manifest = "\
[package]
name = \"a\"

[features]
default = [\"one\"]
# A comment = none.
one = []
two = [
    \"dep:x\",
    \"one\",
]

[dependencies]
x = { version = \"1\", optional = true }
";
        assert_eq!(names(manifest), ["default", "one", "two"]);
        assert!(names("[package]\n").is_empty());
    }
}
