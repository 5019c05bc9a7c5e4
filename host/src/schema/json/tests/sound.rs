//! What is called compatible is compatible, by another implementation of JSON Schema.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::Value;

use super::super::breaks;
use super::documents::{decide, document};
use super::schemas::{Dice, mutate, root};

/// Documents for each pair of schemas.
const DOCUMENTS: usize = 40;

/// Ways to decide on the writer's alternatives.
const DECISIONS: usize = 5;

/// Pairs of schemas.
const CASES: u32 = 1_500;

/// What the cases came to.
#[derive(Default)]
struct Tally {
    /// Found compatible, though the schemas differ, with documents to show for it.
    compatible: Cell<u32>,
    /// Refused, and a document shows why.
    broken: Cell<u32>,
    /// Refused, and no document was found that shows why.
    doubtful: Cell<u32>,
    /// Valid documents altogether.
    documents: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// The documents of the writer's, each valid by the alternatives whose properties it has.
fn documents(writer: &Value, seed: u64) -> Vec<Value> {
    let Ok(validator) = jsonschema::validator_for(writer) else { return Vec::new() };
    let mut dice = Dice::of_seed(seed);
    let mut documents = Vec::new();
    for _ in 0..DECISIONS {
        let mut decided = writer.clone();
        decide(&mut decided, &mut dice);
        let Ok(decided_validator) = jsonschema::validator_for(&decided) else { continue };
        let all = (0..DOCUMENTS / DECISIONS).map(|_| document(&decided, &[&decided], &mut dice, 5));
        let is_valid =
            |document: &Value| validator.is_valid(document) && decided_validator.is_valid(document);
        documents.extend(all.filter(is_valid));
    }
    documents
}

#[test]
fn what_is_compatible_reads_every_document_of_the_writer() {
    let cases = CASES;
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let tally = Tally::default();
    let bytes = proptest::collection::vec(any::<u8>(), 0..400);
    let result = runner.run(&(bytes, any::<u64>(), any::<bool>()), |(bytes, seed, is_backward)| {
        let mut dice = Dice::of_bytes(bytes);
        // The change comes first, so that it has bytes left.
        let mut change = Dice::of_seed(seed ^ u64::try_from(dice.roll(256)).unwrap());
        let old = root(&mut dice);
        let mut new = old.clone();
        (0..=change.roll(2)).for_each(|_| mutate(&mut new, &mut change));
        let (reader, writer) = if is_backward { (new, old) } else { (old, new) };
        let Ok(validator) = jsonschema::validator_for(&reader) else { return Ok(()) };
        let documents = documents(&writer, seed);
        let found = breaks(&reader, &writer);
        let refused = documents.iter().find(|document| !validator.is_valid(document));
        if found.is_empty() {
            prop_assert!(
                refused.is_none(),
                "reader {reader}\nwriter {writer}\ndocument {}",
                refused.unwrap()
            );
            if reader != writer && !documents.is_empty() {
                count(&tally.compatible);
            }
        } else {
            count(if refused.is_some() { &tally.broken } else { &tally.doubtful });
        }
        tally.documents.set(tally.documents.get() + u32::try_from(documents.len()).unwrap());
        Ok(())
    });
    match result {
        Err(TestError::Fail(reason, (bytes, seed, is_backward))) => {
            panic!("{reason}\nbytes {bytes:?}, seed {seed}, backward {is_backward}")
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Ok(()) => {}
    }
    let Tally { compatible, broken, doubtful, documents } = tally;
    let told = format!(
        "{compatible:?} compatible, {broken:?} broken, {doubtful:?} in doubt, {documents:?} documents"
    );
    // Enough of each that the test says something.
    assert!(
        compatible.get() > cases / 10 && broken.get() > cases / 10 && documents.get() > cases * 3,
        "{told}"
    );
}
