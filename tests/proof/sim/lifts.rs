//! Upcasters in the way of all consumers, and what each delivery has to look like for that.

use tidegate::upcast::Lifted;
use tidegate::{Bus, Data, Event, UpcasterError};

/// An upcaster: its name, what it lifts from and to, and the byte that it adds to the data.
type Step = (&'static str, &'static str, &'static str, u8);

/// All of them, a chain.
const STEPS: [Step; 2] =
    [("first", "Happened.v1", "Happened.v2", 0xf1), ("second", "Happened.v2", "Happened.v3", 0xf2)];

/// The type that is published, and the one that consumers see.
pub const PUBLISHED: &str = STEPS[0].1;
const SEEN: &str = STEPS[STEPS.len() - 1].2;

/// Adds the upcasters to a bus that has none yet.
///
/// # Errors
///
/// The bus refuses them.
pub async fn add(bus: &Bus) -> Result<(), UpcasterError> {
    for (name, from, to, mark) in STEPS {
        let lift = move |event: &Event| {
            let data = event.data().map(Data::as_bytes).unwrap_or_default();
            let data = Some(Data::Binary([data, &[mark]].concat()));
            Ok(Lifted { datacontenttype: event.datacontenttype().map(str::to_owned), dataschema: None, data })
        };
        bus.add_upcaster(name, from, to, lift).await?;
    }
    Ok(())
}

/// What was published of an event that a consumer was handed.
///
/// # Errors
///
/// It isn't of the latest version, or has not gone through each upcaster once.
pub fn published(seen: &Event) -> Result<Event, String> {
    if !STEPS.iter().any(|(_, from, to, _)| [*from, *to].contains(&seen.kind())) {
        return Ok(seen.clone());
    }
    let mut parts = seen.clone().into_parts();
    let is_latest = std::mem::replace(&mut parts.kind, PUBLISHED.to_owned()) == SEEN;
    let is_marked = match &mut parts.data {
        Some(Data::Binary(data)) => STEPS.iter().rev().all(|(.., mark)| data.pop() == Some(*mark)),
        _ => false,
    };
    match Event::try_from(parts) {
        Ok(event) if is_latest && is_marked => Ok(event),
        _ => Err(format!("an event was handed over that isn't lifted to {SEEN}, once: {seen:?}")),
    }
}
