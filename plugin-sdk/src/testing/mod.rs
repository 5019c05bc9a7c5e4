//! What unit tests need. Of a consumer: a [`FakeHost`], and deliveries to hand to it. Of an upcaster: [`lift`]. Of an aggregate:
//! [`given()`] events, a command, and what is decided then. Natively only.

mod fake_host;
mod given;
mod saga_test;
mod sample;
mod upcaster;

pub use fake_host::{FakeHost, Logged, Published, SetTimer};
pub use given::{Decided, Given, given};
pub use saga_test::SagaTest;
pub use sample::{delivery, delivery_of_json};
pub use upcaster::{lift, lift_with};
