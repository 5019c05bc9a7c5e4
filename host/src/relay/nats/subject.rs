//! The subject that an event is published to.

use crate::handler::{Delivery, Failure};
use crate::limits::NATS_SUBJECT_BYTES_MAX;
use crate::relay::attributes::push_encoded;

/// A subject with places for what differs from event to event.
#[derive(Debug)]
pub(super) struct Subject(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Topic,
    Type,
    Key,
    Partition,
}

impl Subject {
    /// Reads a template that the configuration has checked. What it doesn't know stays as it is.
    pub fn new(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let known = [
                ("{topic}", Part::Topic),
                ("{type}", Part::Type),
                ("{key}", Part::Key),
                ("{partition}", Part::Partition),
            ];
            let found = known.into_iter().find(|(name, _)| rest.starts_with(name));
            if let Some((name, part)) = found {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(part);
                rest = &rest[name.len()..];
            } else {
                text.push('{');
                rest = &rest[1..];
            }
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        parts.retain(|part| *part != Part::Text(String::new()));
        Self(parts)
    }

    /// The subject of an event.
    ///
    /// # Errors
    ///
    /// It is longer than NATS takes.
    pub fn of(&self, delivery: &Delivery) -> Result<String, Failure> {
        let mut subject = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => subject.push_str(text),
                Part::Topic => push_tokens(&mut subject, &delivery.topic),
                Part::Type => push_tokens(&mut subject, delivery.event.kind()),
                Part::Key => push_token(&mut subject, delivery.event.key()),
                Part::Partition => subject.push_str(&delivery.partition.to_string()),
            }
        }
        if subject.len() > NATS_SUBJECT_BYTES_MAX {
            let message = format!(
                "the event's subject in NATS has {} bytes, more than {NATS_SUBJECT_BYTES_MAX}: leave `{{key}}` or \
                 `{{type}}` out of the relay's `subject`",
                subject.len()
            );
            return Err(Failure::permanent("nats-subject", message));
        }
        Ok(subject)
    }
}

/// Writes a text as one token: what NATS gives a meaning to, or has no room for, is percent-encoded.
fn push_token(subject: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b".*>%$".contains(&byte) {
            subject.push(char::from(byte));
        } else {
            push_encoded(subject, byte);
        }
    }
}

/// Writes a text as tokens where its dots are. A dot that would leave a token empty is encoded.
fn push_tokens(subject: &mut String, text: &str) {
    let mut begun = false;
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        push_token(subject, token);
        begun |= !token.is_empty();
        if let Some(next) = tokens.peek() {
            let parts = begun && !next.is_empty();
            if parts {
                subject.push('.');
                begun = false;
            } else {
                push_encoded(subject, b'.');
                begun = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Event;

    fn subject(template: &str, topic: &str, kind: &str, key: &str) -> Result<String, Failure> {
        let event = Event::new("1", "/a", kind).extension("partitionkey", key).build().unwrap();
        Subject::new(template).of(&Delivery {
            topic: topic.into(),
            partition: 3,
            offset: 0,
            appended: Timestamp(0),
            attempt: 1,
            first_attempt: Timestamp(0),
            now: Timestamp(0),
            redriven: false,
            event: Arc::new(event),
        })
    }

    #[test]
    fn a_template_is_filled_with_what_the_event_has() {
        for (template, expected) in [
            ("{topic}", "orders.eu"),
            ("shop.{topic}.{key}", "shop.orders.eu.customer%204%2E5"),
            ("{type}", "com.example.Placed"),
            ("p{partition}", "p3"),
            ("fixed", "fixed"),
        ] {
            let subject = subject(template, "orders.eu", "com.example.Placed", "customer 4.5").unwrap();
            assert_eq!(subject, expected);
        }
    }

    #[test]
    fn no_event_can_leave_its_token_or_make_a_subject_that_nats_refuses() {
        for (key, token) in
            [("*", "%2A"), (">", "%3E"), ("a.b", "a%2Eb"), ("$JS", "%24JS"), ("é", "%C3%A9"), ("%", "%25")]
        {
            assert_eq!(subject("{key}", "t", "t", key).unwrap(), token);
        }
        for kind in [".", "..", "a.", ".a", "a..b", "a...b", "...", "$SYS.a", ".a.b.", "a. b"] {
            let subject = subject("x.{type}", "t", kind, "k").unwrap();
            assert!(subject.split('.').all(|token| !token.is_empty()), "{kind}: {subject}");
            assert!(subject.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'$'), "{kind}: {subject}");
        }
    }

    #[test]
    fn different_types_have_different_subjects() {
        let kinds = ["a", "a.", ".a", "a.b", "a..b", "a%2E", "a%2Eb", "a...b", ".", ".."];
        let subjects: std::collections::BTreeSet<_> =
            kinds.iter().map(|kind| subject("{type}", "t", kind, "k").unwrap()).collect();
        assert_eq!(subjects.len(), kinds.len());
    }

    #[test]
    fn a_subject_that_is_too_long_is_refused_for_good() {
        let failure = subject("{key}", "t", "t", &"k".repeat(NATS_SUBJECT_BYTES_MAX + 1)).unwrap_err();
        assert!(!failure.kind.is_retryable());
    }
}
