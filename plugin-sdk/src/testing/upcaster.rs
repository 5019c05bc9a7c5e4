use serde::Serialize;

use super::delivery;
use crate::{Event, Outgoing, Refusal, Settings, Upcaster};

/// The event that comes of this one by an upcaster without settings, as the host lifts it: once, or as often as one lift leads to
/// the type that another one lifts. An event without an id gets `1`, one without a source `/test`.
///
/// ```
/// use tidegate_plugin::{Event, Lifts, Outgoing, Raw, Refusal, Settings, Upcaster, testing};
///
/// struct Labels;
///
/// impl Upcaster for Labels {
///     const NAME: &'static str = "labels";
///
///     fn lifts(_: &Settings) -> Result<Lifts, Refusal> {
///         Ok(Lifts::new().lift("Label.v1", "Label.v2", |event: Event<String>| Ok([event.data])))
///     }
/// }
///
/// let lifted = testing::lift::<Labels>(Outgoing::new("Label.v1").json("fragile")?)?;
/// assert_eq!(lifted.data, Raw::Json(r#"["fragile"]"#.into()));
/// let refusal = testing::lift::<Labels>(Outgoing::new("Label.v1").json(&[1])?).unwrap_err();
/// assert_eq!(refusal.code, "bad-data");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The upcaster refuses the event, or to start.
pub fn lift<U: Upcaster>(event: Outgoing) -> Result<Event, Refusal> {
    lift_with::<U>(&serde_json::Map::new(), event)
}

/// The same by an upcaster with settings.
///
/// ```
/// use tidegate_plugin::serde_json::json;
/// use tidegate_plugin::{Outgoing, Upcaster, testing};
///
/// /// What an upcaster makes of an order where prices were in dollars.
/// fn in_dollars<U: Upcaster>(order: Outgoing) {
///     let lifted = testing::lift_with::<U>(&json!({ "currency": "USD" }), order);
///     assert!(lifted.is_ok(), "{lifted:?}");
/// }
/// ```
///
/// # Errors
///
/// The upcaster refuses the event, or to start with these settings.
///
/// # Panics
///
/// The settings can't be written as JSON, or a lift doesn't end, as it leads back to an earlier type: the test is wrong, or the
/// upcaster is.
#[track_caller]
pub fn lift_with<U: Upcaster>(settings: &impl Serialize, event: Outgoing) -> Result<Event, Refusal> {
    let settings = match serde_json::to_string(settings) {
        Ok(json) => Settings::new(json),
        Err(error) => panic!("these settings can't be written as JSON: {error}"),
    };
    let lifts = U::lifts(&settings)?;
    let mut event = delivery(event).event;
    let mut left = lifts.len();
    while let Some((_, to)) = lifts.steps().find(|(from, _)| *from == event.event_type) {
        assert!(left > 0, "lifts lead back to {}", event.event_type);
        left -= 1;
        let to = to.to_owned();
        let lifted = lifts.apply(event.clone())?;
        event.event_type = to;
        event.datacontenttype = lifted.datacontenttype;
        event.dataschema = lifted.dataschema;
        event.data = lifted.data;
    }
    Ok(event)
}
