//! What caused an event: correlation, causation and trace, as they go on from a cause to its effects.

use std::borrow::Cow;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::{Attribute, Event, EventParts};

const CAUSATION: &str = "causationid";
const CORRELATION: &str = "correlationid";
/// What an event belongs to whose effect begins a correlation of its own.
const PARENT_CORRELATION: &str = "parentcorrelationid";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What an event hands on to those that it causes.
#[derive(Clone, Debug)]
pub(crate) struct Causes {
    causation: String,
    correlation: Attribute,
    trace: Option<TraceContext>,
}

/// W3C Trace Context.
#[derive(Clone, Debug)]
struct TraceContext {
    parent: String,
    state: Option<Attribute>,
}

impl Causes {
    /// What this event hands on.
    pub fn of(cause: &Event) -> Self {
        let correlation = match cause.extension(CORRELATION) {
            Some(correlation) => correlation.clone(),
            None => Attribute::Text(cause.id().to_owned()),
        };
        let trace = cause.extension(TRACEPARENT).and_then(Attribute::as_text).map(|parent| TraceContext {
            parent: parent.to_owned(),
            state: cause.extension(TRACESTATE).cloned(),
        });
        Self { causation: cause.id().to_owned(), correlation, trace }
    }

    /// Says it in an effect, as far as that doesn't say so itself. `origin` and `index` are the effect's place among all that
    /// the cause has: what its span is named after.
    pub fn add_to(self, effect: &mut EventParts, origin: &str, index: usize) {
        effect.add_extension(CAUSATION, || Attribute::Text(self.causation));
        // Whoever begins a correlation of its own, as a saga does, stays linked to the one in which it begins.
        let own = effect.extensions.iter().find(|(name, _)| name == CORRELATION);
        if own.is_some_and(|(_, own)| own.to_string() != self.correlation.to_string()) {
            effect.add_extension(PARENT_CORRELATION, || self.correlation);
        } else {
            effect.add_extension(CORRELATION, || self.correlation);
        }
        let Some(trace) = self.trace else { return };
        // Whoever says what trace it belongs to means that one, with its own state or none.
        if effect.extensions.iter().any(|(name, _)| name == TRACEPARENT) {
            return;
        }
        let Some(span) = child_span(&trace.parent, origin, index) else { return };
        effect.add_extension(TRACEPARENT, || Attribute::Text(span));
        if let Some(state) = trace.state {
            effect.add_extension(TRACESTATE, || state);
        }
    }
}

impl Event {
    /// What it belongs to: its `correlationid`, and without one its own id.
    pub(crate) fn correlation(&self) -> Cow<'_, str> {
        match self.extension(CORRELATION) {
            None => Cow::Borrowed(self.id()),
            Some(Attribute::Text(text)) => Cow::Borrowed(text),
            Some(other) => Cow::Owned(other.to_string()),
        }
    }

    /// What its cause belongs to, where it begins a correlation of its own.
    pub(crate) fn parent_correlation(&self) -> Option<&str> {
        self.extension(PARENT_CORRELATION)?.as_text()
    }

    /// The id of the event that caused it.
    pub(crate) fn causation(&self) -> Option<Cow<'_, str>> {
        Some(match self.extension(CAUSATION)? {
            Attribute::Text(text) => Cow::Borrowed(text),
            other => Cow::Owned(other.to_string()),
        })
    }

    /// `traceparent`, where it is one.
    #[cfg(any(test, feature = "relay-http", feature = "relay-nats"))]
    pub(crate) fn traceparent(&self) -> Option<&str> {
        let text = self.extension(TRACEPARENT)?.as_text()?;
        fields(text).map(|_| text)
    }

    /// `tracestate`.
    #[cfg(any(feature = "relay-http", feature = "relay-nats"))]
    pub(crate) fn tracestate(&self) -> Option<&str> {
        self.extension(TRACESTATE)?.as_text()
    }

    /// The trace of its `traceparent`.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        fields(self.extension(TRACEPARENT)?.as_text()?).map(|[trace, _]| trace)
    }
}

/// The trace and the flags of a `traceparent`: W3C Trace Context, `00-TRACE(32)-SPAN(16)-FLAGS(2)`. `None` where it isn't one.
fn fields(parent: &str) -> Option<[&str; 2]> {
    let mut fields = parent.split('-');
    let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |field: &str, len: usize| {
        field.len() == len && field.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_one = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    is_one.then_some([trace, flags])
}

/// A `traceparent` in the same trace as `parent` with a span id of its own, the same on every run.
fn child_span(parent: &str, origin: &str, index: usize) -> Option<String> {
    let [trace, flags] = fields(parent)?;
    let mut hasher = SipHasher24::new();
    hasher.write(origin.as_bytes());
    hasher.write(&(index as u64).to_le_bytes());
    // The span id of all zeroes is invalid.
    Some(format!("00-{trace}-{:016x}-{flags}", hasher.finish128().h1.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn text(event: &Event, name: &str) -> Option<String> {
        event.extension(name).map(ToString::to_string)
    }

    #[test]
    fn an_effect_is_a_span_of_its_own_in_its_causes_trace() {
        let cause = Event::new("1", "/a", "t")
            .extension("traceparent", PARENT)
            .extension("tracestate", "vendor=1")
            .build()
            .unwrap();
        let span = |id: &str| Event::new(id, "/a", "t").caused_by(&cause).build().unwrap();
        let (one, other) = (span("2"), span("3"));
        assert_eq!(one.trace_id(), cause.trace_id());
        assert_eq!(text(&one, "tracestate").as_deref(), Some("vendor=1"));
        assert_ne!(one.traceparent(), other.traceparent());
        assert_eq!(one.traceparent(), span("2").traceparent(), "the same on every run");
    }

    #[test]
    fn what_an_effect_says_of_itself_stays() {
        let cause = Event::new("1", "/a", "t")
            .extension("traceparent", PARENT)
            .extension("tracestate", "vendor=1")
            .build()
            .unwrap();
        let other = PARENT.replace("0af7", "1111");
        let effect = Event::new("2", "/a", "t")
            .caused_by(&cause)
            .extension("traceparent", other.as_str())
            .extension("correlationid", "mine")
            .build()
            .unwrap();
        assert_eq!(effect.traceparent(), Some(&*other));
        assert_eq!(text(&effect, "tracestate"), None, "it is of the other trace");
        assert_eq!((&*effect.correlation(), effect.causation().as_deref()), ("mine", Some("1")));
    }

    #[test]
    fn an_effect_with_a_correlation_of_its_own_stays_linked_to_that_of_its_cause() {
        let cause = Event::new("1", "/a", "t").extension("correlationid", "cart-9").build().unwrap();
        let effect = |correlation: &str| {
            Event::new("2", "/a", "t")
                .caused_by(&cause)
                .extension("correlationid", correlation)
                .build()
                .unwrap()
        };
        assert_eq!(effect("saga-17").parent_correlation(), Some("cart-9"));
        assert_eq!(effect("cart-9").parent_correlation(), None, "it is of the same");
        let next = Event::new("3", "/a", "t").caused_by(&effect("saga-17")).build().unwrap();
        assert_eq!((&*next.correlation(), next.parent_correlation()), ("saga-17", None));
    }

    #[test]
    fn what_is_no_traceparent_is_not_gone_on_with() {
        for wrong in
            ["", "00-1", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &PARENT.to_uppercase()]
        {
            assert_eq!(child_span(wrong, "o", 0), None, "{wrong}");
        }
    }
}
