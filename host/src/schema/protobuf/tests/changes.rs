//! What a new version may change, rule by rule and in both directions.

use super::definition;
use crate::limits::{SCHEMA_BREAKS_FOUND_MAX, VIOLATION_CHARS_MAX};
use crate::schema::protobuf::breaks;
use crate::schema::rule::Rule;
use crate::schema::{Compatibility, Schema};

type Found = &'static [(&'static str, Rule)];

fn file(body: &str) -> String {
    if body.contains("required") || body.contains("optional") || body.contains("proto2") {
        format!("syntax = 'proto2'; {}", body.replace("proto2;", ""))
    } else {
        format!("syntax = 'proto3'; {body}")
    }
}

/// What is found where the first reads the second.
#[track_caller]
fn read(reader: &str, writer: &str, expected: &[(&str, Rule)]) {
    let found = breaks(&definition(&file(reader)), &definition(&file(writer)));
    let pairs: Vec<_> = found.iter().map(|found| (&*found.path, found.rule)).collect();
    assert_eq!(pairs, expected, "{reader} reads {writer}: {found:#?}");
}

/// What is found where the first reads the second, and the second the first.
#[track_caller]
fn both(one: &str, other: &str, reads: Found, is_read: Found) {
    read(one, other, reads);
    read(other, one, is_read);
    read(one, one, &[]);
    read(other, other, &[]);
}

#[test]
fn fields_come_and_go() {
    both("message A { int32 a = 1; }", "message A { int32 a = 1; B b = 2; } message B {}", &[], &[]);
    both("message A { int32 a = 1; reserved 2; }", "message A { int32 a = 1; string b = 2; }", &[], &[]);
    both("message A { optional int32 a = 1; }", "message B { optional int32 a = 1; }", &[], &[]);
}

#[test]
fn a_number_keeps_its_name_and_a_name_its_number() {
    let renamed: Found = &[("/b", Rule::FieldNameChanged)];
    let back: Found = &[("/a", Rule::FieldNameChanged)];
    both("message A { int32 b = 1; }", "message A { int32 a = 1; }", renamed, back);
    both("message A { string b = 1; }", "message A { int32 a = 1; }", renamed, back);
    let moved: Found = &[("/a", Rule::FieldNumberChanged)];
    both("message A { int32 a = 2; }", "message A { int32 a = 1; }", moved, moved);
}

/// What a type holds all values of, beside itself.
const WIDER: [(&str, &[&str]); 6] = [
    ("int64", &["int32", "uint32", "bool", "O", "C"]),
    ("int32", &["bool", "O", "C"]),
    ("uint64", &["uint32", "bool"]),
    ("uint32", &["bool"]),
    ("sint64", &["sint32"]),
    ("bytes", &["string"]),
];

#[test]
fn a_type_becomes_one_that_holds_all_its_values() {
    let kinds = [
        "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
        "sfixed32", "sfixed64", "bool", "string", "bytes", "O", "C", "M", "G",
    ];
    let text = |kind: &str| {
        let field = match kind {
            "G" => "repeated group F = 1 { optional int32 x = 1; }".to_owned(),
            "M" => "repeated M f = 1; message M {}".to_owned(),
            "C" => "repeated C f = 1; enum C { CZ = 0; CO = 1; }".to_owned(),
            // One of another file that isn't closed.
            "O" => "repeated google.protobuf.NullValue f = 1;".to_owned(),
            kind => format!("repeated {kind} f = 1;"),
        };
        format!("syntax = 'proto2'; import 'google/protobuf/struct.proto'; message A {{ {field} }}")
    };
    for reader in kinds {
        for writer in kinds {
            let found = breaks(&definition(&text(reader)), &definition(&text(writer)));
            let wider = WIDER.iter().find(|(kind, _)| *kind == reader).map_or(&[][..], |(_, held)| *held);
            let is_open = reader == "O" && ["int32", "bool"].contains(&writer);
            let holds = reader == writer || wider.contains(&writer) || is_open;
            // Values of enums have names as well.
            let rule = match (reader, writer) {
                ("O", "C") => Some(Rule::EnumValueNameChanged),
                ("C", "O") => Some(Rule::EnumNarrowed),
                _ => (!holds).then_some(Rule::FieldTypeChanged),
            };
            assert_eq!(found.first().map(|found| found.rule), rule, "{reader} reads {writer}: {found:?}");
        }
    }
}

#[test]
fn one_and_many_are_different() {
    let changed: Found = &[("/a", Rule::FieldCardinalityChanged)];
    both("message A { repeated int32 a = 1; }", "message A { int32 a = 1; }", changed, changed);
    both(
        "message A { map<int32, int32> a = 1; }",
        "message A { repeated E a = 1; message E { int32 key = 1; int32 value = 2; } }",
        changed,
        changed,
    );
    both(
        "message A { repeated int32 a = 1; }",
        "message A { repeated int32 a = 1 [packed = false]; }",
        &[],
        &[],
    );
}

#[test]
fn what_is_required_is_always_written() {
    let added: Found = &[("/a", Rule::RequiredAdded)];
    both("message A { required int32 a = 1; }", "message A { optional int32 a = 1; }", added, &[]);
    both("message A { required int32 a = 1; }", "proto2; message A { }", added, &[]);
    let within: Found = &[("/b/*/a", Rule::RequiredAdded)];
    both(
        "message A { repeated B b = 1; } message B { required int32 a = 1; }",
        "message A { repeated B b = 1; } message B { optional int32 a = 1; }",
        within,
        &[],
    );
}

#[test]
fn what_isnt_written_is_the_same_for_both() {
    let changed: Found = &[("/a", Rule::FieldDefaultChanged)];
    let plain = "message A { optional int32 a = 1; }";
    both(plain, "message A { optional int32 a = 1 [default = 5]; }", changed, changed);
    both(plain, "message A { optional int32 a = 1 [default = 0]; }", &[], &[]);
    both(plain, "message A { int32 a = 1; }", &[], &[]);
    read("message A { optional int32 a = 1 [default = 5]; }", "message A { required int32 a = 1; }", &[]);
    let first = |name| format!("message M {{ optional E a = 1; }} enum E {{ {name} }}");
    read(&first("A = 0; B = 1;"), &first("B = 1; A = 0;"), changed);
}

#[test]
fn a_oneof_keeps_one() {
    let apart = "message A { int32 a = 1; int32 b = 2; }";
    let one = "message A { oneof o { int32 a = 1; int32 b = 2; int32 c = 3; } }";
    both(one, apart, &[("/b", Rule::FieldOneofChanged)], &[]);
    both("message A { oneof o { int32 a = 1; } int32 b = 2; }", apart, &[], &[]);
    let two = "message A { oneof o { int32 a = 1; } oneof p { int32 b = 2; int32 c = 3; } }";
    both(one, two, &[("/b", Rule::FieldOneofChanged), ("/c", Rule::FieldOneofChanged)], &[]);
    both("message A { optional int32 a = 1; optional int32 b = 2; }", apart, &[], &[]);
}

#[test]
fn a_closed_enum_keeps_its_values_and_any_keeps_their_names() {
    let closed = |values: &str| format!("proto2; message M {{ repeated E e = 1; }} enum E {{ {values} }}");
    let open = |values: &str| format!("message M {{ repeated E e = 1; }} enum E {{ {values} }}");
    let narrowed: &[_] = &[("/e", Rule::EnumNarrowed)];
    read(&closed("A = 0;"), &closed("A = 0; B = 1;"), narrowed);
    read(&closed("A = 0; B = 1;"), &closed("A = 0;"), &[]);
    read(&open("A = 0;"), &open("A = 0; B = 1;"), &[]);
    read(&closed("A = 0;"), &open("A = 0;"), narrowed);
    read(&open("A = 0;"), &closed("A = 0;"), &[]);
    let renamed: &[_] = &[("/e", Rule::EnumValueNameChanged)];
    for either in [&closed as &dyn Fn(&str) -> String, &open] {
        read(&either("A = 0; C = 1;"), &either("A = 0; B = 1;"), renamed);
        let alias = "option allow_alias = true; A = 0; C = 1; B = 1;";
        read(&either(alias), &either("A = 0; B = 1;"), &[]);
        read(&either("A = 0; B = 1;"), &either(alias), &[]);
    }
}

#[test]
fn messages_are_compared_by_what_is_in_them() {
    let changed: Found = &[("/b/c/a", Rule::FieldTypeChanged)];
    both(
        "message A { B b = 1; } message B { C c = 1; } message C { int32 a = 1; B b = 2; }",
        "message A { X b = 1; } message X { Y c = 1; } message Y { string a = 1; X b = 2; }",
        changed,
        changed,
    );
    let value: Found = &[("/m/*/value", Rule::FieldTypeChanged)];
    both("message A { map<int32, int32> m = 1; }", "message A { map<int32, string> m = 1; }", value, value);
    let key: Found = &[("/m/*/key", Rule::FieldTypeChanged)];
    both("message A { map<int32, bool> m = 1; }", "message A { map<int64, bool> m = 1; }", key, &[]);
    let recursive = "message A { A a = 1; repeated A l = 2; int64 n = 3; }";
    both(
        recursive,
        "message A { B a = 1; repeated A l = 2; int64 n = 3; } message B { A a = 1; int64 n = 3; }",
        &[],
        &[],
    );
}

#[test]
fn another_language_is_not_comparable() {
    let protobuf = Schema::protobuf("message A {}").unwrap();
    let json = Schema::json("true").unwrap();
    for (new, old) in [(&protobuf, &json), (&json, &protobuf)] {
        let error = Compatibility::Full.check("T", 2, new, [(1, old)]).unwrap_err();
        assert_eq!(error.breaks[0].rule, Rule::NotComparable);
        assert!(
            error.to_string().contains("Protobuf") && error.to_string().contains("JSON Schema"),
            "{error}"
        );
        Compatibility::None.check("T", 2, new, [(1, old)]).unwrap();
    }
}

#[test]
fn a_comparison_is_bounded() {
    // Each of 300 messages leads to all the next ones under another number of messages, so that pairs multiply.
    let text = |step: usize| {
        let message = |at: usize| {
            let fields: String = (1..30)
                .map(|number| format!("M{} f{number} = {number};", (at * step + number) % 300))
                .collect();
            format!("message M{at} {{ {fields} }}")
        };
        (0..300).map(message).collect::<String>()
    };
    let found = breaks(&definition(&file(&text(1))), &definition(&file(&text(7))));
    assert_eq!(found.iter().map(|found| found.rule).collect::<Vec<_>>(), [Rule::NotComparable], "{found:?}");
    let many = |kind: &str| {
        let fields: String = (1..500).map(|number| format!("{kind} f{number} = {number};")).collect();
        format!("message A {{ {fields} }}")
    };
    assert_eq!(
        breaks(&definition(&file(&many("int32"))), &definition(&file(&many("string")))).len(),
        SCHEMA_BREAKS_FOUND_MAX
    );
    let chain = |kind: &str| {
        let long = "n".repeat(100);
        let message = |at: usize| format!("message M{at} {{ M{} {long} = 1; }}", at + 1);
        (0..200).map(message).chain([format!("message M200 {{ {kind} f = 1; }}")]).collect::<String>()
    };
    let found = breaks(&definition(&file(&chain("int32"))), &definition(&file(&chain("string"))));
    assert_eq!(found[0].path.chars().count(), VIOLATION_CHARS_MAX + 1);
}
