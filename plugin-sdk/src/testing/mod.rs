//! What the unit tests of a consumer need, a [`FakeHost`] and deliveries to hand to it, and those of an upcaster, [`lift`].
//! Natively only.

mod fake_host;
mod sample;
mod upcaster;

pub use fake_host::{FakeHost, Logged, Published, SetTimer};
pub use sample::{delivery, delivery_of_json};
pub use upcaster::{lift, lift_with};
