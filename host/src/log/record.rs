//! An event as bytes.
//!
//! ```text
//! record  := head_crc u32, data_crc u32, flags u8, data_kind u8, reserved u16, schema u32, expiry i64,
//!            head_len u32, head, data                                       (integers little-endian)
//! head    := text id, text source, text type, present u8,
//!            [text subject], [text time], [text datacontenttype], [text dataschema],
//!            varint count, count * (text name, tag u8, value)
//! text    := varint length, UTF-8
//! value   := u8 (boolean) | i32 (integer) | varint length, bytes (all others)
//! varint  := LEB128
//! ```
//!
//! `head_crc` is the CRC-32 (IEEE) of everything from `flags` to the end of the head, `data_crc` that of the data, which
//! goes to the record's end. Within a batch, both begin with the record's place, see `batch`, so that a record that damage
//! has moved elsewhere is none. So a fault in the data leaves the attributes readable, and data can be erased without
//! touching them.

use thiserror::Error;

use crate::event::{Attribute, Data, Event, SEQUENCE, Texts};

/// Bytes before the head.
const PREFIX: usize = 4 + 4 + 1 + 1 + 2 + 4 + 8 + 4;
/// Where what `head_crc` covers begins.
const COVERED: usize = 8;
/// Digits of a number among the events of a key: as many as any has.
const NUMBER_DIGITS: usize = 20;

/// The record's data was erased on purpose. No writer sets this yet; a reader must not take it for damage.
const FLAG_ERASED: u8 = 1 << 1;

const DATA_NONE: u8 = 0;
const DATA_JSON: u8 = 1;
const DATA_TEXT: u8 = 2;
const DATA_BINARY: u8 = 3;

/// Extension attributes by name.
type Extensions = Vec<(String, Attribute)>;

/// Why bytes are no record.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// The record ends before its parts do.
    #[error("the record is cut short")]
    Short,
    /// A checksum is wrong.
    #[error("the checksum of the record's {0} is wrong")]
    Checksum(&'static str),
    /// Text that isn't UTF-8, or a number that stands for nothing.
    #[error("the record's {0} has no meaning")]
    Meaning(&'static str),
}

/// Where the number of an event goes within its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    at: usize,
}

/// Appends an event's record to `out`, with its number among the events of its key where the topic keeps one. It is read
/// back at this place alone, which has no bytes where a record has no place.
pub(crate) fn encode(event: &Event, sequence: Option<u64>, place: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let digits = encode_unplaced(event, sequence.is_some(), out);
    settle(&mut out[start..], place, digits.zip(sequence));
}

/// Appends an event's record without what [`settle`] adds: its number, if it gets one, and the checksums. Says where the
/// number goes.
pub(crate) fn encode_unplaced(event: &Event, is_numbered: bool, out: &mut Vec<u8>) -> Option<Digits> {
    let start = out.len();
    let (kind, data) = match event.data() {
        None => (DATA_NONE, [].as_slice()),
        Some(Data::Json(text)) => (DATA_JSON, text.as_bytes()),
        Some(Data::Text(text)) => (DATA_TEXT, text.as_bytes()),
        Some(Data::Binary(bytes)) => (DATA_BINARY, bytes.as_slice()),
    };
    out.resize(start + PREFIX, 0);
    let digits = encode_head(event, is_numbered, out).map(|at| Digits { at: at - start });
    let head_len = out.len() - start - PREFIX;
    out.extend_from_slice(data);
    let record = &mut out[start..];
    record[COVERED + 1] = kind;
    record[PREFIX - 4..PREFIX].copy_from_slice(&bounded_u32(head_len).to_le_bytes());
    digits
}

/// Completes a record for its place.
pub(super) fn settle(record: &mut [u8], place: &[u8], number: Option<(Digits, u64)>) {
    if let Some((Digits { at }, mut number)) = number {
        for digit in record[at..at + NUMBER_DIGITS].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    seal(place, record);
}

/// Writes the checksums of a record that is long enough for the head it says it has.
pub(super) fn seal(place: &[u8], record: &mut [u8]) {
    let Some(head_len) = record.get(PREFIX - 4..).and_then(|rest| rest.first_chunk()) else { return };
    let data = PREFIX.saturating_add(u32::from_le_bytes(*head_len) as usize);
    let (Some(head), Some(rest)) = (record.get(COVERED..data), record.get(data..)) else { return };
    let (head_crc, data_crc) = (checksum(place, head), checksum(place, rest));
    record[..4].copy_from_slice(&head_crc.to_le_bytes());
    record[4..8].copy_from_slice(&data_crc.to_le_bytes());
}

/// The checksum of a part of the record at this place.
fn checksum(place: &[u8], part: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(place);
    crc.update(part);
    crc.finalize()
}

/// Returns where in `out` the number's digits are.
fn encode_head(event: &Event, is_numbered: bool, out: &mut Vec<u8>) -> Option<usize> {
    put_bytes(out, event.id().as_bytes());
    put_bytes(out, event.source().as_bytes());
    put_bytes(out, event.kind().as_bytes());
    let optional = [event.subject(), event.time(), event.datacontenttype(), event.dataschema()];
    let present =
        optional.iter().enumerate().fold(0, |bits, (bit, text)| bits | (u8::from(text.is_some()) << bit));
    out.push(present);
    for text in optional.into_iter().flatten() {
        put_bytes(out, text.as_bytes());
    }
    let extensions = event.extensions();
    put_varint(out, (extensions.len() + usize::from(is_numbered)) as u64);
    // The names stay in ascending order.
    let mut digits = None;
    for (name, value) in extensions {
        if is_numbered && digits.is_none() && name > SEQUENCE {
            digits = Some(put_sequence(out));
        }
        put_extension(out, name, value);
    }
    if is_numbered && digits.is_none() {
        digits = Some(put_sequence(out));
    }
    digits
}

/// Makes room for a number as the attribute's value: `CloudEvents` asks for text whose alphabetical order is the order of the
/// events.
fn put_sequence(out: &mut Vec<u8>) -> usize {
    put_bytes(out, SEQUENCE.as_bytes());
    put_tagged(out, 2, &[b'0'; NUMBER_DIGITS]);
    out.len() - NUMBER_DIGITS
}

fn put_extension(out: &mut Vec<u8>, name: &str, value: &Attribute) {
    put_bytes(out, name.as_bytes());
    match value {
        Attribute::Boolean(value) => out.extend_from_slice(&[0, u8::from(*value)]),
        Attribute::Integer(value) => {
            out.push(1);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Attribute::Text(text) => put_tagged(out, 2, text.as_bytes()),
        Attribute::Binary(bytes) => put_tagged(out, 3, bytes),
        Attribute::Uri(text) => put_tagged(out, 4, text.as_bytes()),
        Attribute::UriReference(text) => put_tagged(out, 5, text.as_bytes()),
        Attribute::Timestamp(text) => put_tagged(out, 6, text.as_bytes()),
    }
}

/// Reads the record at this place back.
///
/// # Errors
///
/// See [`RecordError`]: bytes that were not written by [`encode`] are found out by the checksums.
pub(crate) fn decode(record: &[u8], place: &[u8]) -> Result<Event, RecordError> {
    let (prefix, rest) = record.split_at_checked(PREFIX).ok_or(RecordError::Short)?;
    let word = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
    let head_len = word(PREFIX - 4) as usize;
    let (head, data) = rest.split_at_checked(head_len).ok_or(RecordError::Short)?;
    if checksum(place, &record[COVERED..PREFIX + head_len]) != word(0) {
        return Err(RecordError::Checksum("attributes"));
    }
    let flags = prefix[COVERED];
    let erased = flags & FLAG_ERASED != 0;
    if !erased && checksum(place, data) != word(4) {
        return Err(RecordError::Checksum("data"));
    }
    let (texts, extensions) = decode_head(head)?;
    let data = match prefix[COVERED + 1] {
        _ if erased => None,
        DATA_NONE => None,
        DATA_JSON => Some(Data::Json(utf8(data, "data")?.to_owned())),
        DATA_TEXT => Some(Data::Text(utf8(data, "data")?.to_owned())),
        DATA_BINARY => Some(Data::Binary(data.to_vec())),
        _ => return Err(RecordError::Meaning("data kind")),
    };
    Ok(Event::from_accepted(texts, extensions, data))
}

fn decode_head(mut head: &[u8]) -> Result<(Texts, Extensions), RecordError> {
    let input = &mut head;
    let (id, source, kind) = (Some(bytes(input)?), Some(bytes(input)?), Some(bytes(input)?));
    let present = byte(input)?;
    let mut optional = |bit: u8| if present & (1 << bit) == 0 { Ok(None) } else { bytes(input).map(Some) };
    let texts = Texts::from_bytes([id, source, kind, optional(0)?, optional(1)?, optional(2)?, optional(3)?])
        .ok_or(RecordError::Meaning("attributes"))?;
    let mut extensions = Vec::new();
    for _ in 0..varint(input)? {
        let name = text(input, "extension name")?;
        let value = match byte(input)? {
            0 => Attribute::Boolean(byte(input)? != 0),
            1 => Attribute::Integer(i32::from_le_bytes(array(input)?)),
            2 => Attribute::Text(text(input, "extension")?),
            3 => Attribute::Binary(bytes(input)?.to_vec()),
            4 => Attribute::Uri(text(input, "extension")?),
            5 => Attribute::UriReference(text(input, "extension")?),
            6 => Attribute::Timestamp(text(input, "extension")?),
            _ => return Err(RecordError::Meaning("extension type")),
        };
        extensions.push((name, value));
    }
    Ok((texts, extensions))
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_bytes(out, bytes);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn varint(input: &mut &[u8]) -> Result<u64, RecordError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let next = byte(input)?;
        value |= u64::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(RecordError::Meaning("length"))
}

fn byte(input: &mut &[u8]) -> Result<u8, RecordError> {
    let (first, rest) = input.split_first().ok_or(RecordError::Short)?;
    *input = rest;
    Ok(*first)
}

fn array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], RecordError> {
    let (first, rest) = input.split_first_chunk().ok_or(RecordError::Short)?;
    *input = rest;
    Ok(*first)
}

fn bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let len = usize::try_from(varint(input)?).map_err(|_| RecordError::Short)?;
    let (first, rest) = input.split_at_checked(len).ok_or(RecordError::Short)?;
    *input = rest;
    Ok(first)
}

fn text(input: &mut &[u8], what: &'static str) -> Result<String, RecordError> {
    utf8(bytes(input)?, what).map(str::to_owned)
}

fn utf8<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, RecordError> {
    std::str::from_utf8(bytes).map_err(|_| RecordError::Meaning(what))
}

/// A length within a row as the format has it.
pub(super) fn bounded_u32(len: usize) -> u32 {
    match u32::try_from(len) {
        Ok(len) => len,
        Err(_) => unreachable!("events are bounded, and rows split, far below 4 GiB"),
    }
}

/// Keeps an event inside a row of another kind, in the record's format: for `#[serde(with)]`.
pub(crate) mod optional_event {
    use std::sync::Arc;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{decode, encode};
    use crate::event::Event;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        event: &Option<Arc<Event>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(event.as_ref().map_or(0, |event| event.size() + 128));
        if let Some(event) = event {
            encode(event, None, &[], &mut bytes);
        }
        serializer.serialize_bytes(&bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<Event>>, D::Error> {
        deserializer.deserialize_bytes(RecordBytes)
    }

    struct RecordBytes;

    impl Visitor<'_> for RecordBytes {
        type Value = Option<Arc<Event>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the bytes of a record")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            if bytes.is_empty() {
                return Ok(None);
            }
            decode(bytes, &[]).map(|event| Some(Arc::new(event))).map_err(E::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> Event {
        Event::new("id-1", "/source", "Type.v1")
            .subject("subject")
            .time("2018-04-05T17:31:00Z")
            .extension("flag", Attribute::Boolean(true))
            .extension("number", Attribute::Integer(-5))
            .extension("bytes", Attribute::Binary(vec![0, 255]))
            .extension("link", Attribute::Uri("https://example.com/a".to_owned()))
            .extension("place", Attribute::UriReference("../a".to_owned()))
            .extension("when", Attribute::Timestamp("2018-04-05T17:31:00Z".to_owned()))
            .json_text(r#"{"a": 1.50}"#)
            .build()
            .unwrap()
    }

    fn encoded(event: &Event) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(event, None, &[], &mut bytes);
        bytes
    }

    #[test]
    fn a_record_gives_back_every_kind_of_attribute_and_data() {
        let binary = Event::new("2", "/s", "T").binary("image/png", vec![1, 2, 3]).build().unwrap();
        let text = Event::new("3", "/s", "T").text("text/plain", "hello".to_owned()).build().unwrap();
        let bare = Event::new("4", "/s", "T").build().unwrap();
        for event in [event(), binary, text, bare] {
            assert_eq!(decode(&encoded(&event), &[]), Ok(event));
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_record_is_found_out(at in 0usize..10_000, bit in 0u8..8) {
            let good = encoded(&event());
            let at = at % good.len();
            let mut bad = good;
            bad[at] ^= 1 << bit;
            prop_assert!(decode(&bad, &[]).is_err());
        }

        #[test]
        fn any_bytes_at_all_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, &[]);
            let _ = decode_head(&bytes);
        }
    }
}
