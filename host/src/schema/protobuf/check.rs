//! Holding bytes against a message.

use super::definition::{Cardinality, Definition, Field, Message, MessageId};
use super::kinds::{Kind, shown};
use super::presence::{Noted, Presence};
use super::wire::{Malformed, Wire, WireType};
use crate::event::{Data, Event, is_protobuf};
use crate::limits::{PROTOBUF_DEPTH_MAX, VIOLATION_CHARS_MAX};
use crate::schema::compiled::Violation;
use crate::schema::cut;

impl Definition {
    /// Holds an event's data against the message.
    pub fn check(&self, event: &Event) -> Result<(), Violation> {
        let whole = |reason: &str| Err(Violation { path: String::new(), reason: reason.to_owned() });
        let bytes = match event.data() {
            Some(Data::Binary(bytes)) => bytes,
            Some(_) => return whole("the data is text, and a message of Protobuf is bytes"),
            None => {
                return whole(
                    "the event has no data: a message without fields is data as well, of no bytes, with a `datacontenttype`",
                );
            }
        };
        if !event.datacontenttype().is_some_and(is_protobuf) {
            return whole("the event's `datacontenttype` isn't `application/protobuf`");
        }
        self.check_bytes(bytes, Unknown::Refused).map_err(Flaw::violation)
    }

    pub(super) fn check_bytes(&self, bytes: &[u8], unknown: Unknown) -> Result<(), Flaw> {
        let mut check = Check { definition: self, skips_unknown: unknown == Unknown::Skipped };
        check.whole(&mut Wire::new(bytes), 0, None, false, PROTOBUF_DEPTH_MAX)
    }
}

/// What becomes of numbers that a message doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Who writes them knows another version.
    Refused,
    /// As a reader of another version does, for a proof that it reads the rest.
    Skipped,
}

/// Where bytes are no such message, and why. The path grows on the way out.
#[derive(Debug)]
pub(super) struct Flaw {
    /// Names and indexes, the innermost first.
    path: Vec<String>,
    reason: String,
}

impl Flaw {
    fn here(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }

    fn within(mut self, step: impl Into<String>) -> Self {
        self.path.push(step.into());
        self
    }

    pub fn violation(self) -> Violation {
        let path: String = self.path.iter().rev().flat_map(|step| ["/", step]).collect();
        Violation { path: cut(&path, VIOLATION_CHARS_MAX), reason: self.reason }
    }
}

impl From<Malformed> for Flaw {
    fn from(malformed: Malformed) -> Self {
        Self::here(malformed.reason())
    }
}

type Outcome<T> = Result<T, Flaw>;

struct Check<'d> {
    definition: &'d Definition,
    skips_unknown: bool,
}

impl Check<'_> {
    /// One message that is whole by itself: the outermost, one of several, or the entry of a map.
    fn whole(
        &mut self,
        wire: &mut Wire<'_>,
        id: MessageId,
        group: Option<u32>,
        is_entry: bool,
        levels: usize,
    ) -> Outcome<()> {
        let message = &self.definition.messages[id];
        if !message.has_required {
            return self.message(wire, id, group, None, levels);
        }
        let mut presence = Presence::of(id);
        let mut noted = presence.whole();
        if is_entry && let Some(Kind::Message(value)) = message.field(MAP_VALUE).map(|field| field.kind) {
            // An entry without its value has an empty one.
            noted.within(MAP_VALUE, value);
        }
        self.message(wire, id, group, Some(noted), levels)?;
        match presence.missing(self.definition) {
            None => Ok(()),
            Some(names) => {
                let missing = Flaw::here("it is required, and isn't there");
                Err(names.into_iter().fold(missing, Flaw::within))
            }
        }
    }

    /// The fields of a message up to its end: that of the bytes, or the mark of a group. What is there is noted where something
    /// may be missing.
    fn message(
        &mut self,
        wire: &mut Wire<'_>,
        id: MessageId,
        group: Option<u32>,
        mut noted: Option<Noted<'_>>,
        levels: usize,
    ) -> Outcome<()> {
        let message = &self.definition.messages[id];
        let begin = *wire;
        while !wire.is_empty() {
            let before = begin.len() - wire.len();
            let (number, wire_type) = wire.key()?;
            if wire_type == WireType::End {
                return if group == Some(number) { Ok(()) } else { Err(Malformed::Group.into()) };
            }
            let Some(field) = message.field(number) else {
                self.unknown(wire, message, number, wire_type, levels)?;
                continue;
            };
            if let Some(noted) = &mut noted {
                noted.note(field);
            }
            self.field(wire, field, wire_type, noted.as_mut(), levels).map_err(|(index, flaw)| {
                let is_indexed = !field.cardinality.is_singular();
                let earlier = if is_indexed { occurrences(begin, before, field) } else { 0 };
                let flaw = if is_indexed { flaw.within((earlier + index).to_string()) } else { flaw };
                flaw.within(field.name.clone())
            })?;
        }
        if group.is_some() { Err(Malformed::Short.into()) } else { Ok(()) }
    }

    fn unknown(
        &self,
        wire: &mut Wire<'_>,
        message: &Message,
        number: u32,
        wire_type: WireType,
        levels: usize,
    ) -> Outcome<()> {
        if self.skips_unknown {
            return Ok(wire.skip(number, wire_type, levels)?);
        }
        Err(Flaw::here(format!(
            "number {number} is no field of {}: whoever writes it knows another version of the schema",
            shown(&message.name)
        )))
    }

    /// The value of a field, or several that are packed. A flaw comes with how many of these are before it.
    fn field(
        &mut self,
        wire: &mut Wire<'_>,
        field: &Field,
        wire_type: WireType,
        noted: Option<&mut Noted<'_>>,
        levels: usize,
    ) -> Result<(), (usize, Flaw)> {
        let is_repeated = field.cardinality == Cardinality::Repeated;
        if is_repeated && field.kind.is_packable() && wire_type == WireType::Length {
            let mut packed = Wire::new(wire.delimited().map_err(|malformed| (0, malformed.into()))?);
            let mut index = 0;
            while !packed.is_empty() {
                self.scalar(&mut packed, field.kind).map_err(|flaw| (index, flaw))?;
                index += 1;
            }
            return Ok(());
        }
        let expected = field.kind.wire_type();
        if wire_type != expected {
            let kind = field.kind;
            return Err((
                0,
                Flaw::here(format!("{wire_type} is there, and {kind} is written as {expected}")),
            ));
        }
        let outcome = match field.kind {
            Kind::Message(id) | Kind::Group(id) => self.inner(wire, field, id, noted, levels),
            kind => self.scalar(wire, kind),
        };
        outcome.map_err(|flaw| (0, flaw))
    }

    fn inner(
        &mut self,
        wire: &mut Wire<'_>,
        field: &Field,
        id: MessageId,
        noted: Option<&mut Noted<'_>>,
        levels: usize,
    ) -> Outcome<()> {
        let levels = levels.checked_sub(1).ok_or(Malformed::Depth)?;
        let mut delimited;
        let (wire, group) = if let Kind::Group(_) = field.kind {
            (wire, Some(field.number))
        } else {
            delimited = Wire::new(wire.delimited()?);
            (&mut delimited, None)
        };
        if !field.cardinality.is_singular() {
            return self.whole(wire, id, group, field.cardinality == Cardinality::Map, levels);
        }
        let noted = noted.filter(|_| self.definition.messages[id].has_required);
        self.message(wire, id, group, noted.map(|noted| noted.within(field.number, id)), levels)
    }

    fn scalar(&self, wire: &mut Wire<'_>, kind: Kind) -> Outcome<()> {
        match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => drop(wire.take(8)?),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => drop(wire.take(4)?),
            Kind::Bytes => drop(wire.delimited()?),
            Kind::String => {
                let text = std::str::from_utf8(wire.delimited()?);
                text.map_err(|_| Flaw::here("it is no UTF-8, which a string has to be"))?;
            }
            _ => self.varint(wire.varint()?, kind)?,
        }
        Ok(())
    }

    /// Whether a type has room for a varint. Negative ones have all 64 bits.
    fn varint(&self, value: u64, kind: Kind) -> Outcome<()> {
        let number = i32::try_from(value.cast_signed());
        let has_room = match kind {
            Kind::Bool => value <= 1,
            Kind::Uint32 | Kind::Sint32 => u32::try_from(value).is_ok(),
            Kind::Int32 | Kind::Enum(_) => number.is_ok(),
            _ => true,
        };
        if !has_room {
            return Err(Flaw::here(format!("it is a number that {kind} has no room for")));
        }
        if let (Kind::Enum(id), Ok(number)) = (kind, number) {
            let found = &self.definition.enums[id];
            if found.is_closed && found.names(number).is_empty() {
                let name = shown(&found.name);
                return Err(Flaw::here(format!("it is no value of the enum {name}, which has no others")));
            }
        }
        Ok(())
    }
}

/// The number of a map's value in its entries.
const MAP_VALUE: u32 = 2;

/// How many values of a field there are in the first bytes of a message, which were found to be right. It is asked where an
/// error needs an index alone: counting all along would cost each message a table of its fields.
fn occurrences(begin: Wire<'_>, bytes: usize, field: &Field) -> usize {
    let mut wire = begin;
    let end = begin.len() - bytes;
    let mut count = 0;
    while wire.len() > end {
        let Ok((number, wire_type)) = wire.key() else { break };
        let value = wire;
        if wire.skip(number, wire_type, PROTOBUF_DEPTH_MAX).is_err() {
            break;
        }
        if number == field.number {
            let is_packed = field.kind.is_packable() && wire_type == WireType::Length;
            count += if is_packed { packed(value, field.kind) } else { 1 };
        }
    }
    count
}

/// How many packed values there are.
fn packed(mut wire: Wire<'_>, kind: Kind) -> usize {
    let Ok(bytes) = wire.delimited() else { return 0 };
    match kind.wire_type() {
        WireType::Eight => bytes.len() / 8,
        WireType::Four => bytes.len() / 4,
        _ => bytes.iter().filter(|byte| **byte < 0x80).count(),
    }
}
