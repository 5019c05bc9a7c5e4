use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Projection, Query, Raw, Refusal, concatenate};

/// A read model that counts: all events of its lane, and those of each key and of each type. `LAYOUT` is the version of its state, and where it
/// keeps the count.
///
/// An event of type `Fail.v1` fails for good, one of type `Bad.v1` does in layouts above 1, and one of type `Busy.v1` fails
/// there twice before it goes well.
#[derive(Default)]
pub struct Model<const LAYOUT: u32>;

/// What a [`Model`] answers to `count`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Counted {
    /// Events that it has counted.
    pub count: u64,
    /// The version of its state.
    pub layout: u32,
}

impl<const LAYOUT: u32> Model<LAYOUT> {
    fn key() -> String {
        format!("count/{LAYOUT}")
    }
}

impl<const LAYOUT: u32> Consumer for Model<LAYOUT> {
    const NAME: &'static str = "model";
    const USES_STATE: bool = true;
    const STATE_VERSION: u32 = LAYOUT;
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        match delivery.event.event_type.as_str() {
            "Fail.v1" => return Err(Failure::permanent("told-to", "it fails")),
            "Bad.v1" if LAYOUT > 1 => {
                return Err(Failure::permanent("told-to", "this layout has no place for it"));
            }
            "Busy.v1" if LAYOUT > 1 && delivery.attempt < 3 => {
                return Err(Failure::transient("told-to", "later"));
            }
            _ => {}
        }
        let event = &delivery.event;
        for key in [Self::key(), format!("key/{}", event.key()), format!("type/{}", event.event_type)] {
            let count: u64 = host.get_json(&key)?.unwrap_or_default();
            host.set_json(&key, &(count + 1))?;
        }
        Ok(())
    }
}

impl<const LAYOUT: u32> Projection for Model<LAYOUT> {
    fn answer(query: &Query, host: &dyn Host) -> Result<Raw, Refusal> {
        match query.question.as_str() {
            "count" => {
                let count = host.get_json(Self::key())?.unwrap_or_default();
                Ok(Raw::json(&Counted { count, layout: LAYOUT })?)
            }
            "count-of" => {
                let key = format!("key/{}", query.parameters::<String>()?);
                Ok(Raw::json(&host.get_json::<u64>(key)?.unwrap_or_default())?)
            }
            "keys" | "types" => {
                let prefix = if query.question == "keys" { "key/" } else { "type/" };
                let keys = host.scan_prefix(prefix)?.into_iter();
                let keys: Vec<_> = keys.map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect();
                Ok(Raw::json(&keys)?)
            }
            "now" => Ok(Raw::json(&host.now().as_micros())?),
            "nothing" => Ok(Raw::Empty),
            "large" => Ok(Raw::Text("x".repeat(query.parameters()?))),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "trap" => panic!("told to"),
            "write" => Ok(Raw::Text(write())),
            _ => Err(query.unknown()),
        }
    }

    fn combine(query: &Query, answers: Vec<Raw>) -> Result<Raw, Refusal> {
        if query.question != "count" {
            return concatenate(query, answers);
        }
        let mut all = Counted { layout: LAYOUT, ..Counted::default() };
        for answer in answers {
            all.count += answer.read::<Counted>()?.count;
        }
        Ok(Raw::json(&all)?)
    }
}

/// Writes past the type that the crate hands to an answer, and says what the host answers.
#[cfg(target_arch = "wasm32")]
fn write() -> String {
    use tidegate_plugin::bindings::tidegate::plugin::state;
    format!("{:?} {:?}", state::set(b"written", b"by a query"), state::delete(b"count/1"))
}

#[cfg(not(target_arch = "wasm32"))]
fn write() -> String {
    "there is nothing to write to".to_owned()
}
