//! What is printed on a parcel.

/// What fits on a label.
pub const LABEL_BYTES_MAX: usize = 24;

/// A release of the shop's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Knows orders of the first version.
    First,
    /// Knows orders of the second version, and prints labels in any script.
    Second,
}

/// As much of an address as fits on a label.
///
/// # Panics
///
/// The first release has a mistake: it panics where a label would end within a character. So there are orders that it can't
/// ship, however often it tries.
pub fn label(release: Release, address: &str) -> &str {
    match release {
        Release::First => &address[..address.len().min(LABEL_BYTES_MAX)],
        Release::Second => &address[..address.floor_char_boundary(LABEL_BYTES_MAX)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has an `ü` across the end of the label.
    const ADDRESS: &str = "Rosenstraße 2, 80331 München";

    #[test]
    fn the_second_release_prints_what_the_first_one_fails_at() {
        assert_eq!(label(Release::Second, ADDRESS), "Rosenstraße 2, 80331 M");
        assert!(std::panic::catch_unwind(|| label(Release::First, ADDRESS)).is_err());
        for release in [Release::First, Release::Second] {
            assert_eq!(label(release, "Mill Lane 4"), "Mill Lane 4");
        }
    }
}
