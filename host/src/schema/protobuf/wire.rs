//! The wire format of Protobuf, piece by piece.

use std::fmt::{self, Display, Formatter};

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Eight,
    /// With its length in bytes.
    Length,
    /// The beginning of a group.
    Start,
    /// The end of a group.
    End,
    Four,
}

impl Display for WireType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Varint => "a varint",
            Self::Eight => "eight bytes",
            Self::Length => "bytes with their length",
            Self::Start => "the beginning of a group",
            Self::End => "the end of a group",
            Self::Four => "four bytes",
        })
    }
}

/// Bytes that are no message, whatever the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Short,
    Varint,
    Key,
    Group,
    Depth,
}

impl Malformed {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Short => "it is cut off: the data ends, or the message around it does",
            Self::Varint => "a varint has more than 64 bits",
            Self::Key => "no field's key is there: this isn't a message of Protobuf",
            Self::Group => "a group ends that hasn't begun",
            Self::Depth => "messages are nested too deep, as in all libraries of Protobuf",
        }
    }
}

type Result<T> = std::result::Result<T, Malformed>;

/// What is left of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// The first bytes of what is left, which are left out from now on.
    pub fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The bytes before a length, and those.
    pub fn delimited(&mut self) -> Result<&'a [u8]> {
        let bytes = self.varint()?;
        self.take(usize::try_from(bytes).map_err(|_| Malformed::Short)?)
    }

    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(Malformed::Short)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    /// A field's number, and how its value is written.
    pub fn key(&mut self) -> Result<(u32, WireType)> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::Key)?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Eight,
            2 => WireType::Length,
            3 => WireType::Start,
            4 => WireType::End,
            5 => WireType::Four,
            _ => return Err(Malformed::Key),
        };
        let number = key >> 3;
        if number == 0 { Err(Malformed::Key) } else { Ok((number, wire_type)) }
    }

    /// Leaves out a value behind its key. `levels` is how many groups may lie within one another.
    pub fn skip(&mut self, number: u32, wire_type: WireType, levels: usize) -> Result<()> {
        match wire_type {
            WireType::Varint => self.varint().map(drop),
            WireType::Eight => self.take(8).map(drop),
            WireType::Length => self.delimited().map(drop),
            WireType::Four => self.take(4).map(drop),
            WireType::End => Err(Malformed::Group),
            WireType::Start => {
                let levels = levels.checked_sub(1).ok_or(Malformed::Depth)?;
                loop {
                    match self.key()? {
                        (end, WireType::End) if end == number => return Ok(()),
                        (inner, wire_type) => self.skip(inner, wire_type, levels)?,
                    }
                }
            }
        }
    }
}
