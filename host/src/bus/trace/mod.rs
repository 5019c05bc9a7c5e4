//! What caused what: the tree of the events of one correlation, with what waits and what was given up on.

mod model;
mod scan;
mod tree;

pub use model::{Trace, TraceBy, TraceLink, TraceNode, TraceOptions, TraceSummary, Traced};

use super::Bus;
use crate::log::ReadError;
use scan::Scan;

impl Bus {
    /// The tree of what caused what: the events whose `correlationid` is `id`, and those whose `id` it is, with the timers that
    /// are set, the events that consumers hold, and the dead letters that belong to them.
    ///
    /// What begins a correlation of its own within it, as a saga does for its commands, is followed: the bus has written down, as
    /// `parentcorrelationid`, where it began. Up to 10 are.
    ///
    /// There is no index of correlations: it reads the log, from [`TraceOptions::since`] on, as well as all dead letters, held
    /// events and timers. It does so some at a time, and lets go of its thread in between, so it takes as long as reading takes
    /// and keeps nobody; what is published meanwhile is left out.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// use tidegate::{Event, Outgoing, TraceOptions, handler_fn};
    ///
    /// # bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// # bus.create_topic("receipts", TopicConfig::new(1)).await?;
    /// let billing = handler_fn(|_, context| {
    ///     Ok(context.publish("receipts", Outgoing { kind: "Receipt.v1".into(), ..Outgoing::default() })?)
    /// });
    /// bus.subscribe("billing", ConsumerConfig::new(["orders"]), billing).await?;
    /// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// bus.caught_up("billing").await?;
    ///
    /// let trace = bus.trace("order-17", TraceOptions::default()).await?;
    /// let depths: Vec<_> = trace.nodes.iter().map(|node| node.depth).collect();
    /// assert_eq!(depths, [0, 1], "the order, and below it the receipt that it caused");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such topic, or the log can't be read. Events that are damaged are counted, see [`TraceSummary::damaged`].
    pub async fn trace(&self, id: &str, options: TraceOptions) -> Result<Trace, ReadError> {
        let mut scan = Scan::new(&self.inner.log, id, options);
        scan.read().await?;
        Ok(tree::assemble(id, scan.found()))
    }
}
