//! The texts of an event's own attributes, in one piece of memory.
//!
//! An event is made and dropped for each delivery: a piece of memory for each attribute would be a third of what a delivery to
//! a native handler costs.

/// The attributes that are text, by their place.
pub(super) const ID: usize = 0;
pub(super) const SOURCE: usize = 1;
pub(super) const TYPE: usize = 2;
pub(super) const SUBJECT: usize = 3;
pub(super) const TIME: usize = 4;
pub(super) const DATACONTENTTYPE: usize = 5;
pub(super) const DATASCHEMA: usize = 6;
const COUNT: usize = 7;

/// Their names, by their place.
const NAMES: [&str; COUNT] = ["id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

/// The texts of an event: each attribute's, or that it has none.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    /// One after the other.
    all: String,
    /// Where each of them ends.
    ends: [usize; COUNT],
    /// A bit for each that is there.
    present: u8,
}

impl Texts {
    /// These texts, in the order of their places.
    pub(super) fn new(texts: [Option<&str>; COUNT]) -> Self {
        let (ends, present) = layout(texts.map(|text| text.map(str::len)));
        Self { all: texts.map(Option::unwrap_or_default).concat(), ends, present }
    }

    /// The same of what may not be text, where it is.
    pub(crate) fn from_bytes(texts: [Option<&[u8]>; COUNT]) -> Option<Self> {
        let (ends, present) = layout(texts.map(|text| text.map(<[u8]>::len)));
        // Looked at in one go, then only for what goes across a border.
        let all = String::from_utf8(texts.map(Option::unwrap_or_default).concat()).ok()?;
        ends.iter().all(|end| all.is_char_boundary(*end)).then_some(Self { all, ends, present })
    }

    /// All of them, one after the other.
    pub(crate) fn all(&self) -> &str {
        &self.all
    }

    /// Where each ends in [`all`](Self::all).
    pub(crate) fn ends(&self) -> [usize; COUNT] {
        self.ends
    }

    /// A bit for each that is there, from the lowest on.
    pub(crate) fn present(&self) -> u8 {
        self.present
    }

    /// The text at this place.
    pub(super) fn get(&self, at: usize) -> Option<&str> {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        (self.present & (1 << at) != 0).then(|| &self.all[start..self.ends[at]])
    }

    /// The text at this place, which every event has.
    pub(super) fn required(&self, at: usize) -> &str {
        self.get(at).unwrap_or_default()
    }

    /// Bytes of all texts, and of the names of those that are there.
    pub(super) fn size(&self) -> usize {
        let names = NAMES.iter().enumerate().filter(|(at, _)| self.present & (1 << at) != 0);
        self.all.len() + names.map(|(_, name)| name.len()).sum::<usize>()
    }
}

/// Where texts of these lengths end, and which are there.
fn layout(lens: [Option<usize>; COUNT]) -> ([usize; COUNT], u8) {
    let (mut end, mut present) = (0, 0);
    let ends = std::array::from_fn(|at| {
        end += lens[at].unwrap_or_default();
        present |= u8::from(lens[at].is_some()) << at;
        end
    });
    (ends, present)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_given_back_by_their_places() {
        let texts = [Some("1"), Some("/s"), Some("t"), None, Some(""), Some("a/b"), None];
        let bytes = texts.map(|text| text.map(str::as_bytes));
        for made in [Texts::new(texts), Texts::from_bytes(bytes).unwrap()] {
            assert_eq!(std::array::from_fn(|at| made.get(at)), texts);
            assert_eq!((made.all(), made.present()), ("1/sta/b", 0b011_0111));
            let names = "id".len() + "source".len() + "type".len() + "time".len() + "datacontenttype".len();
            assert_eq!(made.size(), names + "1/sta/b".len());
        }
    }

    #[test]
    fn what_is_text_only_together_with_its_neighbour_is_none() {
        let (first, second) = (&b"\xc3"[..], &b"\xa4"[..]);
        let required = [Some(first), Some(second), Some(&b"t"[..]), None, None, None, None];
        assert!(Texts::from_bytes(required).is_none());
        let plain = Some(&b"a"[..]);
        let optional = [plain, plain, plain, Some(first), Some(second), None, None];
        assert!(Texts::from_bytes(optional).is_none());
        let apart = [plain, plain, plain, Some(first), None, Some(second), None];
        assert!(Texts::from_bytes(apart).is_none());
    }
}
