use std::hint::black_box;

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Level, Outgoing, PublishError, StateError};

use crate::Fault;

/// Does what a plugin should not do: what the event's data says, an [`Act`].
#[derive(Default)]
pub struct Hostile;

/// The hostile guest's settings.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostileSettings {
    /// The topic to publish to.
    pub topic: String,
}

impl Default for HostileSettings {
    fn default() -> Self {
        Self { topic: "out".to_owned() }
    }
}

/// What to do. As JSON: `{"act": "log-flood", "count": 1000}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum Act {
    /// Nothing: the delivery goes well.
    Behave,
    /// Goes wrong in one of these ways.
    Fault {
        /// Which.
        fault: Fault,
    },
    /// Writes so many lines to the log.
    LogFlood {
        /// Lines.
        count: u32,
    },
    /// Writes one line of so many bytes to the log.
    LogBytes {
        /// Bytes.
        bytes: u32,
    },
    /// Publishes so many events of so many bytes of data each.
    Publish {
        /// Events.
        count: u32,
        /// Bytes of data of each.
        bytes: u32,
    },
    /// Publishes an event with a type of so many bytes.
    PublishType {
        /// Bytes.
        bytes: u32,
    },
    /// Publishes an event with so many extension attributes.
    PublishExtensions {
        /// Attributes.
        count: u32,
    },
    /// Publishes an event with an attribute whose name isn't allowed.
    PublishBadAttribute,
    /// Publishes to a topic of this name.
    PublishTo {
        /// The name.
        topic: String,
    },
    /// Publishes an event with this id.
    PublishAs {
        /// The id.
        id: String,
    },
    /// Sets so many keys to values of so many bytes each.
    State {
        /// Keys.
        count: u32,
        /// Bytes of each value.
        bytes: u32,
    },
    /// Sets a key of so many bytes.
    StateKey {
        /// Bytes.
        bytes: u32,
    },
    /// Sets this key.
    StateAt {
        /// The key.
        key: String,
    },
    /// Scans all of the state in one call, with the largest limit.
    Scan,
    /// Asks for so many random bytes at once.
    Random {
        /// Bytes.
        bytes: u32,
    },
    /// Fails with a code and a message of so many bytes each.
    FailBytes {
        /// Bytes.
        bytes: u32,
    },
    /// Allocates so many bytes, writes to each page, and lets go of them.
    Allocate {
        /// Bytes.
        bytes: u32,
    },
}

impl Consumer for Hostile {
    const NAME: &'static str = "hostile";
    const USES_STATE: bool = true;
    type Data = Act;

    /// Errors of the host become permanent failures with the SDK's codes, so a test sees them in the dead letter.
    fn handle(&mut self, delivery: &Delivery<Act>, host: &mut dyn Host) -> Result<(), Failure> {
        let HostileSettings { topic } = host.settings()?;
        match delivery.event.data.clone() {
            Act::Behave => {}
            Act::Fault { fault } => return Err(commit(fault, delivery.attempt, host)),
            Act::LogFlood { count } => {
                for line in 0..count {
                    host.log(Level::Info, &format!("line {line}"));
                }
            }
            Act::LogBytes { bytes } => host.log(Level::Info, &text(bytes)),
            Act::Publish { count, bytes } => publish(host, &topic, count, bytes)?,
            Act::PublishType { bytes } => host.publish(&topic, Outgoing::new(text(bytes)))?,
            Act::PublishExtensions { count } => {
                let names = (0..count).map(|number| format!("extension{number}"));
                let event = names.fold(Outgoing::new("Hostile.v1"), |event, name| event.extension(name, 1));
                host.publish(&topic, event)?;
            }
            Act::PublishBadAttribute => {
                host.publish(&topic, Outgoing::new("Hostile.v1").extension("Not allowed!", true))?;
            }
            Act::PublishTo { topic } => host.publish(&topic, Outgoing::new("Hostile.v1"))?,
            Act::PublishAs { id } => {
                host.publish(&topic, Outgoing { id: Some(id), ..Outgoing::new("Hostile.v1") })?;
            }
            Act::State { count, bytes } => state(host, count, bytes)?,
            Act::StateKey { bytes } => host.set(text(bytes).as_bytes(), b"value")?,
            Act::StateAt { key } => host.set(key.as_bytes(), b"value")?,
            Act::Scan => drop(host.scan(&[], None, u32::MAX)?),
            Act::Random { bytes } => drop(host.random(bytes)),
            Act::FailBytes { bytes } => return Err(Failure::permanent(&text(bytes), text(bytes))),
            Act::Allocate { bytes } => allocate(bytes),
        }
        Ok(())
    }
}

/// Goes wrong. Only transient and permanent failures come back from it.
pub(crate) fn commit(fault: Fault, attempt: u32, host: &mut dyn Host) -> Failure {
    match fault {
        Fault::Transient => Failure::transient("told-to", format_args!("told to fail at attempt {attempt}")),
        Fault::Permanent => Failure::permanent("told-to", format_args!("told to fail at attempt {attempt}")),
        Fault::Trap => trap(),
        Fault::Panic => panic!("told to panic"),
        Fault::Spin => loop {
            black_box(attempt);
        },
        Fault::SpinInHost => loop {
            black_box(host.now());
        },
        Fault::Grow => {
            grow();
            trap()
        }
        Fault::Recurse => {
            black_box(recurse(0));
            trap()
        }
    }
}

/// Goes wrong where there is no host.
pub(crate) fn strike(fault: Fault) -> ! {
    match fault {
        Fault::Panic => panic!("told to panic"),
        Fault::Spin | Fault::SpinInHost => loop {
            black_box(fault);
        },
        Fault::Grow => {
            grow();
            trap()
        }
        Fault::Recurse => {
            black_box(recurse(0));
            trap()
        }
        Fault::Transient | Fault::Permanent | Fault::Trap => trap(),
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

/// Takes all the memory that the host gives, and touches it.
fn grow() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        block.resize(1 << 20, 1);
        held.push(block);
    }
    black_box(held);
}

/// Neither a loop nor something that a compiler can turn into one.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(frame[31] + 1).wrapping_add(frame[0])
}

fn publish(host: &mut dyn Host, topic: &str, count: u32, bytes: u32) -> Result<(), PublishError> {
    (0..count).try_for_each(|_| {
        host.publish(
            topic,
            Outgoing::new("Hostile.v1").binary("application/octet-stream", vec![0; bytes as usize]),
        )
    })
}

fn state(host: &mut dyn Host, count: u32, bytes: u32) -> Result<(), StateError> {
    let value = vec![0; bytes as usize];
    (0..count).try_for_each(|key| host.set(format!("key/{key:010}").as_bytes(), &value))
}

fn allocate(bytes: u32) {
    let mut block = vec![0_u8; bytes as usize];
    for page in block.chunks_mut(4096) {
        page[0] = 1;
    }
    black_box(block);
}

fn text(bytes: u32) -> String {
    "x".repeat(bytes as usize)
}
