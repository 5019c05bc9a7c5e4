//! A running instance of a plugin that decides on commands.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use super::bindings::exports::tidegate::plugin::decider;
use super::host::Host;
use super::imports::types;
use super::instance::{Loan, call, poisoned};
use crate::aggregate::{Decision, Fact, Model, Rejection};
use crate::clock::BoxFuture;
use crate::event::{Data, Event};
use crate::handler::{Failure, Lender};

/// An instance with a store of its own.
pub(super) struct ComponentModel {
    store: Store<Host>,
    decider: decider::Guest,
    /// Whether a call has begun and not come back in order: the guest's memory may be in any state then.
    poisoned: bool,
    /// Its room in the pool. Last, so that the store is gone when others may take it.
    _room: OwnedSemaphorePermit,
}

impl ComponentModel {
    pub(super) fn new(store: Store<Host>, decider: decider::Guest, room: OwnedSemaphorePermit) -> Self {
        Self { store, decider, poisoned: false, _room: room }
    }

    fn enter(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.poisoned, true) { Err(poisoned()) } else { Ok(()) }
    }

    async fn decide(&mut self, lender: &mut dyn Lender, state: Option<&[u8]>) -> Result<Decision, Failure> {
        self.enter()?;
        let loan = Loan::new(&mut self.store, lender);
        let command = loan.delivery().event;
        let extensions = types::extensions(&command);
        let decided = call(loan.store, async |store| {
            self.decider.call_decide(store, state, types::event(&command, &extensions)).await
        });
        let decided = decided.await?;
        drop(loan);
        self.poisoned = false;
        match decided {
            Ok(facts) => Ok(Decision::Accepted(facts.into_iter().map(Fact::from).collect())),
            Err(decider::Undecided::Rejected(rejection)) => rejected(rejection).map(Decision::Rejected),
            Err(decider::Undecided::Failed(failure)) => Err(failure.into()),
        }
    }

    async fn evolve(&mut self, state: Option<&[u8]>, events: &[Arc<Event>]) -> Result<Vec<u8>, Failure> {
        self.enter()?;
        self.store.data_mut().begin_pure();
        let extensions: Vec<_> = events.iter().map(|event| types::extensions(event)).collect();
        let events: Vec<_> = events
            .iter()
            .zip(&extensions)
            .map(|(event, extensions)| types::event(event, extensions))
            .collect();
        let evolved =
            call(&mut self.store, async |store| self.decider.call_evolve(store, state, &events).await);
        let evolved = evolved.await?;
        self.poisoned = false;
        evolved.map_err(Failure::from)
    }
}

impl Model for ComponentModel {
    fn decide<'a>(
        &'a mut self,
        lender: &'a mut dyn Lender,
        state: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Decision, Failure>> {
        Box::pin(Self::decide(self, lender, state))
    }

    fn evolve<'a>(
        &'a mut self,
        state: Option<&'a [u8]>,
        events: &'a [Arc<Event>],
    ) -> BoxFuture<'a, Result<Vec<u8>, Failure>> {
        Box::pin(Self::evolve(self, state, events))
    }
}

impl From<decider::Fact> for Fact {
    fn from(fact: decider::Fact) -> Self {
        let mut made = Self::new(fact.type_);
        made.datacontenttype = fact.datacontenttype;
        made.dataschema = fact.dataschema;
        made.extensions = fact.extensions.into_iter().map(|(name, value)| (name, value.into())).collect();
        made.data = fact.data.map(Data::from);
        made
    }
}

fn rejected(rejection: decider::Rejection) -> Result<Rejection, Failure> {
    let made = Rejection::new(rejection.code, rejection.message);
    let Some(data) = rejection.data else { return Ok(made) };
    let data = serde_json::from_str(&data);
    let data = data.map_err(|error| {
        Failure::permanent("rejection-data", format!("the rejection `{made}` carries no JSON: {error}"))
    })?;
    Ok(made.data(data))
}
