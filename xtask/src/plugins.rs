//! Plugins and test guests, built into components.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    process::run,
    toolchain::{TARGET, Toolchain},
    workspace::Workspace,
};

/// The package of the test guests: each of its examples is one.
pub const GUESTS: &str = "tidegate-guests";

const PROFILE: &str = "plugin";

/// A second version of a plugin: what a demo or a test replaces the first one with while it runs.
struct Variant {
    package: &'static str,
    feature: &'static str,
    component: &'static str,
}

const VARIANTS: [Variant; 5] = [
    Variant { package: "accounts", feature: "v2", component: "accounts_v2.wasm" },
    Variant { package: "order-saga", feature: "v2", component: "order_saga_v2.wasm" },
    Variant { package: "quake-alerts", feature: "v2", component: "quake_alerts_v2.wasm" },
    Variant { package: "shop-orders", feature: "v2", component: "shop_orders_v2.wasm" },
    Variant { package: "shop-shipping", feature: "v2", component: "shop_shipping_v2.wasm" },
];

/// Builds every plugin in `plugins/` to `target/plugins/NAME.wasm`, and every guest to
/// `target/plugins/guests/NAME.wasm`.
pub fn build(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::obtain(workspace)?;
    let built = workspace.plugins_build().join(TARGET).join(PROFILE);
    let components = workspace.components();
    let guests = components.join("guests");
    fs::create_dir_all(&guests).with_context(|| format!("can't create {}", guests.display()))?;

    let packages = packages(&workspace.root().join("plugins"))?;
    let mut cargo = toolchain.build(workspace);
    cargo.args(["--profile", PROFILE, "--lib", "--examples", "--package", GUESTS]);
    for package in &packages {
        cargo.args(["--package", package]);
    }
    run(&mut cargo)?;

    let mut kept = BTreeSet::new();
    for package in &packages {
        let name = component_name(package);
        kept.insert(install(&built.join(&name), components.join(&name))?);
    }
    for guest in sources(&workspace.root().join("tests/guests/examples"))? {
        let name = component_name(&guest);
        kept.insert(install(&built.join("examples").join(&name), guests.join(&name))?);
    }
    for Variant { package, feature, component } in VARIANTS {
        run(toolchain.build(workspace).args([
            "--profile",
            PROFILE,
            "--package",
            package,
            "--features",
            feature,
        ]))?;
        kept.insert(install(&built.join(component_name(package)), components.join(component))?);
    }
    remove_others(&components, &kept)?;
    remove_others(&guests, &kept)?;
    println!("xtask: {} components in {}", kept.len(), components.display());
    Ok(())
}

fn component_name(package: &str) -> String {
    format!("{}.wasm", package.replace('-', "_"))
}

/// The folders that hold a plugin: a package whose library is a `cdylib`, and which others than components can't use. A folder
/// has the name of its package.
fn packages(folder: &Path) -> Result<Vec<String>> {
    let is_plugin = |manifest: String| manifest.contains(r#"crate-type = ["cdylib"]"#);
    let named = entries(folder)?
        .into_iter()
        .filter(|path| fs::read_to_string(path.join("Cargo.toml")).is_ok_and(is_plugin));
    Ok(named.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
}

/// The names of a folder's Rust files.
fn sources(folder: &Path) -> Result<Vec<String>> {
    let rust = entries(folder)?.into_iter().filter(|path| path.extension() == Some(OsStr::new("rs")));
    Ok(rust.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut entries = list().with_context(|| format!("can't list {}", folder.display()))?;
    entries.sort();
    Ok(entries)
}

/// Puts a component into its place, in one step and only if it has changed: a running bus may watch the file.
fn install(built: &Path, place: PathBuf) -> Result<PathBuf> {
    let component = fs::read(built).with_context(|| format!("can't read {}", built.display()))?;
    if fs::read(&place).is_ok_and(|present| present == component) {
        return Ok(place);
    }
    let partial = place.with_extension("partial");
    fs::write(&partial, component).with_context(|| format!("can't write {}", partial.display()))?;
    fs::rename(&partial, &place).with_context(|| format!("can't create {}", place.display()))?;
    Ok(place)
}

/// Removes components that nothing builds any more.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        if path.extension() == Some(OsStr::new("wasm")) && !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
        }
    }
    Ok(())
}
