use serde::{Deserialize, Serialize};
use tidegate_plugin::serde_json::json;
use tidegate_plugin::{Aggregate, CommandContext, Rejection};

use crate::Fault;
use crate::hostile::strike;

/// Decides what its commands say, and tells what it sees when it decides and when it evolves.
pub struct Decider;

/// The commands.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum Order {
    /// Decides as told.
    #[serde(rename = "Decide.v1")]
    Decide(Deed),
}

/// What to decide.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deed {
    /// How to go wrong in `decide`.
    pub fault: Option<Fault>,
    /// Rejects, with a text of so many bytes for programs.
    pub rejection_bytes: Option<usize>,
    /// Events that are decided.
    pub count: usize,
    /// What each of them is.
    pub fact: Happened,
}

/// The events.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum Fact {
    /// Something has happened.
    #[serde(rename = "Happened.v1")]
    Happened(Happened),
}

/// What has happened.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Happened {
    /// How to go wrong in `evolve`.
    pub fault: Option<Fault>,
    /// Bytes of a text in the event.
    pub bytes: usize,
    /// Bytes of a text in the state from then on.
    pub state_bytes: usize,
    /// The text in the event.
    pub text: String,
    /// What `decide` saw.
    pub decided: Sight,
}

/// What there is to be seen of time and chance.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// The time, in microseconds since 1970.
    pub now: i64,
    /// A random number.
    pub random: u64,
}

/// The state: what `evolve` saw at each event.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Evolved {
    /// In their order.
    pub seen: Vec<Sight>,
    /// A text.
    pub text: String,
}

impl Aggregate for Decider {
    const NAME: &'static str = "decider";
    type State = Evolved;
    type Command = Order;
    type Event = Fact;

    fn decide(
        _: &Evolved,
        Order::Decide(deed): &Order,
        context: &CommandContext<'_>,
    ) -> Result<Vec<Fact>, Rejection> {
        if let Some(fault) = deed.fault {
            strike(fault);
        }
        if let Some(bytes) = deed.rejection_bytes {
            return Err(Rejection::new("told-to", "told to reject").data(&json!(text(bytes))));
        }
        let decided = Sight { now: context.now.as_micros(), random: context.random_u64() };
        let fact = Happened { text: text(deed.fact.bytes), decided, ..deed.fact.clone() };
        Ok(vec![Fact::Happened(fact); deed.count])
    }

    fn evolve(mut state: Evolved, Fact::Happened(happened): &Fact) -> Evolved {
        if let Some(fault) = happened.fault {
            strike(fault);
        }
        state.seen.push(sight());
        state.text = text(happened.state_bytes);
        state
    }
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// What the host shows to whoever asks, which `evolve` has no other way to do.
#[cfg(target_arch = "wasm32")]
fn sight() -> Sight {
    use tidegate_plugin::bindings::tidegate::plugin::context;
    let random = context::random(8).iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Sight { now: context::now(), random }
}

#[cfg(not(target_arch = "wasm32"))]
fn sight() -> Sight {
    Sight::default()
}
