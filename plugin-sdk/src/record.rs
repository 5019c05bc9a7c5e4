//! A delivery as the host hands it over: `deliveries.next` in the contract has the format.
//!
//! Natively it is here for its tests alone.
#![cfg_attr(
    not(any(target_arch = "wasm32", test)),
    allow(dead_code, reason = "components alone are handed records")
)]

use std::{error::Error, fmt, str};

use crate::{Attribute, Delivery, Raw, Timestamp};

/// The topic, and the texts of an event.
const TEXTS: usize = 8;

/// Bytes that are no delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not what the contract says")
    }
}

impl Error for Malformed {}

/// What is left of a record once its [`envelope`] is read.
#[derive(Clone, Copy)]
pub(crate) struct DataPlace {
    case: u8,
    start: usize,
}

/// Reads all of a delivery but its data. The strings that `delivery` has are used again.
pub(crate) fn envelope<T>(record: &[u8], delivery: &mut Delivery<T>) -> Result<DataPlace, Malformed> {
    let mut rest = record;
    let input = &mut rest;
    delivery.partition = u32::from_le_bytes(array(input)?);
    delivery.attempt = u32::from_le_bytes(array(input)?);
    delivery.offset = u64::from_le_bytes(array(input)?);
    delivery.appended = Timestamp::from_micros(i64::from_le_bytes(array(input)?));
    delivery.first_attempt = Timestamp::from_micros(i64::from_le_bytes(array(input)?));
    let [redriven, present, case, _] = array(input)?;
    delivery.redriven = redriven != 0;
    let extensions = u32::from_le_bytes(array(input)?);
    let ends: [u8; 4 * TEXTS] = array(input)?;
    let (ends, _) = ends.as_chunks::<4>();
    let len = ends.last().map_or(0, |end| u32::from_le_bytes(*end) as usize);
    let texts = str::from_utf8(bytes(input, len)?).map_err(|_| Malformed)?;
    let mut start = 0;
    let mut texts = ends.iter().map(|end| {
        let end = u32::from_le_bytes(*end) as usize;
        let text = texts.get(start..end).ok_or(Malformed);
        start = end;
        text
    });
    let mut next = || texts.next().unwrap_or(Err(Malformed));
    let event = &mut delivery.event;
    for into in [&mut delivery.topic, &mut event.id, &mut event.source, &mut event.event_type] {
        set(into, next()?);
    }
    let optional = [&mut event.subject, &mut event.time, &mut event.datacontenttype, &mut event.dataschema];
    for (bit, into) in optional.into_iter().enumerate() {
        let text = next()?;
        if present & (1 << bit) == 0 {
            *into = None;
        } else {
            set(into.get_or_insert_default(), text);
        }
    }
    event.extensions.clear();
    for _ in 0..extensions {
        event.extensions.push(extension(input)?);
    }
    Ok(DataPlace { case, start: record.len() - rest.len() })
}

/// Reads the data, which takes over the record's memory.
pub(crate) fn data(mut record: Vec<u8>, place: DataPlace) -> Result<Raw, Malformed> {
    if place.case == 0 {
        return Ok(Raw::Empty);
    }
    record.drain(..place.start);
    let text = |record| String::from_utf8(record).map_err(|_| Malformed);
    Ok(match place.case {
        1 => Raw::Json(text(record)?),
        2 => Raw::Text(text(record)?),
        3 => Raw::Binary(record),
        _ => return Err(Malformed),
    })
}

fn extension(input: &mut &[u8]) -> Result<(String, Attribute), Malformed> {
    let [case] = array(input)?;
    let name = u32::from_le_bytes(array(input)?) as usize;
    let value = u32::from_le_bytes(array(input)?) as usize;
    let (name, mut value) = (bytes(input, name)?, bytes(input, value)?);
    let text = |bytes: &[u8]| str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed);
    let value = match case {
        0 => Attribute::Boolean(array(&mut value)? != [0]),
        1 => Attribute::Integer(i32::from_le_bytes(array(&mut value)?)),
        2 => Attribute::Text(text(value)?),
        3 => Attribute::Binary(value.to_vec()),
        4 => Attribute::Uri(text(value)?),
        5 => Attribute::UriReference(text(value)?),
        6 => Attribute::Timestamp(text(value)?),
        _ => return Err(Malformed),
    };
    Ok((text(name)?, value))
}

fn set(into: &mut String, text: &str) {
    into.clear();
    into.push_str(text);
}

fn array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (array, rest) = input.split_first_chunk().ok_or(Malformed)?;
    *input = rest;
    Ok(*array)
}

fn bytes<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (bytes, rest) = input.split_at_checked(len).ok_or(Malformed)?;
    *input = rest;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The record of an event with all that an event can have, put together by the format.
    fn record(present: u8, data_case: u8, data: &[u8]) -> Vec<u8> {
        let texts = ["orders", "1", "/shop", "Placed.v1", "customer-4", "2026-01-01T12:00:00Z", "a/b", "x:y"];
        let extensions: [(u8, &str, &[u8]); 7] = [
            (0, "flag", &[1]),
            (1, "number", &(-5_i32).to_le_bytes()),
            (2, "text", "grün".as_bytes()),
            (3, "bytes", &[0, 255]),
            (4, "link", b"https://example.com"),
            (5, "place", b"../a"),
            (6, "when", b"2018-04-05T17:31:00Z"),
        ];
        let mut out = Vec::new();
        out.extend(7_u32.to_le_bytes());
        out.extend(2_u32.to_le_bytes());
        out.extend(99_u64.to_le_bytes());
        out.extend((-3_i64).to_le_bytes());
        out.extend(4_i64.to_le_bytes());
        out.extend([1, present, data_case, 0]);
        out.extend(7_u32.to_le_bytes());
        let is_there = |at: usize| at < 4 || present & (1 << (at - 4)) != 0;
        let texts: Vec<_> = (0..TEXTS).map(|at| if is_there(at) { texts[at] } else { "" }).collect();
        let mut end = 0_u32;
        for text in &texts {
            end += u32::try_from(text.len()).unwrap();
            out.extend(end.to_le_bytes());
        }
        out.extend(texts.concat().as_bytes());
        for (case, name, value) in extensions {
            out.push(case);
            out.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            out.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
            out.extend(name.as_bytes());
            out.extend(value);
        }
        out.extend(data);
        out
    }

    fn read(record: &[u8], delivery: &mut Delivery) -> Result<(), Malformed> {
        let place = envelope(record, delivery)?;
        delivery.event.data = data(record.to_vec(), place)?;
        Ok(())
    }

    #[test]
    fn a_record_has_all_of_a_delivery() {
        let mut delivery = Delivery::default();
        read(&record(0b1111, 1, b"[1]"), &mut delivery).unwrap();
        let place = (delivery.topic.as_str(), delivery.partition, delivery.offset);
        assert_eq!(place, ("orders", 7, 99));
        assert_eq!((delivery.attempt, delivery.redriven), (2, true));
        assert_eq!(
            (delivery.appended, delivery.first_attempt),
            (Timestamp::from_micros(-3), Timestamp::from_micros(4))
        );
        let event = &delivery.event;
        assert_eq!([&event.id, &event.source, &event.event_type], ["1", "/shop", "Placed.v1"]);
        let optional = [&event.subject, &event.time, &event.datacontenttype, &event.dataschema];
        assert_eq!(
            optional.map(Option::as_deref),
            [Some("customer-4"), Some("2026-01-01T12:00:00Z"), Some("a/b"), Some("x:y")]
        );
        let extensions = [
            ("flag", Attribute::Boolean(true)),
            ("number", Attribute::Integer(-5)),
            ("text", Attribute::Text("grün".to_owned())),
            ("bytes", Attribute::Binary(vec![0, 255])),
            ("link", Attribute::Uri("https://example.com".to_owned())),
            ("place", Attribute::UriReference("../a".to_owned())),
            ("when", Attribute::Timestamp("2018-04-05T17:31:00Z".to_owned())),
        ];
        assert_eq!(event.extensions, extensions.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(event.data, Raw::Json("[1]".to_owned()));
    }

    #[test]
    fn nothing_of_the_delivery_before_is_left_in_the_next() {
        let mut delivery = Delivery::default();
        read(&record(0b1111, 3, &[0, 255]), &mut delivery).unwrap();
        assert_eq!(delivery.event.data, Raw::Binary(vec![0, 255]));
        read(&record(0b0100, 2, b"text"), &mut delivery).unwrap();
        let event = &delivery.event;
        assert_eq!((&event.subject, &event.time, &event.dataschema), (&None, &None, &None));
        assert_eq!(event.datacontenttype.as_deref(), Some("a/b"));
        assert_eq!((event.extensions.len(), &event.data), (7, &Raw::Text("text".to_owned())));
        read(&record(0, 0, b""), &mut delivery).unwrap();
        assert_eq!(delivery.event.data, Raw::Empty);
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        let good = record(0b1111, 0, b"");
        for len in 0..good.len() {
            assert_eq!(read(&good[..len], &mut Delivery::default()), Err(Malformed), "{len} bytes");
        }
        // Ends out of order, text that is none, a case that there isn't.
        let ends = 4 + 4 + 8 + 8 + 8 + 4 + 4;
        let first_text = ends + 4 * TEXTS;
        for (at, byte) in [(ends, 200), (first_text, 0xff), (34, 4)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(read(&bad, &mut Delivery::default()), Err(Malformed), "byte {at}");
        }
    }
}
