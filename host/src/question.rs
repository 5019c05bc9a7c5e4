//! What stands between those who ask a projection and what answers.

use crate::clock::{BoxFuture, Timestamp};
use crate::effects::StateRead;
use crate::event::Data;
use crate::handler::Failure;

/// A question, as it was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    /// Which.
    pub name: String,
    /// What goes with it.
    pub parameters: Option<Data>,
}

/// A program whose consumer's state can be asked.
pub(crate) trait Answering: Send + Sync {
    /// Somebody who answers a question that was asked at this time. For all that they take together, they have as long as a
    /// delivery may take.
    fn respondent(&self, now: Timestamp) -> BoxFuture<'_, Result<Box<dyn Respondent>, Failure>>;
}

/// Who answers one question. What fails is of kind `Permanent` where the program says that there is no answer; after any other
/// failure there won't be one any more.
pub(crate) trait Respondent: Send {
    /// Answers from the state of one lane, which stays as it is.
    fn answer<'a>(
        &'a mut self,
        question: &'a Question,
        state: Box<dyn StateRead>,
    ) -> BoxFuture<'a, Result<Option<Data>, Failure>>;

    /// Makes one answer of those of all lanes.
    fn combine<'a>(
        &'a mut self,
        question: &'a Question,
        answers: Vec<Option<Data>>,
    ) -> BoxFuture<'a, Result<Option<Data>, Failure>>;
}
