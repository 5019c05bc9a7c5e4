use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MAX: usize = 1 << 20;

/// A line of the demo's input, with one digit more that a parser of floating point would drop.
const QUAKE: &str = r#"{"specversion": "1.0", "id": "ak18247005", "source": "//earthquake.usgs.gov/feed/ak", "type": "gov.usgs.quake.v1", "subject": "ak18247005", "time": "2018-01-31T02:23:11.235Z", "datacontenttype": "application/json", "partitionkey": "ak", "data": {"place": "81km WNW of Skagway, Alaska", "mag": 2.30, "magType": "ml", "time": "2018-01-31T02:18:21.235Z", "longitude": -136.5559, "latitude": 59.8411, "depth_km": 0, "status": "automatic", "tsunami": 0, "sig": 81, "felt": null, "kind": "earthquake"}}"#;

fn with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#)
}

fn read(members: &str) -> Event {
    Event::from_json(with(members), MAX).unwrap_or_else(|error| panic!("{members}: {error}"))
}

/// The attribute that a refusal names, and the refusal.
fn refused(members: &str) -> (String, String) {
    let error = Event::from_json(with(members), MAX).expect_err(members);
    (error.attribute().to_owned(), error.to_string())
}

#[test]
fn a_real_event_keeps_its_data_to_the_byte_and_its_meaning() {
    let event = Event::from_json(QUAKE, MAX).unwrap();
    assert_eq!(event.id(), "ak18247005");
    assert_eq!(event.source(), "//earthquake.usgs.gov/feed/ak");
    assert_eq!(event.kind(), "gov.usgs.quake.v1");
    assert_eq!(event.key(), "ak");
    assert_eq!(event.time(), Some("2018-01-31T02:23:11.235Z"));
    let data_at = QUAKE.find(r#"{"place""#).unwrap();
    assert_eq!(event.data(), Some(&Data::Json(QUAKE[data_at..QUAKE.len() - 1].to_owned())));
    let (before, after): (Value, Value) =
        (serde_json::from_str(QUAKE).unwrap(), serde_json::from_str(&event.to_json()).unwrap());
    assert_eq!(before, after);
    assert_eq!(Event::from_json(event.to_json(), MAX), Ok(event));
}

#[test]
fn data_is_a_json_value_unless_the_media_type_says_otherwise() {
    for value in ["null", "true", "-0.0", "1e400", r#""I'm just a string""#, r#"{"a" :\n[ 1 ]}"#] {
        let value = value.replace("\\n", "\n");
        for declared in
            ["", r#","datacontenttype":"application/json""#, r#","datacontenttype":"x/y+JSON; v=1""#]
        {
            let event = read(&format!(r#"{declared},"data": {value} "#));
            assert_eq!(event.data(), Some(&Data::Json(value.clone())));
        }
    }
}

#[test]
fn data_of_other_media_types_is_the_text_in_a_string() {
    let event = read(r#","datacontenttype":"application/xml","data":"<much wow=\"xml\"/>\u000a\u0007""#);
    assert_eq!(event.data(), Some(&Data::Text("<much wow=\"xml\"/>\n\u{7}".to_owned())));
    assert!(event.to_json().ends_with(r#","data":"<much wow=\"xml\"/>\n\u0007"}"#), "{}", event.to_json());
    assert_eq!(read(r#","datacontenttype":"text/plain","data":null"#).data(), None);
    for value in ["{}", "[1]", "1", "true"] {
        let (attribute, message) = refused(&format!(r#","datacontenttype":"text/plain","data":{value}"#));
        assert_eq!(attribute, "data", "{message}");
    }
}

#[test]
fn bytes_are_strict_base64() {
    let event = read(r#","datacontenttype":"image/png","data_base64":"AAH/""#);
    assert_eq!(event.data(), Some(&Data::Binary(vec![0, 1, 255])));
    assert!(event.to_json().ends_with(r#""data_base64":"AAH/"}"#));
    assert_eq!(read(r#","data_base64":"""#).data(), Some(&Data::Binary(Vec::new())));
    assert_eq!(read(r#","data_base64":null"#).data(), None);
    for text in ["A", "AA", "AA=", "AB==", "AA==\\n", "A A=", "_-8=", "AAAA=", "AA==AA==", "AAA=AAA="] {
        assert_eq!(refused(&format!(r#","data_base64":"{text}""#)).0, "data_base64", "{text}");
    }
    assert_eq!(refused(r#","data_base64":5"#).0, "data_base64");
}

#[test]
fn data_and_data_base64_exclude_each_other() {
    assert_eq!(refused(r#","data":1,"data_base64":"AA==""#).0, "data_base64");
    assert_eq!(refused(r#","data":null,"data_base64":"AA==""#).0, "data_base64");
    assert_eq!(read(r#","data":1,"data_base64":null"#).data(), Some(&Data::Json("1".to_owned())));
}

#[test]
fn a_missing_required_attribute_is_named() {
    for name in ["specversion", "id", "source", "type"] {
        for replacement in [None, Some(Value::Null)] {
            let mut object = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
            match replacement {
                None => drop(object.as_object_mut().unwrap().remove(name)),
                Some(null) => object[name] = null,
            }
            let error = Event::from_json(object.to_string(), MAX).unwrap_err();
            assert!(matches!(error, EventError::Missing { attribute } if attribute == name), "{error}");
        }
        let mut object = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
        for wrong in [json!(""), json!(1), json!({}), json!("\u{1}")] {
            object[name] = wrong;
            assert_eq!(Event::from_json(object.to_string(), MAX).unwrap_err().attribute(), name);
        }
    }
}

#[test]
fn another_specversion_is_refused() {
    for version in ["0.3", "1.0.2", "2.0", "1", ""] {
        let text = format!(r#"{{"specversion":"{version}","id":"1","source":"/s","type":"t"}}"#);
        assert_eq!(Event::from_json(text, MAX).unwrap_err().attribute(), "specversion");
    }
}

#[test]
fn a_wrong_attribute_is_refused_by_its_name() {
    for (members, name) in [
        (r#","subject":"""#, "subject"),
        (r#","subject":7"#, "subject"),
        (r#","subject":"a\u0000""#, "subject"),
        (r#","subject":"\uDEAD""#, "subject"),
        (r#","subject":"\uFFFE""#, "subject"),
        (r#","time":"yesterday""#, "time"),
        (r#","datacontenttype":"json""#, "datacontenttype"),
        (r#","dataschema":"""#, "dataschema"),
        (r#","dataschema":"/relative""#, "dataschema"),
        (r#","partitionkey":"""#, "partitionkey"),
        (r#","partitionkey":5"#, "partitionkey"),
        (r#","sequence":"""#, "sequence"),
        (r#","ext":{}"#, "ext"),
        (r#","ext":[1]"#, "ext"),
        (r#","ext":1.0"#, "ext"),
        (r#","ext":1e3"#, "ext"),
        (r#","ext":2147483648"#, "ext"),
        (r#","Ext":"x""#, "Ext"),
        (r#","my_ext":"x""#, "my_ext"),
        (r#","":"x""#, ""),
    ] {
        let (attribute, message) = refused(members);
        assert_eq!(attribute, name, "{members}: {message}");
    }
}

#[test]
fn extension_values_have_their_json_types() {
    let event = read(r#","b":true,"i":-2147483648,"s":"5","z":0,"n":null,"a":"\ud834\udd1e""#);
    let found: Vec<_> = event.extensions().map(|(name, value)| (name, value.clone())).collect();
    let expected = [
        ("a", Attribute::from("𝄞")),
        ("b", Attribute::from(true)),
        ("i", Attribute::from(i32::MIN)),
        ("s", Attribute::from("5")),
        ("z", Attribute::from(0)),
    ];
    assert_eq!(found, expected);
    let expected = r#","a":"𝄞","b":true,"i":-2147483648,"s":"5","z":0}"#;
    assert!(event.to_json().ends_with(expected), "{}", event.to_json());
}

#[test]
fn a_member_that_stands_there_twice_is_refused() {
    for members in
        [r#","id":"2""#, r#","id":null"#, r#","x":1,"x":1"#, r#","data":1,"data":1"#, r#","\u0069d":"2""#]
    {
        let error = Event::from_json(with(members), MAX).unwrap_err();
        assert!(matches!(error, EventError::Duplicate { .. }), "{members}: {error}");
    }
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        "7",
        "{",
        "{}x",
        "{'id':1}",
        "\u{feff}{}",
        r#"{"id":"a" "b":1}"#,
        "{\"id\":\"\n\"}",
    ] {
        let error = Event::from_json(text, MAX).unwrap_err();
        assert!(matches!(error, EventError::Json(_) | EventError::Missing { .. }), "{text}: {error}");
    }
    let mut text = with(r#","data":"?""#).into_bytes();
    let at = text.iter().position(|b| *b == b'?').unwrap();
    text[at] = 0xFF;
    assert!(matches!(Event::from_json(text, MAX), Err(EventError::Json(_))), "text that is not UTF-8");
}

#[test]
fn nesting_without_end_neither_overflows_the_stack_nor_is_lost() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let event = read(&format!(r#","data":{deep}"#));
    assert_eq!(event.data(), Some(&Data::Json(deep.clone())));
    assert!(event.data_as::<Value>().is_err(), "reading it as a value would need the stack");
    assert_eq!(Event::from_json(event.to_json(), MAX), Ok(event));

    let open = "[".repeat(100_000);
    assert!(matches!(Event::from_json(&open, MAX), Err(EventError::Json(_))));
    assert!(matches!(Event::from_json(with(&format!(r#","data":{open}"#)), MAX), Err(EventError::Json(_))));
    assert_eq!(refused(&format!(r#","ext":{deep}"#)).0, "ext");
}

fn extensions(count: usize) -> String {
    (0..count).map(|at| [",\"e", &at.to_string(), "\":1"].concat()).collect()
}

#[test]
fn many_members_are_refused_without_being_kept() {
    let many = extensions(100_000);
    let error = Event::from_json(with(&many), MAX).unwrap_err();
    assert_eq!(error, EventError::TooManyExtensions { count: 99_994, count_max: EXTENSIONS_MAX });
    let text = with(&many);
    let members: Members<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!((members.kept.len(), members.count), (MEMBERS_MAX, 100_004));
    let at_most = extensions(EXTENSIONS_MAX);
    assert_eq!(read(&at_most).extensions().len(), EXTENSIONS_MAX);
}

#[test]
fn the_size_is_bounded() {
    let event = read(r#","data":"0123456789""#);
    assert_eq!(event.size(), "id1source/stypet".len() + r#""0123456789""#.len());
    let text = event.to_json();
    assert!(Event::from_json(&text, event.size()).is_ok());
    let error = Event::from_json(&text, event.size() - 1).unwrap_err();
    assert_eq!(error, EventError::TooLarge { bytes: event.size(), bytes_max: event.size() - 1 });
}

#[test]
fn a_line_has_no_line_break() {
    let event = read(",\"data\":{\r\n\"a\":\n\"x\\ny\"}");
    assert_eq!(event.to_json_line(), with(r#","data":{  "a": "x\ny"}"#));
}

#[test]
fn values_are_read_from_json_data_alone() {
    #[derive(serde::Deserialize)]
    struct Quake<'a> {
        place: &'a str,
        mag: f64,
    }
    let event = Event::from_json(QUAKE, MAX).unwrap();
    let quake: Quake<'_> = event.data_as().unwrap();
    assert_eq!((quake.place, quake.mag), ("81km WNW of Skagway, Alaska", 2.3));
    let bytes = Event::new("1", "/s", "t").binary("application/json", b"[1]".to_vec()).build().unwrap();
    assert_eq!(bytes.data_as::<Vec<u8>>().unwrap(), [1]);
    assert!(read("").data_as::<Value>().is_err());
    assert!(read(r#","datacontenttype":"text/plain","data":"1""#).data_as::<Value>().is_err());
}

fn text() -> impl Strategy<Value = String> {
    r#"[ -~\u{A0}-\u{2FF}☃𝄞"\\]{1,12}"#
}

fn attribute_value() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        any::<bool>().prop_map(Attribute::from),
        any::<i32>().prop_map(Attribute::from),
        text().prop_map(Attribute::from)
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn data() -> impl Strategy<Value = (Option<String>, Option<Data>)> {
    let json = (value(), any::<bool>()).prop_map(|(value, pretty)| {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        Some(Data::Json(text.unwrap()))
    });
    prop_oneof![
        (prop::option::of("(text|application)/(vnd\\.x\\+)?json(; v=1)?"), json),
        ("text/[a-z]{1,8}".prop_map(Some), any::<String>().prop_map(|text| Some(Data::Text(text)))),
        (
            prop::option::of("[a-z]{1,8}/[a-z]{1,8}"),
            any::<Vec<u8>>().prop_map(|bytes| Some(Data::Binary(bytes)))
        ),
        (Just(None), Just(None)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let extensions = prop::collection::btree_map("x[a-z0-9]{0,12}", attribute_value(), 0..6);
    (
        text(),
        "[a-z]{1,8}(:[a-z0-9/%&=?#]{0})?(/[A-Za-z0-9._~]{0,8}){0,3}",
        text(),
        prop::option::of(text()),
        extensions,
        data(),
    )
        .prop_map(|(id, source, kind, subject, extensions, (datacontenttype, data))| {
            let parts = EventParts {
                id,
                source,
                kind,
                subject,
                time: None,
                datacontenttype,
                dataschema: None,
                extensions: extensions.into_iter().collect(),
                data,
            };
            Event::try_from(parts).unwrap()
        })
}

proptest! {
    #[test]
    fn every_event_comes_back_from_json_as_it_was(event in event()) {
        let text = event.to_json();
        let _: Value = serde_json::from_str(&text).unwrap();
        let back = Event::from_json(&text, MAX).unwrap();
        prop_assert_eq!(back.size(), event.size());
        prop_assert_eq!(&back, &event);
        prop_assert_eq!(Event::try_from(event.clone().into_parts()), Ok(event.clone()));
        let line = event.to_json_line();
        prop_assert!(!line.contains('\n'));
        let _: Value = serde_json::from_str(&line).unwrap();
    }

    #[test]
    fn types_that_json_writes_as_strings_come_back_as_text_of_the_same_size(bytes in any::<Vec<u8>>()) {
        let event = Event::new("1", "/s", "t")
            .extension("bytes", bytes)
            .extension("schema", Attribute::Uri("urn:x".to_owned()))
            .extension("dataref", Attribute::UriReference("/x".to_owned()))
            .extension("recordedtime", crate::clock::Timestamp(1))
            .build()
            .unwrap();
        let back = Event::from_json(event.to_json(), MAX).unwrap();
        prop_assert_eq!(back.size(), event.size());
        for ((name, before), (other, after)) in event.extensions().zip(back.extensions()) {
            prop_assert_eq!((name, before.to_string()), (other, after.to_string()));
            prop_assert!(matches!(after, Attribute::Text(_)));
        }
    }

    #[test]
    fn no_input_makes_reading_fail_other_than_with_an_error(bytes in any::<Vec<u8>>(), text in r#"[{}\[\]",:a-z0-9\\ue-]{0,40}"#) {
        let _ = Event::from_json(bytes, MAX);
        let _ = Event::from_json(with(&text), MAX);
        let _ = Event::from_json(text, MAX);
    }
}
