//! What one comparison may cost.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};

use serde_json::Value;

pub(super) use crate::limits::{
    SCHEMA_BREAKS_FOUND_MAX as BREAKS_MAX, SCHEMA_DEPTH_MAX as DEPTH_MAX, SCHEMA_NESTING_MAX as NESTING_MAX,
    SCHEMA_STEPS_MAX as STEPS_MAX,
};

/// A bound was met, so there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exhausted {
    Steps,
    Depth,
    Nesting,
}

impl Display for Exhausted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Exhausted::Steps => write!(f, "the schemas take more than {STEPS_MAX} steps to compare"),
            Exhausted::Depth => {
                write!(f, "the schemas refer and nest deeper than {DEPTH_MAX} levels together")
            }
            Exhausted::Nesting => write!(f, "a schema is nested deeper than {NESTING_MAX} levels"),
        }
    }
}

/// The steps that are left.
pub(super) struct Budget {
    steps: Cell<usize>,
}

impl Budget {
    pub fn new() -> Self {
        Self { steps: Cell::new(STEPS_MAX) }
    }

    pub fn spend(&self, steps: usize) -> Result<(), Exhausted> {
        let left = self.steps.get().checked_sub(steps).ok_or(Exhausted::Steps)?;
        self.steps.set(left);
        Ok(())
    }
}

/// Checks the nesting of a value without recursion, so that everything behind it may recurse.
pub(super) fn check_nesting(value: &Value) -> Result<(), Exhausted> {
    let mut waiting = vec![(value, 0)];
    while let Some((value, depth)) = waiting.pop() {
        if depth > NESTING_MAX {
            return Err(Exhausted::Nesting);
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => waiting.extend(members.values().map(|member| (member, depth + 1))),
            _ => {}
        }
    }
    Ok(())
}
