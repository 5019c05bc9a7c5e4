//! What is a schema, and what isn't.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::schemas::{Dice, File};
use super::{Definition, definition, refusal};
use crate::limits::{
    PROTOBUF_DEFINITIONS_MAX, PROTOBUF_NAME_BYTES_MAX, PROTOBUF_NAMES_BYTES_MAX, PROTOBUF_NESTING_MAX,
    SCHEMA_BYTES_MAX,
};
use crate::schema::{Schema, SchemaError};

#[track_caller]
fn refused(text: &str, place: Option<(usize, usize)>, words: &str) {
    let error = refusal(text);
    let SchemaError::NotProtobuf { place: found, reason } = &error else { panic!("{error:?}") };
    assert!(reason.contains(words), "{error}");
    assert_eq!(*found, place, "{error}");
}

#[test]
fn the_first_message_is_what_events_carry() {
    let text = "syntax = 'proto3';
        package shop.v1;
        import 'google/protobuf/timestamp.proto';
        enum Unit { PIECE = 0; }
        message Placed { Line line = 1; google.protobuf.Timestamp at = 2; message Inner {} }
        message Line { string name = 1; }
        service Shop { rpc Place(Placed) returns (Line); }";
    let definition = definition(text);
    assert_eq!(definition.messages[0].name, "shop.v1.Placed");
    let names: Vec<_> = definition.messages.iter().map(|message| &*message.name).collect();
    assert_eq!(names, ["shop.v1.Placed", "shop.v1.Line", "google.protobuf.Timestamp"], "what it needs alone");
}

#[test]
fn a_text_that_is_no_schema_is_refused_with_its_place() {
    refused("", None, "no message");
    refused("syntax = 'proto3'; enum E { A = 0; }", None, "no message");
    refused("message A {\n  required in32 a = 1;\n}", Some((2, 12)), "in32");
    refused("syntax = 'proto3';\nmessage A { int32 a = 1 }", Some((2, 25)), "';'");
    refused("syntax = 'proto3'; message A { int32 a = 1; int32 b = 1; }", Some((1, 55)), "already used");
    refused("syntax = 'proto4'; message A {}", Some((1, 10)), "proto4");
    refused("edition = '2023'; message A {}", Some((1, 1)), "editions");
    refused("message A { optional int32 a = 1 [(mine) = 1]; }", Some((1, 35)), "mine");
    refused("message A { option message_set_wire_format = true; extensions 4 to max; }", None, "`A`");
}

#[test]
fn nothing_but_googles_own_files_is_imported() {
    for import in ["other.proto", "schema.proto", "google/protobuf/none.proto", "etc/passwd"] {
        let text = format!("syntax = 'proto3';\nimport '{import}';\nmessage A {{}}");
        refused(&text, Some((2, 1)), "imports nothing but Google's own files");
    }
    // Those are no names of files at all.
    for import in ["/etc/passwd", "../x.proto"] {
        refusal(&format!("import '{import}'; message A {{}}"));
    }
}

#[test]
fn brackets_are_the_same_for_the_compiler_and_for_the_look_before_it() {
    for (text, place, words) in [
        ("message A {", (1, 12), "within a bracket"),
        ("message A { ] }", (1, 13), "closes none"),
        ("message A {} }", (1, 14), "closes none"),
        ("message A {} /* /* */", (1, 17), "within a comment"),
        ("message A {} /*", (1, 16), "ends within a comment"),
        ("message A {} /*/", (1, 17), "ends within a comment"),
        ("option a = '", (1, 13), "isn't closed"),
        ("option a = '\n';", (1, 13), "isn't closed"),
        ("option a = '\\q';", (1, 13), "escape"),
        ("option a = '\\u12';", (1, 13), "escape"),
        ("option a = '\\\n';", (1, 13), "escape"),
        ("message A { $ }", (1, 13), "no meaning"),
        ("message Ä { }", (1, 9), "no meaning"),
    ] {
        refused(text, Some(place), words);
    }
    for comment in ["// {", "/* { ' */", "/*/ { */", "/** { **/"] {
        definition(&format!("message A {{}} {comment}\n message B {{}}"));
    }
    let named = r#"message A { optional string a = 1 [default = "{\"'\\\x7b\173\u00e4\U0001F600["]; }"#;
    definition(named);
}

fn nested(levels: usize) -> String {
    format!("{}{}", "message A {".repeat(levels), "}".repeat(levels))
}

#[test]
fn a_text_without_bounds_is_refused_before_it_is_compiled() {
    definition(&nested(31));
    refused(&nested(32), Some((1, "message A {".len() * 31 + 1)), "nested");
    for levels in [PROTOBUF_NESTING_MAX + 1, 12_000] {
        let column = "message A {".len() * (PROTOBUF_NESTING_MAX + 1);
        refused(&nested(levels), Some((1, column)), "within one another");
    }
    let fields = |count: usize| {
        let fields: String = (1..=count).map(|number| format!("bool a{number}={number};")).collect();
        format!("syntax='proto3';message A{{{}}}", fields.replace("=19", "=900019"))
    };
    definition(&fields(PROTOBUF_DEFINITIONS_MAX - 1));
    refused(&fields(PROTOBUF_DEFINITIONS_MAX), None, "definitions");
    let long = "a".repeat(PROTOBUF_NAME_BYTES_MAX - 4);
    let many = PROTOBUF_NAMES_BYTES_MAX / PROTOBUF_NAME_BYTES_MAX;
    let within = |count: usize| format!("message A{long} {{ {} }}", "enum B { } ".repeat(count));
    refused(&within(many + 1), None, "the full names of");
    refused(&format!("message Aaa{long} {{ enum B {{}} }}"), None, "the full name of");
    let package = |parts: usize| {
        let parts = vec!["p"; parts].join(".");
        format!("syntax='proto3';package {parts};message A {{A a=1;}}")
    };
    definition(&package(PROTOBUF_NESTING_MAX));
    // Minutes, for a compiler that looks for each name in each of these scopes.
    refused(&package(SCHEMA_BYTES_MAX / 2 - 100), None, "parts");
    let options = "option deprecated = false; ".repeat(PROTOBUF_DEFINITIONS_MAX);
    refused(&format!("message A {{ {options} }}"), None, "options");
    let too_long = Schema::protobuf(format!("message A {{}} //{}", " ".repeat(SCHEMA_BYTES_MAX)));
    assert!(matches!(too_long, Err(SchemaError::Size { .. })), "{too_long:?}");
}

/// Words of the language, in any order.
const WORDS: [&str; 48] = [
    "message",
    "enum",
    "oneof",
    "group",
    "map<",
    ">",
    "extend",
    "extensions",
    "reserved",
    "to",
    "max",
    "option",
    "service",
    "rpc",
    "returns",
    "stream",
    "import",
    "package",
    "syntax",
    "optional",
    "repeated",
    "required",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "=",
    ";",
    ",",
    ".",
    "-",
    "0",
    "1",
    "-1",
    "536870911",
    "19000",
    "9223372036854775808",
    "1e400",
    "'a'",
    "\"\\xff\"",
    "M0",
    "E0",
    "f1",
    "default",
    "json_name",
    "deprecated",
];

#[test]
fn a_changed_text_is_read_or_refused_whatever_the_compiler_does() {
    let config = Config { cases: 4_000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&any::<u64>(), |seed| {
        let mut dice = Dice::of_seed(seed);
        let text = File::random(&mut dice).text();
        let mut words: Vec<&str> = text.split_inclusive([' ', '\n', ';', '{', '}', '[', '=']).collect();
        for _ in 0..=dice.roll(4) {
            let (at, from) = (dice.roll(words.len()), dice.roll(words.len()));
            match dice.roll(4) {
                0 => words[at] = dice.pick::<&str>(&WORDS),
                1 => words.insert(at, dice.pick::<&str>(&WORDS)),
                2 => words[at] = words[from],
                _ => drop(words.remove(at)),
            }
            if words.is_empty() {
                break;
            }
        }
        // Either is right, and a panic that comes through isn't.
        drop(Definition::new(&words.join(" ")));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_panic_of_the_compiler_is_a_refusal() {
    // An assertion of the compiler's, which is there in debug builds alone: others refuse it as a number.
    refusal("message A { extensions 036854775807 to max; }");
}
