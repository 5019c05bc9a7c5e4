//! Protobuf schemas: a `.proto` as a bus takes it, data held against it, and what a new version may change.
//!
//! A schema is the text of one `.proto`, and its first top-level message is what events carry, as Confluent's registry has it.
//! `protox` reads the text, `prost-reflect` resolves its names; what is kept of that is a [`Definition`], which is all that data
//! and other versions are held against.
//!
//! # Data
//!
//! An event's data is the message's bytes, under one of the media types of Protobuf. The check goes over the bytes once, in a
//! recursion that is bounded as in Protobuf's own libraries. It takes what they take where the writer knows this very version,
//! and is stricter where they are silent: a number that the message doesn't have, a value that its type has no room for, and a
//! closed enum's unknown value are refused, as whoever writes them knows another version.
//!
//! # What is compatible
//!
//! [`breaks`] knows a reader and a writer, as that of JSON Schema does. A writer writes what its own schema allows. A reader
//! drops fields whose numbers it doesn't know, so that fields may be added and removed; all else that it finds has to come out
//! with the value that was written. An empty answer is a proof of that.

mod bounds;
mod brackets;
mod check;
mod comparison;
mod definition;
mod kinds;
mod presence;
mod source;
mod wire;

#[cfg(test)]
mod tests;

pub(super) use comparison::breaks;
pub(super) use definition::Definition;
