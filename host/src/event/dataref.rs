//! `dataref`: where an event's data is that isn't in the event, see `CloudEvents`' extension of that name.
//!
//! Data that a bus keeps in its blob store is named by its content:
//!
//! ```text
//! dataref := "tidegate:blob/sha256/" HEX "?bytes=" LENGTH "&as=" ("json" | "text" | "binary")
//! ```
//!
//! `HEX` is the SHA-256 of the data in lower-case hexadecimal, so that whoever has the data can tell that it is the right one. Any
//! other `dataref` is a producer's own, and means nothing to a bus.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{Attribute, Data, Event, EventError};

/// The attribute's name.
pub(crate) const DATAREF: &str = "dataref";
/// The scheme of the bus's own references, with the colon.
const SCHEME: &str = "tidegate:";
/// What the bus's own references begin with.
const PREFIX: &str = "tidegate:blob/sha256/";

/// The SHA-256 of data: what a blob is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlobDigest(pub [u8; 32]);

impl BlobDigest {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads it as [`Display`](fmt::Display) writes it.
    pub fn parse(hex: &str) -> Option<Self> {
        let digest = HEXLOWER.decode(hex.as_bytes()).ok()?;
        digest.try_into().ok().map(Self)
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which kind of [`Data`] the bytes of a blob are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Binary,
}

impl Form {
    const ALL: [Self; 3] = [Self::Json, Self::Text, Self::Binary];

    fn of(data: &Data) -> Self {
        match data {
            Data::Json(_) => Self::Json,
            Data::Text(_) => Self::Text,
            Data::Binary(_) => Self::Binary,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// A reference into the blob store of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobRef {
    /// The blob.
    pub digest: BlobDigest,
    /// How many bytes it has.
    pub bytes: u64,
    form: Form,
}

impl BlobRef {
    /// The one to this data.
    pub fn to(data: &Data) -> Self {
        let bytes = data.as_bytes();
        Self { digest: BlobDigest::of(bytes), bytes: bytes.len() as u64, form: Form::of(data) }
    }

    /// Reads one; `None` where the text is none, or not written as the bus writes it.
    fn parse(uri: &str) -> Option<Self> {
        let (hex, query) = uri.strip_prefix(PREFIX)?.split_once('?')?;
        let (bytes, word) = query.strip_prefix("bytes=")?.split_once("&as=")?;
        let form = Form::ALL.into_iter().find(|form| form.word() == word)?;
        let parsed = Self { digest: BlobDigest::parse(hex)?, bytes: bytes.parse().ok()?, form };
        (parsed.to_string() == uri).then_some(parsed)
    }

    /// The data of these bytes, which are those of the blob. `None` where they are no text, as they have to be.
    fn data(self, bytes: Vec<u8>) -> Option<Data> {
        Some(match self.form {
            Form::Json => Data::Json(String::from_utf8(bytes).ok()?),
            Form::Text => Data::Text(String::from_utf8(bytes).ok()?),
            Form::Binary => Data::Binary(bytes),
        })
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}?bytes={}&as={}", self.digest, self.bytes, self.form.word())
    }
}

impl Event {
    /// The reference into the blob store that the event has in place of its data, if it has one.
    pub(crate) fn blob(&self) -> Option<BlobRef> {
        if self.data().is_some() {
            return None;
        }
        BlobRef::parse(self.extension(DATAREF)?.as_text()?)
    }

    /// Whether it has a reference, of whoever's.
    pub(crate) fn has_dataref(&self) -> bool {
        self.extension(DATAREF).is_some()
    }

    /// Checks that the event leaves the bus's own references to the bus.
    pub(crate) fn check_dataref(&self) -> Result<(), EventError> {
        let text = self.extension(DATAREF).and_then(Attribute::as_text).unwrap_or_default();
        let is_own = text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        if !is_own {
            return Ok(());
        }
        Err(EventError::invalid(
            DATAREF,
            text,
            "references that begin with `tidegate:` are into a bus's own blob store, and written by the bus alone",
            "a URI of your own, or the data itself: `tidegate read --data` prints events with it",
        ))
    }

    /// The event with a reference in place of its data, and the data. The event as it is where it has none, or has a reference
    /// of its producer's.
    pub(crate) fn checked_in(mut self) -> (Self, Option<(BlobRef, Data)>) {
        if self.has_dataref() {
            return (self, None);
        }
        let Some(data) = self.take_data() else { return (self, None) };
        let blob = BlobRef::to(&data);
        self.put_extension(DATAREF, Attribute::UriReference(blob.to_string()));
        (self, Some((blob, data)))
    }

    /// The event as its producer published it, with the data in place of the reference. `None` where these bytes are no such
    /// data.
    pub(crate) fn checked_out(&self, blob: BlobRef, bytes: Vec<u8>) -> Option<Self> {
        let mut event = self.clone();
        event.remove_extension(DATAREF);
        event.put_data(blob.data(bytes)?);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> [Event; 3] {
        let new = || Event::new("1", "/s", "T").extension("a", "x").extension("z", "y");
        [
            new().json_text(r#"{"a": 1.50}"#).build().unwrap(),
            new().text("text/plain", "hello").build().unwrap(),
            new().binary("application/json", b"{}".to_vec()).build().unwrap(),
        ]
    }

    #[test]
    fn an_event_comes_back_as_it_was_published() {
        for event in events() {
            let (stored, taken) = event.clone().checked_in();
            let (blob, data) = taken.unwrap();
            assert_eq!((stored.data(), stored.blob()), (None, Some(blob)));
            let names: Vec<_> = stored.extensions().map(|(name, _)| name).collect();
            assert_eq!(names, ["a", "dataref", "z"]);
            assert_eq!(stored.checked_out(blob, data.as_bytes().to_vec()), Some(event));
        }
    }

    #[test]
    fn a_reference_names_the_content() {
        // printf hello | sha256sum
        let data = Data::Text("hello".to_owned());
        assert_eq!(
            BlobRef::to(&data).to_string(),
            "tidegate:blob/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824?bytes=5&as=text"
        );
    }

    #[test]
    fn a_producers_own_reference_stays_and_one_in_the_name_of_the_bus_is_refused() {
        let with = |uri: &str| {
            let dataref = Attribute::UriReference(uri.to_owned());
            Event::new("1", "/s", "T").extension("dataref", dataref).json_text("1").build().unwrap()
        };
        let foreign = with("https://example.com/tidegate:blob/x");
        assert_eq!(foreign.check_dataref(), Ok(()));
        assert_eq!(foreign.clone().checked_in(), (foreign, None));
        for uri in ["tidegate:blob/sha256/00", "TideGate:x", "tidegate:"] {
            assert_eq!(with(uri).check_dataref().unwrap_err().attribute(), "dataref");
        }
    }

    #[test]
    fn only_what_the_bus_writes_itself_is_a_reference() {
        let uri = BlobRef::to(&Data::Json("1".to_owned())).to_string();
        assert!(BlobRef::parse(&uri).is_some());
        for wrong in [
            uri.replace("sha256/6b", "sha256/6B"),
            uri.replace("bytes=1", "bytes=01"),
            uri.replace("bytes=1", "bytes=+1"),
            uri.replace("as=json", "as=xml"),
            uri.replace("blob/", "blob/../"),
            uri.replace("tidegate", "TIDEGATE"),
            format!("{uri}&x"),
            uri[..uri.len() - 1].to_owned(),
        ] {
            assert_eq!(BlobRef::parse(&wrong), None, "{wrong}");
        }
    }
}
