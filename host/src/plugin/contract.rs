//! Whether a component fits the contract.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::load::LoadError;
use crate::limits::LISTED_NAMES_MAX;

/// The package of the contract, and the version that this host speaks.
const PACKAGE: &str = "tidegate:plugin/";
pub(crate) const VERSION: &str = "@0.1.0";
/// What an aggregate exports.
const DECIDER: &str = "decider";
/// What a projection exports beside what a consumer does.
const QUERIES: &str = "queries";
/// The packages of WASI 0.2 that are offered.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// Exports by which other worlds are known.
const OTHER_WORLDS: [(&str, &str); 2] = [
    ("wasi:cli/run@", "is a command for the world `wasi:cli/command`"),
    ("wasi:http/incoming-handler@", "is a service for the world `wasi:http/proxy`"),
];

/// What a component is loaded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What runs a consumer.
    Consumer,
    /// What runs a consumer, and answers questions from its state.
    Projection,
    /// What decides on an aggregate's commands, and so runs its consumer.
    Aggregate,
    /// What lifts events.
    Upcaster,
}

impl Role {
    /// What has to be exported: one interface of each of these.
    fn exports(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Consumer => &[&["plugin"], &["worker", "handler"]],
            Self::Projection => &[&["plugin"], &["worker", "handler"], &[QUERIES]],
            Self::Aggregate => &[&["plugin"], &[DECIDER]],
            Self::Upcaster => &[&["plugin"], &["lifter"]],
        }
    }

    /// What the contract offers for import. A projection changes its state alone, so that it can be made anew beside the one
    /// that answers. What an upcaster makes depends on nothing but the event and its settings.
    fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Consumer => {
                &["types", "deliveries", "state", "publisher", "timers", "context", "config", "logging"]
            }
            Self::Projection => &["types", "deliveries", "state", "context", "config", "logging"],
            // Its state and its stream are the host's to write.
            Self::Aggregate => &["types", "context", "config", "logging"],
            Self::Upcaster => &["types", "config", "logging"],
        }
    }

    /// Exports of the other role, and where to name what has them.
    fn other(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Consumer | Self::Projection | Self::Aggregate => {
                (&["lifter"], "is an upcaster: name it in `[upcasters]`")
            }
            Self::Upcaster => (
                &["worker", "handler", DECIDER],
                "runs a consumer, and is no upcaster: name it in `[consumers]`",
            ),
        }
    }
}

/// Checks the names of imports and exports; their types are checked when they are linked. Returns what it is: what is loaded
/// as a consumer and answers questions is a projection.
///
/// Linkers drop imports that go unused, and components of other languages export more than they were asked for: neither
/// is an error.
pub(super) fn check(engine: &Engine, component: &Component, role: Role) -> Result<Role, LoadError> {
    let component = component.component_type();
    let exports: Vec<_> = component.exports(engine).map(|(name, _)| name).collect();
    let exports_one_of =
        |names: &[&str]| names.iter().any(|name| exports.contains(&interface(name).as_str()));
    let role = if role == Role::Consumer && exports_one_of(&[QUERIES]) { Role::Projection } else { role };
    let is_complete = role.exports().iter().all(|any| exports_one_of(any));
    // What was built for the other role imports what this one isn't offered: the reason is told, not the symptom.
    let (other, found_other) = role.other();
    let is_other = !is_complete && exports_one_of(other);
    let is_none = role == Role::Aggregate && !exports_one_of(&[DECIDER]);
    let mut foreign = component.imports(engine).map(|(name, _)| name).filter(|name| !is_offered(name, role));
    let unknown: Vec<_> = foreign.by_ref().take(LISTED_NAMES_MAX).map(str::to_owned).collect();
    if !unknown.is_empty() && !is_other && !is_none {
        return Err(match role {
            Role::Consumer => LoadError::Imports(unknown),
            Role::Projection => LoadError::ProjectionImports(unknown),
            Role::Aggregate => LoadError::AggregateImports(unknown),
            Role::Upcaster => LoadError::UpcasterImports(unknown),
        });
    }
    match (role, exports_one_of(&[DECIDER])) {
        (Role::Aggregate, _) if is_none && !is_other => return Err(LoadError::NoAggregate(found(&exports))),
        (Role::Consumer | Role::Projection, true) => return Err(LoadError::Aggregate),
        _ => {}
    }
    let missing: Vec<_> = role
        .exports()
        .iter()
        .filter(|any| !exports_one_of(any))
        .flat_map(|any| any.iter().map(|name| interface(name)))
        .collect();
    if missing.is_empty() {
        return Ok(role);
    }
    let found = if is_other { found_other.to_owned() } else { found(&exports) };
    Err(LoadError::Exports { missing, found })
}

/// The full name of an interface of the contract.
pub(super) fn interface(name: &str) -> String {
    format!("{PACKAGE}{name}{VERSION}")
}

fn is_offered(import: &str, role: Role) -> bool {
    let Some((name, version)) = import.split_once('@') else {
        return false;
    };
    if let Some(interface) = name.strip_prefix(PACKAGE) {
        return role.imports().contains(&interface) && version == &VERSION[1..];
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
