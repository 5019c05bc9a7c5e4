//! Loading a plugin: what it needs, and why it fails.

use std::sync::Arc;

use thiserror::Error;

use crate::config::{Grants, PluginLimits};
use crate::handler::Failure;
use crate::upcast::LiftError;

/// What a plugin is loaded with.
#[derive(Clone, Debug)]
pub(crate) struct LoadOptions {
    /// The consumer's name.
    pub consumer: Arc<str>,
    /// What the plugin may do.
    pub grants: Grants,
    /// What the plugin may use up.
    pub limits: PluginLimits,
    /// The consumer's settings, the text of a JSON object.
    pub settings: Arc<str>,
    /// Whether the consumer is an aggregate.
    pub is_aggregate: bool,
}

/// What the plugin of an upcaster is loaded with.
#[derive(Clone, Debug)]
pub(crate) struct UpcasterOptions {
    /// The upcaster's name.
    pub name: Arc<str>,
    /// What the plugin may use up.
    pub limits: PluginLimits,
    /// Whether it may write to the host's log.
    pub log: bool,
    /// The upcaster's settings, the text of a JSON object.
    pub settings: Arc<str>,
}

/// Why a plugin was not loaded. Whatever ran before goes on.
///
/// ```
/// use tidegate::{ConsumerError, LoadError};
///
/// /// What to tell whoever has uploaded a plugin.
/// fn explain(error: &ConsumerError) -> Option<String> {
///     let ConsumerError::Load { source, .. } = error else { return None };
///     Some(match &**source {
///         LoadError::NotWasm | LoadError::CoreModule => "this file is no component".into(),
///         other => other.to_string(),
///     })
/// }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is too large.
    #[error("the file has {bytes} bytes, a component has at most {bytes_max}")]
    Size {
        /// The file's size in bytes.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The file is not WebAssembly.
    #[error(
        "the file is not WebAssembly: build the plugin as a component for the world `tidegate:plugin/consumer` or \
         `consumer-pull`"
    )]
    NotWasm,
    /// The file is WebAssembly, but not a component.
    #[error(
        "the file is a core WebAssembly module: build it as a component, for Rust with `wasm-component-ld` as linker \
         or with `wasm-tools component new`"
    )]
    CoreModule,
    /// The component has too many parts.
    #[error("the component has more than {max} {what}")]
    Structure {
        /// Which parts.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The component is broken, or needs what the host's WebAssembly doesn't have.
    #[error("the component can't be compiled: {0:#}")]
    Compile(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The component imports what the host does not offer.
    #[error(
        "the component imports {}, which this host doesn't offer: a plugin may import `tidegate:plugin@0.1.0` and \
         WASI 0.2 without HTTP", names(.0)
    )]
    Imports(Vec<String>),
    /// The component of an upcaster imports what an upcaster has no use for.
    #[error(
        "the component imports {}: an upcaster may import `types`, `config` and `logging` of `tidegate:plugin@0.1.0`, and \
         WASI 0.2 without HTTP, as what it makes of an event depends on nothing else", names(.0)
    )]
    UpcasterImports(Vec<String>),
    /// The component of an aggregate imports what an aggregate has no use for.
    #[error(
        "the component imports {}: an aggregate may import `types`, `context`, `config` and `logging` of \
         `tidegate:plugin@0.1.0`, and WASI 0.2 without HTTP, as the host keeps its state and appends its events", names(.0)
    )]
    AggregateImports(Vec<String>),
    /// The component does not export what the contract asks for.
    #[error(
        "the component does not export {}: it {found}; what runs a consumer exports `plugin`, and `worker` or `handler`, \
         and an upcaster `plugin` and `lifter`",
        names(.missing)
    )]
    Exports {
        /// What is missing, and what could take its place.
        missing: Vec<String>,
        /// What the component seems to be instead.
        found: String,
    },
    /// The consumer is an aggregate, and the component is none.
    #[error(
        "the component does not export `tidegate:plugin/decider@0.1.0`: it {0}; build an aggregate, for Rust with \
         `export_aggregate!`, or take `aggregate` out of the consumer's settings"
    )]
    NoAggregate(String),
    /// The component is an aggregate, and the consumer is none.
    #[error(
        "the component is an aggregate: say which topic has its events, with `aggregate = {{ stream = \"TOPIC\" }}` in the \
         consumer's settings"
    )]
    Aggregate,
    /// The component answers questions, and imports what a projection has no part in.
    #[error(
        "the component answers questions and imports {}, which a projection may not: all that it changes is its state, so \
         that it can be made anew; build it for the world `tidegate:plugin/projection` or `projection-pull`", names(.0)
    )]
    ProjectionImports(Vec<String>),
    /// The component answers questions, and its consumer is granted to publish.
    #[error(
        "the component is a projection, which can't publish, and consumer `{consumer}` is granted to: remove `publish` from \
         its grants"
    )]
    ProjectionPublishes {
        /// The consumer's name.
        consumer: String,
    },
    /// An import or an export has the right name and another type.
    #[error(
        "the component was built for another `tidegate:plugin@0.1.0` or a newer WASI 0.2 than this host offers: {0:#}"
    )]
    Contract(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The component failed when it started or when it was asked to describe itself.
    #[error("the component failed when asked to describe itself: {0}")]
    Describe(#[source] Failure),
    /// The description breaks a rule.
    #[error("the component's description has {problem}")]
    Description {
        /// Which part, what it is, and what is allowed.
        problem: String,
    },
    /// The component asks for more than it was granted.
    #[error("plugin `{plugin}` asks for what consumer `{consumer}` is not granted: add {} to its grants", lines(.publish, *.state))]
    NotGranted {
        /// The plugin's name.
        plugin: String,
        /// The consumer's name.
        consumer: String,
        /// The topics that it wants to publish to and may not.
        publish: Vec<String>,
        /// Whether it wants state and may not have it.
        state: bool,
    },
    /// The plugin of an upcaster or of an aggregate asks for what makes no sense for one.
    #[error(
        "plugin `{plugin}` asks for state or for topics to publish to, which an upcaster or an aggregate hasn't"
    )]
    NotPure {
        /// The plugin's name.
        plugin: String,
    },
    /// The upcaster names lifts that there can't be.
    #[error("the component's lifts are refused: {0}")]
    Lift(#[from] LiftError),
    /// The bus is shutting down.
    #[error("the bus is shutting down")]
    ShuttingDown,
}

fn names(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The lines that the configuration lacks.
fn lines(publish: &[String], state: bool) -> String {
    let topics: Vec<_> = publish.iter().map(|topic| format!("{topic:?}")).collect();
    let publish = (!topics.is_empty()).then(|| format!("{} to `publish`", topics.join(", ")));
    let state = state.then(|| "`state = true`".to_owned());
    publish.into_iter().chain(state).collect::<Vec<_>>().join(" and ")
}
