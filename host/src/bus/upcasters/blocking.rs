//! The same for programs without async.

use std::sync::Arc;

use super::UpcasterError;
use crate::bus::{Blocking, ReloadOutcome};
use crate::config::UpcasterConfig;
use crate::event::Event;
use crate::handler::Failure;
use crate::log::block_on;
use crate::upcast::Lifted;

impl Blocking {
    /// See [`Bus::add_upcaster`](crate::Bus::add_upcaster).
    ///
    /// # Errors
    ///
    /// The same.
    pub fn add_upcaster(
        &self,
        name: &str,
        from: &str,
        to: &str,
        lift: impl Fn(&Event) -> Result<Lifted, Failure> + Send + Sync + 'static,
    ) -> Result<(), UpcasterError> {
        block_on(self.bus().add_upcaster(name, from, to, lift))
    }

    /// See [`Bus::add_upcaster_plugin`](crate::Bus::add_upcaster_plugin).
    ///
    /// # Errors
    ///
    /// The same.
    pub fn add_upcaster_plugin(&self, name: &str, config: UpcasterConfig) -> Result<(), UpcasterError> {
        block_on(self.bus().add_upcaster_plugin(name, config))
    }

    /// See [`Bus::reconfigure_upcaster`](crate::Bus::reconfigure_upcaster).
    ///
    /// # Errors
    ///
    /// The same.
    pub fn reconfigure_upcaster(&self, name: &str, config: UpcasterConfig) -> Result<(), UpcasterError> {
        block_on(self.bus().reconfigure_upcaster(name, config))
    }

    /// See [`Bus::reload_upcaster`](crate::Bus::reload_upcaster).
    ///
    /// # Errors
    ///
    /// The same.
    pub fn reload_upcaster(&self, name: &str) -> Result<ReloadOutcome, UpcasterError> {
        block_on(self.bus().reload_upcaster(name))
    }

    /// See [`Bus::remove_upcaster`](crate::Bus::remove_upcaster).
    ///
    /// # Errors
    ///
    /// The same.
    pub fn remove_upcaster(&self, name: &str) -> Result<(), UpcasterError> {
        block_on(self.bus().remove_upcaster(name))
    }

    /// See [`Bus::lift`](crate::Bus::lift).
    ///
    /// # Errors
    ///
    /// The same.
    pub fn lift(&self, topic: &str, event: &Arc<Event>) -> Result<Arc<Event>, Failure> {
        block_on(self.bus().lift(topic, event))
    }

    /// See [`Bus::lift_all`](crate::Bus::lift_all).
    pub fn lift_all(&self, topic: &str, events: &[Arc<Event>]) -> Vec<Result<Arc<Event>, Failure>> {
        block_on(self.bus().lift_all(topic, events))
    }
}
