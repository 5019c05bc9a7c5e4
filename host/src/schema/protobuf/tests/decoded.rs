//! The check beside another implementation: that of `prost-reflect`.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use protox::prost_reflect::prost::Message as _;
use protox::prost_reflect::{DynamicMessage, MessageDescriptor};

use super::super::source;
use super::messages::message;
use super::schemas::{Dice, File};
use super::{Definition, flaw};

/// Definitions, and messages of each.
const CASES: u32 = 400;
const MESSAGES: usize = 10;

fn run(test: impl Fn(&str, &MessageDescriptor, &Definition, Dice) -> Result<(), TestCaseError>) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&any::<u64>(), |seed| {
        let mut dice = Dice::of_seed(seed);
        let text = File::random(&mut dice).text();
        let descriptor =
            source::compile(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        let definition = Definition::of(&descriptor);
        test(&text, &descriptor, &definition, dice)
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_another_implementation_writes_is_taken() {
    run(|text, descriptor, definition, mut dice| {
        for _ in 0..MESSAGES {
            let message = message(descriptor, &mut dice, 4);
            let bytes = message.encode_to_vec();
            prop_assert_eq!(flaw(definition, &bytes), None, "{}\n{:02x?}", text, bytes);
        }
        Ok(())
    });
}

/// Changes some bytes: one, the end, a piece that is repeated or left out, or all of them.
fn change(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() || dice.is_one_in(10) {
        *bytes = (0..dice.roll(12)).map(|_| dice.byte()).collect();
        return;
    }
    let at = dice.roll(bytes.len());
    match dice.roll(5) {
        0 => bytes[at] = dice.byte(),
        1 => bytes[at] ^= 1 << dice.roll(8),
        2 => bytes.truncate(at),
        3 => {
            let piece = bytes[at..].to_vec();
            bytes.extend(piece);
        }
        _ => drop(bytes.remove(at)),
    }
}

#[test]
fn what_is_taken_is_read_by_another_implementation_with_nothing_unknown() {
    let (taken, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    run(|text, descriptor, definition, mut dice| {
        for _ in 0..MESSAGES * 4 {
            let mut bytes = message(descriptor, &mut dice, 4).encode_to_vec();
            (0..=dice.roll(2)).for_each(|_| change(&mut bytes, &mut dice));
            if flaw(definition, &bytes).is_some() {
                refused.set(refused.get() + 1);
                continue;
            }
            taken.set(taken.get() + 1);
            let read = DynamicMessage::decode(descriptor.clone(), &*bytes);
            let read = read.map_err(|error| TestCaseError::fail(format!("{error}\n{text}\n{bytes:02x?}")))?;
            prop_assert!(read.unknown_fields().next().is_none(), "{}\n{:02x?}", text, bytes);
        }
        Ok(())
    });
    let least = CASES * 4;
    assert!(taken.get() > least && refused.get() > least, "{taken:?} taken, {refused:?} refused");
}
