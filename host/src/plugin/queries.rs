//! A running instance of a projection that answers one question.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use super::bindings::projection::exports::tidegate::plugin::queries;
use super::bindings::tidegate::plugin::types;
use super::host::Host;
use super::instance::{call, poisoned};
use crate::clock::{BoxFuture, Timestamp};
use crate::effects::{Context, StateRead};
use crate::event::Data;
use crate::handler::{Failure, FailureKind};
use crate::limits::ANSWER_BYTES_MAX;
use crate::question::{Question, Respondent};

/// What an instance may use while it answers.
pub(super) struct Asked {
    /// The state that it answers from.
    pub context: Context,
    /// When it was asked.
    pub now: Timestamp,
}

/// Whose answers they are, and what is the same for all of them.
pub(super) struct Answers {
    pub consumer: Arc<str>,
    pub version: Arc<str>,
    /// Whether the consumer is granted state.
    pub reads_state: bool,
    /// When the question was asked.
    pub now: Timestamp,
}

/// An instance with a store of its own, for one question.
pub(super) struct QueryInstance {
    store: Store<Host>,
    guest: queries::Guest,
    answers: Answers,
    /// Whether a call has begun and not come back in order.
    poisoned: bool,
    /// Its room in the pool. Last, so that the store is gone when others may take it.
    _room: OwnedSemaphorePermit,
}

/// What the guest answers.
type Answered = Result<Option<types::DataResult>, queries::Refusal>;

impl QueryInstance {
    /// From here on, all that the guest answers is under one deadline.
    pub(super) fn new(
        mut store: Store<Host>,
        guest: queries::Guest,
        answers: Answers,
        room: OwnedSemaphorePermit,
    ) -> Self {
        store.data_mut().start_clocks(answers.now);
        Self { store, guest, answers, poisoned: false, _room: room }
    }

    async fn ask(
        &mut self,
        state: Option<Box<dyn StateRead>>,
        made: impl AsyncFnOnce(&queries::Guest, &mut Store<Host>) -> wasmtime::Result<Answered>,
    ) -> Result<Option<Data>, Failure> {
        if self.poisoned {
            return Err(poisoned());
        }
        self.poisoned = true;
        let Answers { consumer, version, reads_state, now } = &self.answers;
        let state = state.filter(|_| *reads_state);
        let context = Context::reader(Arc::clone(consumer), Arc::clone(version), state);
        let host = self.store.data_mut();
        host.asked = Some(Asked { context, now: *now });
        host.limiter.forget();
        let guest = &self.guest;
        let answered = call(&mut self.store, async |store| made(guest, store).await).await;
        let host = self.store.data_mut();
        host.asked = None;
        if let Some(unavailable) = &host.unavailable {
            return Err(Failure::transient("state-unavailable", unavailable.to_string()));
        }
        let answered = answered?;
        self.poisoned = false;
        let answer = answered.map_err(|refusal| Failure::permanent(refusal.code, refusal.message))?;
        let answer = answer.map(|data| Data::from(data).checked()).transpose();
        let answer = answer.map_err(|error| {
            Failure::new(FailureKind::Trap, "bad-answer", format!("the answer says that it is JSON: {error}"))
        })?;
        match answer.as_ref().map_or(0, |data| data.as_bytes().len()) {
            len if len > ANSWER_BYTES_MAX => Err(Failure::new(
                FailureKind::Memory,
                "answer-size",
                format!("an answer has at most {ANSWER_BYTES_MAX} bytes, not {len}: ask for less at a time"),
            )),
            _ => Ok(answer),
        }
    }
}

impl Respondent for QueryInstance {
    fn answer<'a>(
        &'a mut self,
        question: &'a Question,
        state: Box<dyn StateRead>,
    ) -> BoxFuture<'a, Result<Option<Data>, Failure>> {
        Box::pin(self.ask(Some(state), async |guest, store| {
            guest.call_answer(store, &question.name, lent(question.parameters.as_ref())).await
        }))
    }

    fn combine<'a>(
        &'a mut self,
        question: &'a Question,
        answers: Vec<Option<Data>>,
    ) -> BoxFuture<'a, Result<Option<Data>, Failure>> {
        Box::pin(self.ask(None, async move |guest, store| {
            let answers: Vec<_> = answers.iter().map(|answer| lent(answer.as_ref())).collect();
            guest.call_combine(store, &question.name, lent(question.parameters.as_ref()), &answers).await
        }))
    }
}

/// Data as the guest gets it: it refers to the host's own.
fn lent(data: Option<&Data>) -> Option<types::DataParam<'_>> {
    data.map(types::DataParam::from)
}
