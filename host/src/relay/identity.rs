//! What tells an event from all others, in few bytes.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::event::Event;

/// The SHA-256 of `source`, a line feed and `id`, in lower-case hexadecimal: 64 characters. No source holds a line
/// feed, so two events that differ in one of the two have different ones.
pub(super) fn identity(event: &Event) -> String {
    let mut hasher = Sha256::new();
    hasher.update(event.source());
    hasher.update(b"\n");
    hasher.update(event.id());
    HEXLOWER.encode(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

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
