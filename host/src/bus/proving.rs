//! What proofs see and do, and no application needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Bus, ConsumerError};
use crate::delivery::Native;
use crate::handler::{Handler, Program};
use crate::ids::LaneId;
use crate::limits::HANDLER_DEADLINE;
use crate::log::{AdminError, ReadError, Wait};
use crate::timer::{TIMER_TOPIC, TIMER_TOPIC_ID};

/// What is durable of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurableLane {
    /// For each topic the offset that it delivers next.
    pub next: BTreeMap<String, u64>,
    /// What it holds, by topic and offset.
    pub held: BTreeMap<(String, u64), DurableHold>,
}

/// What is durable of a held event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableHold {
    /// Whether an operator put it back to work.
    pub redriven: bool,
    /// Whether it is the place of a dead letter.
    pub is_letter: bool,
    /// The hash of its key.
    pub key: u64,
}

impl Bus {
    /// What is durable of a consumer's lane on this partition.
    #[doc(hidden)]
    pub fn durable_lane(&self, consumer: &str, partition: u32) -> Result<DurableLane, ReadError> {
        let log = &self.inner.log;
        let Some((id, _)) = log.consumer(consumer) else { return Ok(DurableLane::default()) };
        let lane = log.lane(LaneId { consumer: id, partition })?;
        let name = |topic| match topic {
            TIMER_TOPIC_ID => TIMER_TOPIC.to_owned(),
            topic => log.topic_name(topic).map_or_else(String::new, |name| name.to_string()),
        };
        let next = lane.progress.next.into_iter().map(|(topic, offset)| (name(topic), offset));
        let held = lane.held.into_values().map(|held| {
            let is_letter = held.wait == Wait::Operator;
            let hold = DurableHold { redriven: held.redriven, is_letter, key: held.key };
            ((name(held.topic), held.offset), hold)
        });
        Ok(DurableLane { next: next.collect(), held: held.collect() })
    }

    /// Has a native consumer go over to another handler, as a plugin's goes over to another component.
    #[doc(hidden)]
    pub async fn switch_handler(&self, name: &str, handler: impl Handler) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        let log = &self.inner.log;
        let (_, row) = log.consumer(name).ok_or_else(|| AdminError::UnknownConsumer(name.to_owned()))?;
        let program = Arc::new(Native::new(handler, HANDLER_DEADLINE, Arc::clone(log.clock())));
        log.accept_program(name, program.version().clone(), row.state_version.unwrap_or(0)).await?;
        let switch = |running: &mut super::roster::Running| running.consumer.switch(program);
        self.inner.roster.with(name, switch).unwrap_or(());
        Ok(())
    }
}
