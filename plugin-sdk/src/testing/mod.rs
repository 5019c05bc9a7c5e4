//! What a consumer's unit tests need: a [`FakeHost`], and deliveries to hand to it. Natively only.

mod fake_host;
mod sample;

pub use fake_host::{FakeHost, Logged, Published, SetTimer};
pub use sample::{delivery, delivery_of_json};
