//! Components of few bytes that would take the compiler long, or much memory.

use super::contract::{refused, refused_text};
use crate::limits::{
    COMPONENT_INSTANCES_MAX, FUNCTION_BYTES_MAX, FUNCTION_JOINS_MAX, FUNCTION_LOOKS_MAX,
    FUNCTION_NESTED_JOINS_MAX,
};
use crate::plugin::LoadError;
use crate::plugin::structure::check;

/// Loops in each other, around a use of each of some locals.
fn loops(depth: usize, locals: usize, used: impl Fn(usize) -> String) -> String {
    format!(
        r#"(component (core module (func (export "f") (local {}) {} {} {})))"#,
        "i32 ".repeat(locals),
        "(loop ".repeat(depth),
        each(locals, used),
        "(br_if 0 (local.get 0)))".repeat(depth)
    )
}

/// A text for each number.
fn each(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect()
}

fn write(local: usize) -> String {
    format!("(local.set {local} (i32.add (local.get {local}) (i32.const 1)))")
}

#[tokio::test]
async fn loops_over_many_locals_are_refused() {
    let bytes = wat::parse_str(loops(1000, 1000, write)).unwrap();
    assert!(bytes.len() < 20_000, "a small file: {}", bytes.len());
    let error = refused(bytes).await;
    assert!(matches!(error, LoadError::Structure { max: FUNCTION_JOINS_MAX, .. }), "{error}");
    let error = refused_text(&loops(500, 100, write)).await;
    assert!(matches!(error, LoadError::Structure { max: FUNCTION_NESTED_JOINS_MAX, .. }), "{error}");
    // Locals that are read alone cost less, and not nothing.
    let read = |local| format!("(drop (local.get {local}))");
    let error = refused_text(&loops(5000, 5000, read)).await;
    assert!(matches!(error, LoadError::Structure { max: FUNCTION_LOOKS_MAX, .. }), "{error}");
}

#[tokio::test]
async fn blocks_and_calls_of_many_values_are_refused() {
    let values = "i32 ".repeat(900);
    let text = format!(
        "(component (core module (type $t (func (param {values}) (result {values})))
            (func $f (type $t) {} {}) ))",
        each(900, |n| format!("(local.get {n})")),
        "(block (type $t) (br_if 0 (i32.const 1))".repeat(1000) + &")".repeat(1000)
    );
    let error = refused_text(&text).await;
    assert!(matches!(error, LoadError::Structure { max: FUNCTION_JOINS_MAX, .. }), "{error}");
    let text = format!(
        "(component (core module (type $t (func (param {values}) (result {values})))
            (func $f (type $t) {} {}) ))",
        each(900, |n| format!("(local.get {n})")),
        "(call $f)".repeat(10_000)
    );
    let error = refused_text(&text).await;
    assert!(matches!(error, LoadError::Structure { max: FUNCTION_JOINS_MAX, .. }), "{error}");
}

#[tokio::test]
async fn a_function_of_many_bytes_is_refused() {
    let text = format!(
        "(component (core module (func (local i32) {})))",
        "(local.set 0 (i32.const 1))".repeat(FUNCTION_BYTES_MAX / 4 + 1)
    );
    let error = refused_text(&text).await;
    assert!(matches!(error, LoadError::Structure { max: FUNCTION_BYTES_MAX, .. }), "{error}");
}

#[tokio::test]
async fn components_that_double_their_instances_are_refused() {
    let level = |n: usize| {
        format!(
            "(component $c{n} (alias outer 1 $c{} (component $p)) (instance (instantiate $p)) (instance (instantiate $p)))",
            n - 1
        )
    };
    let text = format!(
        "(component (component $c0 (core module $m) (core instance (instantiate $m))) {} (instance (instantiate $c40)))",
        (1..=40).map(level).collect::<String>()
    );
    let bytes = wat::parse_str(text).unwrap();
    assert!(bytes.len() < 4000, "a small file: {}", bytes.len());
    let error = refused(bytes).await;
    assert!(matches!(error, LoadError::Structure { max: COMPONENT_INSTANCES_MAX, .. }), "{error}");
}

#[test]
fn what_an_interpreter_looks_like_passes() {
    // A loop with a table of 500 ways, each of which writes some of 200 locals and goes on with the loop.
    let case = |n: usize| {
        let writes = each(4, |at| write((n * 7 + at) % 200));
        format!("end {writes} br {}", 500 - n)
    };
    let table = each(500, |n| format!("{n} "));
    let text = format!(
        "(component (core module (func (param i32) (local {}) loop {} local.get 0 br_table {table} {} end)))",
        "i32 ".repeat(200),
        "block ".repeat(501),
        (0..501).map(case).collect::<Vec<_>>().join(" ")
    );
    check(&wat::parse_str(text).unwrap()).unwrap();
}
