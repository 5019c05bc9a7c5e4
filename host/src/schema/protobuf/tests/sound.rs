//! What is called compatible is compatible, by another implementation of Protobuf.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use protox::prost_reflect::DynamicMessage;
use protox::prost_reflect::prost::Message as _;

use super::super::{breaks, source};
use super::Definition;
use super::messages::{difference, message};
use super::schemas::{Dice, File};
use crate::schema::protobuf::check::Unknown;

/// Pairs of definitions, and messages of each.
const CASES: u32 = 4_000;
const MESSAGES: usize = 12;

#[test]
fn what_is_compatible_reads_every_message_of_the_writer_with_its_values() {
    let (compatible, broken, doubtful) = (Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32));
    let count = |cell: &Cell<u32>| cell.set(cell.get() + 1);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&any::<u64>(), |seed| {
        let mut dice = Dice::of_seed(seed);
        let old = File::random(&mut dice);
        let mut new = old.clone();
        (0..=dice.roll(3)).for_each(|_| new.mutate(&mut dice));
        let (reader, writer) =
            if dice.is_one_in(2) { (new.text(), old.text()) } else { (old.text(), new.text()) };
        let compile = |text: &str| {
            source::compile(text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))
        };
        let (reads, writes) = (compile(&reader)?, compile(&writer)?);
        let (reading, writing) = (Definition::of(&reads), Definition::of(&writes));
        prop_assert_eq!(breaks(&reading, &reading), Vec::new(), "{}", reader);
        let found = breaks(&reading, &writing);
        let mut shown = None;
        for _ in 0..MESSAGES {
            let written = message(&writes, &mut dice, 4);
            let bytes = written.encode_to_vec();
            let flaw = reading.check_bytes(&bytes, Unknown::Skipped).err();
            let flaw = flaw.map(|flaw| format!("{:?}", flaw.violation()));
            let read = DynamicMessage::decode(reads.clone(), &*bytes);
            let read = read.map_err(|error| error.to_string());
            // What was written is what its own version reads.
            let written = DynamicMessage::decode(writes.clone(), &*bytes).unwrap();
            let trouble =
                read.as_ref().map_or_else(|error| Some(error.clone()), |read| difference(read, &written));
            shown = flaw.or(trouble);
            if shown.is_some() {
                break;
            }
        }
        match (found.is_empty(), &shown) {
            (true, Some(shown)) => prop_assert!(false, "{shown}\nreader {reader}\nwriter {writer}"),
            (true, None) if reader != writer => count(&compatible),
            (true, None) => {}
            (false, Some(_)) => count(&broken),
            (false, None) => count(&doubtful),
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let told = format!("{compatible:?} compatible, {broken:?} broken, {doubtful:?} in doubt");
    // Enough of each that the test says something.
    assert!(compatible.get() > CASES / 10 && broken.get() > CASES / 10, "{told}");
}
