//! What tells an event from all others, in few bytes.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::event::Event;

/// The SHA-256 of `source`, a line feed and `id`, in lower-case hexadecimal: 64 characters. No source holds a line
/// feed, so two events that differ in one of the two have different ones.
#[cfg(feature = "relay-http")]
pub(super) fn identity(event: &Event) -> String {
    digest([event.source(), event.id()])
}

/// The same of the topic, `source` and `id`. No topic's name holds a line feed either.
#[cfg(feature = "relay-nats")]
pub(super) fn identity_in(topic: &str, event: &Event) -> String {
    digest([topic, event.source(), event.id()])
}

fn digest<const N: usize>(parts: [&str; N]) -> String {
    HEXLOWER.encode(&Sha256::digest(parts.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "relay-nats")]
    #[test]
    fn in_a_topic_it_is_of_the_topic_as_well() {
        let event = Event::new("order-17", "/shop", "t").build().unwrap();
        // printf '%s\n%s\n%s' orders /shop order-17 | sha256sum
        assert_eq!(
            identity_in("orders", &event),
            "ccb7c17193d418afa83b266e16297c71cadd833d31eec54c56389f1884df8d83"
        );
        assert_ne!(identity_in("audit", &event), identity_in("orders", &event));
    }

    #[cfg(feature = "relay-http")]
    #[test]
    fn it_is_what_the_documentation_says_and_of_source_and_id_alone() {
        let event = |source: &str, id: &str| Event::new(id, source, "t");
        let plain = identity(&event("/shop", "order-17").build().unwrap());
        // printf '%s\n%s' /shop order-17 | sha256sum
        assert_eq!(plain, "f106a2ffe80ffff93c411ffa366038d97e7113bb7436420652ccc050910f2b60");
        assert_eq!(plain, identity(&event("/shop", "order-17").subject("s").json_text("1").build().unwrap()));
        assert_ne!(plain, identity(&event("/shop", "order-18").build().unwrap()));
        assert_ne!(
            identity(&event("/a", "bc").build().unwrap()),
            identity(&event("/ab", "c").build().unwrap())
        );
    }
}
