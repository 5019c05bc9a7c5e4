//! The adapter between the bindings of upcasters and the words of this crate.

use std::cell::OnceCell;

pub use crate::upcaster_bindings::exports::tidegate::plugin::{
    lifter::{Guest as LifterGuest, Lifted as GuestLifted, Refusal as GuestRefusal, Step},
    plugin::{Description, Guest as DescribeGuest},
};
use crate::{
    Lifted, Lifts, Refusal, Settings, Upcaster, bindings::tidegate::plugin::config, wasm::log_panics, words,
};

pub use crate::bindings::tidegate::plugin::types::Event as GuestEvent;

thread_local! {
    /// What the instance lifts: a component has one upcaster.
    static LIFTS: OnceCell<Lifts> = const { OnceCell::new() };
}

/// Answers the contract's `describe`.
pub fn describe<U: Upcaster>(version: &str) -> Description {
    log_panics();
    Description {
        name: U::NAME.to_owned(),
        version: version.to_owned(),
        publishes: Vec::new(),
        uses_state: false,
        state_version: 1,
    }
}

/// Answers the contract's `steps`.
pub fn steps<U: Upcaster>() -> Result<Vec<Step>, GuestRefusal> {
    let own = |(from, to): (&str, &str)| Step { from: from.to_owned(), to: to.to_owned() };
    with_lifts::<U, _>(|lifts| Ok(lifts.steps().map(own).collect()))
}

/// Answers the contract's `lift`.
pub fn lift<U: Upcaster>(event: GuestEvent) -> Result<GuestLifted, GuestRefusal> {
    with_lifts::<U, _>(|lifts| Ok(lifts.apply(event.into())?.into()))
}

fn with_lifts<U: Upcaster, T>(work: impl FnOnce(&Lifts) -> Result<T, Refusal>) -> Result<T, GuestRefusal> {
    log_panics();
    LIFTS.with(|cell| {
        let lifts = match cell.get() {
            Some(lifts) => lifts,
            None => {
                let lifts = U::lifts(&Settings::new(config::settings())).map_err(GuestRefusal::from)?;
                cell.get_or_init(|| lifts)
            }
        };
        work(lifts).map_err(GuestRefusal::from)
    })
}

impl From<Lifted> for GuestLifted {
    fn from(lifted: Lifted) -> Self {
        Self {
            datacontenttype: lifted.datacontenttype,
            dataschema: lifted.dataschema,
            data: words::data(lifted.data),
        }
    }
}

impl From<Refusal> for GuestRefusal {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, message: refusal.message }
    }
}
