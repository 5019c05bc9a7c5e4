//! The checked-in bindings are those of their WIT: the contract's in this package, and the test guests' in theirs, so that
//! there is one generator.
//!
//! With `TIDEGATE_BLESS=1` in the environment these tests write them instead of comparing.

use std::{error::Error, path::Path};

use wit_bindgen_core::{Files, WorldGenerator, wit_parser::Resolve};
use wit_bindgen_rust::{Opts, WithOption};

#[test]
fn bindings_are_generated_from_the_contract() -> Result<(), Box<dyn Error>> {
    check("wit/v0", "consumer-pull", "plugin-sdk/src/bindings.rs")
}

#[test]
fn bindings_of_aggregates_are_generated_from_the_contract() -> Result<(), Box<dyn Error>> {
    check_beside("aggregate", "aggregate", &["types", "context", "config", "logging"])
}

#[test]
fn bindings_of_upcasters_are_generated_from_the_contract() -> Result<(), Box<dyn Error>> {
    check_beside("upcaster", "upcaster", &["types", "config", "logging"])
}

#[test]
fn bindings_of_projections_are_generated_from_the_contract() -> Result<(), Box<dyn Error>> {
    let shared = ["types", "deliveries", "state", "context", "config", "logging"];
    check_beside("projection", "projection-pull", &shared)
}

#[test]
fn bindings_of_the_guest_that_is_called_are_generated() -> Result<(), Box<dyn Error>> {
    check("wit/v0", "consumer", "tests/guests/src/bindings/consumer.rs")
}

#[test]
fn bindings_of_the_guest_that_uses_wasi_are_generated() -> Result<(), Box<dyn Error>> {
    check("tests/guests/wit/wasi_user", "wasi-user", "tests/guests/src/bindings/wasi_user.rs")
}

#[test]
fn bindings_of_the_guest_of_another_world_are_generated() -> Result<(), Box<dyn Error>> {
    check("tests/guests/wit/other_world", "other-world", "tests/guests/src/bindings/other_world.rs")
}

/// Compares the bindings of a world with a file, both named from the workspace's folder.
#[track_caller]
fn check(wit: &str, world: &str, checked_in: &str) -> Result<(), Box<dyn Error>> {
    check_with(wit, world, checked_in, options(world), |source| source)
}

/// Compares the bindings of another of the contract's worlds, which share some of their interfaces with those of consumers.
#[track_caller]
fn check_beside(module: &str, world: &str, shared: &[&str]) -> Result<(), Box<dyn Error>> {
    let shared = shared.iter().map(|interface| {
        let path = format!("crate::bindings::tidegate::plugin::{interface}");
        (format!("tidegate:plugin/{interface}@0.1.0"), WithOption::Path(path))
    });
    let options = Opts {
        default_bindings_module: Some(format!("$crate::{module}_bindings")),
        with: shared.collect(),
        ..options(world)
    };
    // The macros of all worlds are in one namespace, that of the crate.
    let renamed =
        |source: String| source.replace("__export_tidegate", &format!("__export_{module}_tidegate"));
    check_with("wit/v0", world, &format!("plugin-sdk/src/{module}_bindings.rs"), options, renamed)
}

fn options(world: &str) -> Opts {
    Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        default_bindings_module: Some("$crate::bindings".to_owned()),
        export_macro_name: Some(format!("export_{}", world.replace('-', "_"))),
        ..Opts::default()
    }
}

#[track_caller]
fn check_with(
    wit: &str,
    world: &str,
    checked_in: &str,
    options: Opts,
    change: impl FnOnce(String) -> String,
) -> Result<(), Box<dyn Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let checked_in = workspace.join(checked_in);

    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(workspace.join(wit))?;
    let id = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    options.build().generate(&mut resolve, id, &mut files)?;
    let generated: Vec<(&str, &[u8])> = files.iter().collect();
    let [(_, source)] = generated[..] else { panic!("one world makes one file") };
    let source = change(String::from_utf8(source.to_owned())?).into_bytes();

    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(&checked_in, &source)?;
    }
    assert!(
        std::fs::read(&checked_in).unwrap_or_default() == source,
        "{} is not what wit-bindgen makes of {wit}: run TIDEGATE_BLESS=1 cargo test -p tidegate-plugin",
        checked_in.display(),
    );
    Ok(())
}
