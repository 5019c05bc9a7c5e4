//! What crosses the border to a plugin and back.

use serde_json::json;
use tidegate::Event;

use crate::house::{House, all, at_once, guest, topic};
use crate::samples::events_of_all_kinds;

/// All that a plugin hands on: id and source are the host's, and so is what tells of the cause.
fn content(event: &Event) -> impl PartialEq + std::fmt::Debug + use<> {
    let given = ["causationid", "correlationid", "traceparent", "tracestate"];
    let extensions = event.extensions().filter(|(name, _)| !given.contains(name));
    let extensions: Vec<_> = extensions.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let optional = [event.subject(), event.time(), event.datacontenttype(), event.dataschema()];
    let optional = optional.map(|text| text.map(str::to_owned));
    (event.kind().to_owned(), optional, extensions, event.data().cloned())
}

#[test]
fn an_event_reaches_a_plugin_that_fetches_it_and_comes_back_with_everything_it_has() {
    comes_back_whole("echo");
}

#[test]
fn an_event_reaches_a_plugin_that_is_called_and_comes_back_with_everything_it_has() {
    comes_back_whole("typed");
}

#[track_caller]
fn comes_back_whole(component: &str) {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    let mut events = events_of_all_kinds();
    // The host gives a time to what a plugin publishes without one.
    events.retain(|event| event.time().is_some());
    bus.publish_all(events.iter().map(|event| ("in", event.clone())).collect()).unwrap();
    let echo = guest(component).settings(json!({ "topic": "out" }).to_string());
    bus.subscribe_plugin("c", at_once(), echo).unwrap();
    bus.caught_up("c").unwrap();
    let came = all(&bus, "out");
    assert_eq!(came.len(), events.len());
    // Topics of the tests have one partition, so they come in their order.
    for (record, event) in came.iter().zip(&events) {
        assert_eq!(content(&record.event), content(event));
    }
}
