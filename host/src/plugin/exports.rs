//! What a component exports: found once, used by each of its instances.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use super::bindings::exports::tidegate::plugin::{decider, handler, plugin};
use super::bindings::projection::exports::tidegate::plugin::queries;
use super::bindings::upcaster::exports::tidegate::plugin::lifter;
use super::contract::{self, Role};
use super::host::Host;
use super::load::LoadOptions;

/// A component, linked.
pub(super) struct Linked<E> {
    pub instance: InstancePre<Host>,
    pub plugin: plugin::GuestIndices,
    pub entry: E,
}

/// Where a component is entered for its work.
pub(super) trait Find: Sized {
    /// What it is loaded as.
    fn role(options: &LoadOptions) -> Role;

    /// Finds it among the exports, whose names have been checked for that.
    fn find(instance: &InstancePre<Host>, role: Role) -> wasmtime::Result<Self>;
}

/// Where events are lifted.
pub(super) type Lifter = lifter::GuestIndices;

impl Find for Lifter {
    fn role(_: &LoadOptions) -> Role {
        Role::Upcaster
    }

    fn find(instance: &InstancePre<Host>, _: Role) -> wasmtime::Result<Self> {
        Self::new(instance)
    }
}

/// Where deliveries come in.
pub(super) enum Entry {
    /// As a consumer's.
    Consumer(Deliveries),
    /// The same, and questions.
    Projection(Deliveries, queries::GuestIndices),
    /// As commands to decide on.
    Aggregate(decider::GuestIndices),
}

/// How deliveries come in.
pub(super) enum Deliveries {
    /// By a call for each.
    Handler(handler::GuestIndices),
    /// The plugin fetches them, in one call.
    Worker(ComponentExportIndex),
}

impl Entry {
    /// What answers questions.
    pub(super) fn queries(&self) -> Option<&queries::GuestIndices> {
        match self {
            Self::Projection(_, queries) => Some(queries),
            Self::Consumer(_) | Self::Aggregate(_) => None,
        }
    }
}

impl Find for Entry {
    fn role(options: &LoadOptions) -> Role {
        if options.is_aggregate { Role::Aggregate } else { Role::Consumer }
    }

    fn find(instance: &InstancePre<Host>, role: Role) -> wasmtime::Result<Self> {
        Ok(match role {
            Role::Aggregate => Self::Aggregate(decider::GuestIndices::new(instance)?),
            Role::Projection => {
                Self::Projection(Deliveries::find(instance)?, queries::GuestIndices::new(instance)?)
            }
            Role::Consumer | Role::Upcaster => Self::Consumer(Deliveries::find(instance)?),
        })
    }
}

impl Deliveries {
    fn find(instance: &InstancePre<Host>) -> wasmtime::Result<Self> {
        Ok(match worker(instance)? {
            Some(run) => Self::Worker(run),
            None => Self::Handler(handler::GuestIndices::new(instance)?),
        })
    }
}

impl<E: Find> Linked<E> {
    /// Finds the exports, whose names have been checked.
    pub(super) fn new(instance: InstancePre<Host>, role: Role) -> wasmtime::Result<Self> {
        let plugin = plugin::GuestIndices::new(&instance)?;
        let entry = E::find(&instance, role)?;
        Ok(Self { instance, plugin, entry })
    }
}

/// `run` of the interface `worker`, where there is one.
fn worker(instance: &InstancePre<Host>) -> wasmtime::Result<Option<ComponentExportIndex>> {
    let (component, name) = (instance.component(), contract::interface("worker"));
    let Some(worker) = component.get_export_index(None, &name) else {
        return Ok(None);
    };
    match component.get_export(Some(&worker), "run") {
        Some((ComponentItem::ComponentFunc(ty), run))
            if ty.params().len() == 0 && ty.results().len() == 0 =>
        {
            Ok(Some(run))
        }
        _ => Err(wasmtime::format_err!("`{name}` has no `run: func()`")),
    }
}
