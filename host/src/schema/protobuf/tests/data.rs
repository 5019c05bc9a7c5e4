//! What is a message, and what isn't.

use super::{definition, flaw};
use crate::event::{Data, Event, EventBuilder};
use crate::limits::PROTOBUF_DEPTH_MAX;
use crate::schema::protobuf::Definition;

/// A field's key.
fn key(number: u8, wire_type: u8) -> u8 {
    number << 3 | wire_type
}

/// A field with its length.
fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[key(number, 2), u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

#[track_caller]
fn refused(definition: &Definition, bytes: &[u8], path: &str, words: &str) {
    let (found, reason) = flaw(definition, bytes).expect("it is refused");
    assert_eq!(found, path, "{reason}");
    assert!(reason.contains(words), "{reason}");
}

#[track_caller]
fn taken(definition: &Definition, bytes: &[u8]) {
    assert_eq!(flaw(definition, bytes), None);
}

const ORDER: &str = "syntax = 'proto3';
    message Order {
        string name = 1;
        repeated Line lines = 2;
        map<string, Line> named = 3;
        repeated sint32 marks = 4;
        oneof how { int32 cash = 5; Line card = 6; }
        Unit unit = 7;
    }
    message Line { uint32 price = 1; bytes note = 2; fixed32 code = 3; double share = 4; bool paid = 5; Line inner = 6; }
    enum Unit { PIECE = 0; KILO = 1; }";

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let order = definition(ORDER);
    let right = delimited(2, &[key(1, 0), 7]);
    let wrong = delimited(2, &delimited(1, b"secret"));
    taken(&order, &[]);
    taken(&order, &[right.clone(), right.clone()].concat());
    refused(&order, &[right.clone(), right.clone(), wrong.clone()].concat(), "/lines/2/price", "a varint");
    refused(
        &order,
        &delimited(2, &delimited(6, &delimited(6, &[key(5, 0), 2]))),
        "/lines/0/inner/inner/paid",
        "bool",
    );
    refused(&order, &[key(1, 0), 1], "/name", "bytes with their length");
    refused(&order, &delimited(1, &[b'a', 0xff]), "/name", "UTF-8");
    taken(&order, &delimited(2, &delimited(2, &[0xff])));
    refused(&order, &[key(2, 2), 5, key(1, 0)], "/lines/0", "cut off");
    refused(&order, &delimited(2, &[key(3, 5), 1, 2, 3]), "/lines/0/code", "cut off");
    refused(&order, &delimited(2, &[key(4, 1), 1, 2, 3]), "/lines/0/share", "cut off");
    refused(&order, &delimited(2, &[key(1, 0), 0x80]), "/lines/0/price", "cut off");
    refused(&order, &[key(1, 2)], "/name", "cut off");
    refused(&order, &[0x80; 11], "", "64 bits");
    refused(&order, &[0], "", "no field's key");
    refused(&order, &[key(1, 7)], "", "no field's key");
    refused(&order, &[key(1, 4)], "", "hasn't begun");
    refused(&order, &delimited(2, &[key(9, 0), 1]), "/lines/0", "number 9 is no field of `Line`");
}

#[test]
fn entries_of_a_map_are_counted_and_have_a_key_and_a_value() {
    let order = definition(ORDER);
    let entry = |value: &[u8]| delimited(3, &[delimited(1, b"secret"), delimited(2, value)].concat());
    taken(&order, &[entry(&[]), delimited(3, &[])].concat());
    let wrong = [entry(&[]), entry(&[key(1, 5)])].concat();
    refused(&order, &wrong, "/named/1/value/price", "a varint");
    refused(&order, &delimited(3, &delimited(1, &[0xff])), "/named/0/key", "UTF-8");
    refused(&order, &delimited(3, &[key(3, 0), 1]), "/named/0", "number 3");
}

#[test]
fn repeated_numbers_are_packed_or_not_and_counted_in_both() {
    let order = definition(ORDER);
    let packed = delimited(4, &[1, 0xff, 0x01]);
    let single = [key(4, 0), 1];
    taken(&order, &[&packed, &single[..], &packed].concat());
    let too_large = [0xff, 0xff, 0xff, 0xff, 0x7f];
    let wrong = delimited(4, &[&[1][..], &too_large].concat());
    refused(&order, &[&packed, &single[..], &wrong].concat(), "/marks/4", "no room");
    refused(&order, &[key(4, 5), 1, 2, 3, 4], "/marks/0", "four bytes");
}

#[test]
fn a_number_that_its_type_has_no_room_for_is_refused() {
    let kinds = ["int32", "uint32", "sint32", "bool", "Open", "Closed", "int64", "uint64", "sint64"];
    let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    // One, two, -1, 2^31, 2^32 and 2^63 as varints.
    let values: [&[u8]; 6] = [
        &[1],
        &[2],
        &negative,
        &[0x80, 0x80, 0x80, 0x80, 0x08],
        &[0x80, 0x80, 0x80, 0x80, 0x10],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    ];
    for (kind, expected) in kinds.into_iter().zip([
        [true, true, true, false, false, false],
        [true, true, false, true, false, false],
        [true, true, false, true, false, false],
        [true, false, false, false, false, false],
        [true, true, true, false, false, false],
        [true, false, false, false, false, false],
        [true; 6],
        [true; 6],
        [true; 6],
    ]) {
        let (syntax, label) = if kind == "Closed" { ("proto2", "optional") } else { ("proto3", "") };
        let text = format!(
            "syntax = '{syntax}'; message A {{ {label} {kind} a = 1; }} enum Open {{ O = 0; }} enum Closed {{ C = {}; }}",
            u8::from(kind == "Closed")
        );
        let definition = definition(&text);
        let found = values.map(|value| flaw(&definition, &[&[key(1, 0)], value].concat()).is_none());
        assert_eq!(found, expected, "{kind}");
    }
}

#[test]
fn what_is_required_has_to_be_there_of_all_that_was_written_of_a_message() {
    let text = "message A {
            required int32 a = 1;
            optional B b = 2;
            repeated B list = 3;
            map<int32, B> map = 4;
            oneof one { B left = 5; B right = 6; int32 none = 7; }
            optional group Both = 8 { required int32 in = 1; }
        }
        message B { required int32 x = 1; required int32 y = 2; }";
    let definition = definition(text);
    let (a, x, y) = ([key(1, 0), 1], [key(1, 0), 1], [key(2, 0), 1]);
    let (half, whole) = (delimited(2, &x), delimited(2, &[x, y].concat()));
    let with = |rest: &[&[u8]]| [&a[..], &rest.concat()].concat();
    taken(&definition, &with(&[]));
    refused(&definition, &[], "/a", "required");
    taken(&definition, &with(&[&whole]));
    refused(&definition, &with(&[&half]), "/b/y", "required");
    taken(&definition, &with(&[&half, &delimited(2, &y)]));
    refused(
        &definition,
        &with(&[&delimited(3, &[x, y].concat()), &delimited(3, &x)]),
        "/list/1/y",
        "required",
    );
    refused(&definition, &with(&[&delimited(4, &[])]), "/map/0/value/x", "required");
    taken(&definition, &with(&[&delimited(4, &delimited(2, &[x, y].concat()))]));
    // What was written of the one member is gone with the other.
    taken(&definition, &with(&[&delimited(5, &x), &[key(7, 0), 1]]));
    refused(
        &definition,
        &with(&[&delimited(5, &x), &delimited(6, &y), &delimited(5, &y)]),
        "/left/x",
        "required",
    );
    taken(&definition, &with(&[&[key(8, 3)], &x, &[key(8, 4)]]));
    refused(&definition, &with(&[&[key(8, 3), key(8, 4)]]), "/both/in", "required");
    refused(&definition, &with(&[&[key(8, 3)], &x]), "/both", "cut off");
    refused(&definition, &with(&[&[key(8, 3)], &x, &[key(2, 4)]]), "/both", "hasn't begun");
}

#[test]
fn what_is_missing_is_found_among_many_messages_of_many_fields() {
    let fields: String = (2..9_000).map(|number| format!("optional int32 f{number} = {number};")).collect();
    let wide = definition(&format!(
        "message A {{ repeated B b = 1; }} message B {{ {fields} required bool last = 9000; }}"
    ));
    let last = [0xc0, 0xb2, 0x04, 1];
    let one = delimited(1, &last);
    let many = one.repeat(100_000);
    taken(&wide, &many);
    refused(&wide, &[&many[..], &delimited(1, &[])].concat(), "/b/100000/last", "required");
}

/// A tree of so many levels, of which the leaf on the right may lack something.
fn tree(levels: usize, is_whole: bool) -> Vec<u8> {
    let node: &[u8] = if is_whole || levels > 0 { &[key(1, 0), 1] } else { &[] };
    if levels == 0 {
        return node.to_vec();
    }
    let side = |number: u8, is_whole: bool| {
        let inner = tree(levels - 1, is_whole);
        let seven = |shift: usize| u8::try_from(inner.len() >> shift & 0x7f).unwrap();
        [&[key(number, 2), seven(0) | 0x80, seven(7) | 0x80, seven(14)][..], &inner].concat()
    };
    [node, &side(2, true), &side(3, is_whole)].concat()
}

#[test]
fn what_is_missing_is_found_in_a_tree_of_messages() {
    let deep = definition("message T { required bool v = 1; optional T l = 2; optional T r = 3; }");
    taken(&deep, &tree(15, true));
    refused(&deep, &tree(15, false), &format!("{}/v", "/r".repeat(15)), "required");
}

#[test]
fn extensions_that_the_schema_declares_are_fields() {
    let text = "package p; message A { extensions 10 to 12; } extend A { optional int32 ten = 10; }";
    let definition = definition(text);
    taken(&definition, &[key(10, 0), 1]);
    refused(&definition, &[key(10, 5), 1], "/[p.ten]", "a varint");
    refused(&definition, &[key(11, 0), 1], "", "number 11");
}

#[test]
fn depth_is_bounded_as_in_other_libraries() {
    let text = "syntax = 'proto3'; message A { A a = 1; }";
    let definition = definition(text);
    let nested = |levels: usize| {
        (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
            let len = inner.len();
            let len = if len < 128 {
                vec![u8::try_from(len).unwrap()]
            } else {
                vec![u8::try_from(len & 0x7f).unwrap() | 0x80, u8::try_from(len >> 7).unwrap()]
            };
            [vec![key(1, 2)], len, inner].concat()
        })
    };
    taken(&definition, &nested(PROTOBUF_DEPTH_MAX));
    let (path, reason) = flaw(&definition, &nested(PROTOBUF_DEPTH_MAX + 1)).unwrap();
    assert!(reason.contains("too deep") && path == "/a".repeat(PROTOBUF_DEPTH_MAX + 1), "{path}: {reason}");
}

#[test]
fn an_events_data_is_bytes_of_a_media_type_of_protobuf() {
    let definition = definition("syntax = 'proto3'; message A { string a = 1; }");
    let event = |media_type: Option<&str>, data: Option<Data>| {
        let event = Event::new("1", "/s", "A.v1").data(data);
        let event = media_type.into_iter().fold(event, EventBuilder::datacontenttype);
        definition.check(&event.build().unwrap()).map_err(|violation| violation.reason)
    };
    let bytes = || Some(Data::Binary(delimited(1, b"a")));
    for name in ["application/protobuf", "application/x-protobuf; a=b", "application/vnd.google.protobuf"] {
        assert_eq!(event(Some(name), bytes()), Ok(()), "{name}");
    }
    assert_eq!(event(Some("application/protobuf"), Some(Data::Binary(Vec::new()))), Ok(()));
    for (media_type, data, words) in [
        (None, bytes(), "datacontenttype"),
        (Some("application/octet-stream"), bytes(), "datacontenttype"),
        (Some("application/protobuf"), Some(Data::Text("a".to_owned())), "text"),
        (None, Some(Data::Json("{}".to_owned())), "text"),
        (Some("application/protobuf"), None, "no data"),
    ] {
        let reason = event(media_type, data).unwrap_err();
        assert!(reason.contains(words), "{reason}");
    }
}
