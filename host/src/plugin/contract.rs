//! Whether a component fits the contract.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::load::LoadError;
use crate::limits::LISTED_NAMES_MAX;

/// The package of the contract, and the version that this host speaks.
const PACKAGE: &str = "tidegate:plugin/";
pub(crate) const VERSION: &str = "@0.1.0";
/// What a plugin has to export: one interface of each of these.
const EXPORTS: [&[&str]; 2] = [&["plugin"], &["worker", "handler"]];
/// What the contract offers for import.
const IMPORTS: [&str; 8] =
    ["types", "deliveries", "state", "publisher", "timers", "context", "config", "logging"];
/// The packages of WASI 0.2 that are offered.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// Exports by which other worlds are known.
const OTHER_WORLDS: [(&str, &str); 2] = [
    ("wasi:cli/run@", "is a command for the world `wasi:cli/command`"),
    ("wasi:http/incoming-handler@", "is a service for the world `wasi:http/proxy`"),
];

/// Checks the names of imports and exports; their types are checked when they are linked.
///
/// Linkers drop imports that go unused, and components of other languages export more than they were asked for: neither
/// is an error.
pub(super) fn check(engine: &Engine, component: &Component) -> Result<(), LoadError> {
    let component = component.component_type();
    let mut foreign = component.imports(engine).map(|(name, _)| name).filter(|name| !is_offered(name));
    let unknown: Vec<_> = foreign.by_ref().take(LISTED_NAMES_MAX).map(str::to_owned).collect();
    if !unknown.is_empty() {
        return Err(LoadError::Imports(unknown));
    }
    let exports: Vec<_> = component.exports(engine).map(|(name, _)| name).collect();
    let missing: Vec<_> = EXPORTS
        .iter()
        .filter(|any| !any.iter().any(|name| exports.contains(&interface(name).as_str())))
        .flat_map(|any| any.iter().map(|name| interface(name)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(LoadError::Exports { missing, found: found(&exports) })
}

/// The full name of an interface of the contract.
pub(super) fn interface(name: &str) -> String {
    format!("{PACKAGE}{name}{VERSION}")
}

fn is_offered(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else {
        return false;
    };
    if let Some(interface) = name.strip_prefix(PACKAGE) {
        return IMPORTS.contains(&interface) && version == &VERSION[1..];
    }
    WASI.iter().any(|package| name.starts_with(package)) && version.starts_with("0.2.")
}

/// What a component that is no plugin seems to be.
fn found(exports: &[&str]) -> String {
    if let Some(name) = exports.iter().find(|name| name.starts_with(PACKAGE) && !name.ends_with(VERSION)) {
        return format!(
            "exports `{name}`, of another version: build it against {}{VERSION}",
            PACKAGE.trim_end_matches('/')
        );
    }
    if let Some((_, world)) =
        OTHER_WORLDS.iter().find(|(prefix, _)| exports.iter().any(|name| name.starts_with(prefix)))
    {
        return (*world).to_owned();
    }
    if exports.is_empty() {
        return "exports nothing".to_owned();
    }
    let names: Vec<_> = exports.iter().take(LISTED_NAMES_MAX).map(|name| format!("`{name}`")).collect();
    format!("exports {}", names.join(", "))
}
