//! What a component exports: found once, used by each of its instances.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use super::bindings::exports::tidegate::plugin::{handler, plugin};
use super::contract;
use super::host::Host;

/// A component, linked.
pub(super) struct Linked {
    pub instance: InstancePre<Host>,
    pub plugin: plugin::GuestIndices,
    pub entry: Entry,
}

/// How deliveries come in.
pub(super) enum Entry {
    /// By a call for each.
    Handler(handler::GuestIndices),
    /// The plugin fetches them, in one call.
    Worker(ComponentExportIndex),
}

impl Linked {
    /// Finds the exports, whose names have been checked.
    pub(super) fn new(instance: InstancePre<Host>) -> wasmtime::Result<Self> {
        let plugin = plugin::GuestIndices::new(&instance)?;
        let entry = match worker(&instance)? {
            Some(run) => Entry::Worker(run),
            None => Entry::Handler(handler::GuestIndices::new(&instance)?),
        };
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
