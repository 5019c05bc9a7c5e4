use super::*;
use crate::clock::Timestamp;
use crate::event::parts::RESERVED;
use crate::limits::{ATTRIBUTE_BYTES_MAX, ATTRIBUTE_NAME_BYTES_MAX, EVENT_BYTES_CEILING, EXTENSIONS_MAX};

fn valid() -> EventParts {
    EventParts { id: "1".to_owned(), source: "/s".to_owned(), kind: "t".to_owned(), ..EventParts::default() }
}

/// What refuses the valid event once `change` has made it wrong.
fn refusal(change: impl FnOnce(&mut EventParts)) -> EventError {
    let mut parts = valid();
    change(&mut parts);
    Event::try_from(parts).expect_err("the change makes it wrong")
}

fn extension(name: &str, value: impl Into<Attribute>) -> impl FnOnce(&mut EventParts) {
    let extension = (name.to_owned(), value.into());
    |parts| parts.extensions.push(extension)
}

#[test]
fn the_key_is_the_partition_key_else_the_subject_else_the_id() {
    let event = Event::new("1", "/s", "t").build().unwrap();
    assert_eq!(event.key(), "1");
    let event = Event::new("1", "/s", "t").subject("s").build().unwrap();
    assert_eq!(event.key(), "s");
    let event = Event::new("1", "/s", "t").subject("s").extension("partitionkey", "p").build().unwrap();
    assert_eq!(event.key(), "p");
}

#[test]
fn the_builder_sets_each_attribute() {
    let event = Event::new("1", "/s", "t")
        .subject("what")
        .at(Timestamp(1_517_356_800_000_001))
        .dataschema("urn:schema")
        .extension("b", 1)
        .extension("a", true)
        .text("text/plain", "hello")
        .build()
        .unwrap();
    assert_eq!((event.id(), event.source(), event.kind()), ("1", "/s", "t"));
    assert_eq!(event.subject(), Some("what"));
    assert_eq!(event.time(), Some("2018-01-31T00:00:00.000001Z"));
    assert_eq!(event.datacontenttype(), Some("text/plain"));
    assert_eq!(event.dataschema(), Some("urn:schema"));
    assert_eq!(event.data(), Some(&Data::Text("hello".to_owned())));
    assert_eq!(event.extensions().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(event.extension("b"), Some(&Attribute::Integer(1)));
    assert_eq!(event.extension("c"), None);
    assert_eq!(event.into_parts().extensions.len(), 2);
}

#[test]
fn values_are_written_as_json() {
    let event = Event::new("1", "/s", "t").json(&("a", 1)).build().unwrap();
    assert_eq!(event.data(), Some(&Data::Json(r#"["a",1]"#.to_owned())));
    assert_eq!(event.data_as::<(&str, u8)>().unwrap(), ("a", 1));
    let no_keys_of_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = Event::new("1", "/s", "t").json(&no_keys_of_json).build().unwrap_err();
    assert!(matches!(error, EventError::Data(_)), "{error}");
}

#[test]
fn a_wrong_attribute_is_refused_by_its_name() {
    let long = || "x".repeat(ATTRIBUTE_BYTES_MAX + 1);
    for (name, error) in [
        ("id", refusal(|parts| parts.id.clear())),
        ("id", refusal(|parts| parts.id = "a\u{85}".to_owned())),
        ("id", refusal(|parts| parts.id = long())),
        ("source", refusal(|parts| parts.source.clear())),
        ("source", refusal(|parts| parts.source = "a b".to_owned())),
        ("source", refusal(|parts| parts.source = long())),
        ("type", refusal(|parts| parts.kind.clear())),
        ("type", refusal(|parts| parts.kind = "\u{FFFF}".to_owned())),
        ("type", refusal(|parts| parts.kind = long())),
        ("subject", refusal(|parts| parts.subject = Some(String::new()))),
        ("subject", refusal(|parts| parts.subject = Some(long()))),
        ("time", refusal(|parts| parts.time = Some("2018".to_owned()))),
        ("datacontenttype", refusal(|parts| parts.datacontenttype = Some("x".to_owned()))),
        ("dataschema", refusal(|parts| parts.dataschema = Some("x".to_owned()))),
        ("dataschema", refusal(|parts| parts.dataschema = Some(String::new()))),
        ("ext", refusal(extension("ext", long()))),
        ("ext", refusal(extension("ext", vec![0; ATTRIBUTE_BYTES_MAX]))),
        ("ext", refusal(extension("ext", Attribute::Uri("/relative".to_owned())))),
        ("ext", refusal(extension("ext", Attribute::UriReference("a b".to_owned())))),
        ("ext", refusal(extension("ext", Attribute::Timestamp("noon".to_owned())))),
        ("partitionkey", refusal(extension("partitionkey", ""))),
        ("partitionkey", refusal(extension("partitionkey", 5))),
        ("partitionkey", refusal(extension("partitionkey", Attribute::Uri("urn:x".to_owned())))),
        ("data", refusal(|parts| parts.data = Some(Data::Json("{} {}".to_owned())))),
    ] {
        assert_eq!(error.attribute(), name, "{error}");
    }
}

#[test]
fn names_of_extensions_are_of_lower_case_letters_and_digits_and_free() {
    for name in ["", "A", "a_b", "a-b", "é", "a b", &"x".repeat(ATTRIBUTE_NAME_BYTES_MAX + 1)]
        .into_iter()
        .chain(RESERVED)
    {
        let error = refusal(extension(name, "x"));
        assert!(matches!(error, EventError::Name { .. }), "{name}: {error}");
    }
    for name in ["a", "0", &"x".repeat(ATTRIBUTE_NAME_BYTES_MAX)] {
        assert!(Event::new("1", "/s", "t").extension(name, "x").build().is_ok(), "{name}");
    }
}

#[test]
fn an_extension_is_given_once_and_their_number_is_bounded() {
    let twice = Event::new("1", "/s", "t").extension("a", 1).extension("b", 1).extension("a", 2).build();
    assert_eq!(twice, Err(EventError::Duplicate { attribute: "a".to_owned() }));
    let many = refusal(|parts| {
        parts.extensions = (0..=EXTENSIONS_MAX).map(|at| (format!("e{at}"), Attribute::from(1))).collect();
    });
    assert_eq!(many, EventError::TooManyExtensions { count: EXTENSIONS_MAX + 1, count_max: EXTENSIONS_MAX });
}

#[test]
fn data_is_what_the_media_type_says() {
    let event = |media_type: Option<&str>, data: Data| {
        Event::try_from(EventParts {
            datacontenttype: media_type.map(str::to_owned),
            data: Some(data),
            ..valid()
        })
        .map_err(|error| error.attribute().to_owned())
    };
    let (json, text) = (Data::Json("1".to_owned()), Data::Text("1".to_owned()));
    for media_type in [None, Some("application/json"), Some("application/x+json; a=b")] {
        assert!(event(media_type, json.clone()).is_ok());
        assert_eq!(event(media_type, text.clone()), Err("datacontenttype".to_owned()));
        assert!(event(media_type, Data::Binary(vec![1])).is_ok());
    }
    assert_eq!(event(Some("text/plain"), json), Err("datacontenttype".to_owned()));
    assert!(event(Some("text/plain"), text).is_ok());
    assert!(event(Some("text/plain"), Data::Binary(vec![1])).is_ok());
}

#[test]
fn json_data_is_kept_but_for_the_space_around_it() {
    let event = Event::new("1", "/s", "t").json_text(" {\"a\" : 1.0}\n").build().unwrap();
    assert_eq!(event.data(), Some(&Data::Json("{\"a\" : 1.0}".to_owned())));
}

#[test]
fn an_event_over_the_ceiling_is_refused_whatever_the_bus_allows() {
    let error = refusal(|parts| parts.data = Some(Data::Binary(vec![0; EVENT_BYTES_CEILING])));
    assert!(matches!(error, EventError::TooLarge { bytes_max: EVENT_BYTES_CEILING, .. }), "{error}");
}

#[test]
fn an_extension_is_added_only_where_it_is_missing() {
    let mut parts = valid();
    parts.add_extension("a", || Attribute::from(1));
    parts.add_extension("a", || unreachable!("it is there"));
    assert_eq!(parts.extensions, [("a".to_owned(), Attribute::from(1))]);
}

#[test]
fn an_accepted_event_is_given_back_whatever_the_rules_are_now() {
    let texts = Texts::new([Some("1"), Some("/s"), Some("t"), Some(""), None, None, None]);
    let extensions = vec![("b".to_owned(), Attribute::from(1)), ("a".to_owned(), Attribute::from(2))];
    let event = Event::from_accepted(texts, extensions, None);
    assert_eq!(event.subject(), Some(""));
    assert_eq!(event.extension("a"), Some(&Attribute::from(2)));
}
