//! Sets of the types that a value may have.

use std::fmt::{self, Display, Formatter};
use std::ops::{BitAnd, BitOr, Sub};

use serde_json::Value;

use super::dialect::Dialect;
use super::number::Decimal;

/// A set of types. `number` is two of them: integers, and fractions, which are all other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub const NONE: Self = Self(0);
    pub const NULL: Self = Self(1);
    pub const BOOLEAN: Self = Self(1 << 1);
    pub const INTEGER: Self = Self(1 << 2);
    pub const FRACTION: Self = Self(1 << 3);
    pub const NUMBER: Self = Self(Self::INTEGER.0 | Self::FRACTION.0);
    pub const STRING: Self = Self(1 << 4);
    pub const ARRAY: Self = Self(1 << 5);
    pub const OBJECT: Self = Self(1 << 6);
    pub const ALL: Self = Self((1 << 7) - 1);

    /// The type of a value: both of a number's where they can't be told apart.
    pub fn of(value: &Value, dialect: Dialect) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
            Value::Number(number) if number.is_i64() || number.is_u64() => Self::INTEGER,
            // For draft 4 a float is no integer, even 1.0.
            Value::Number(_) if dialect == Dialect::Draft4 => Self::FRACTION,
            Value::Number(number) => match Decimal::of_number(number) {
                Some(decimal) if decimal.is_integer() => Self::INTEGER,
                Some(_) => Self::FRACTION,
                None => Self::NUMBER,
            },
        }
    }

    /// What `type` allows, `None` where it isn't the name of a type or a list of them.
    pub fn of_type(value: &Value) -> Option<Self> {
        match value {
            Value::String(name) => Self::named(name),
            Value::Array(names) => names.iter().try_fold(Self::NONE, |kinds, name| {
                let name = name.as_str().and_then(Self::named)?;
                Some(kinds | name)
            }),
            _ => None,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub fn has(self, any: Self) -> bool {
        !(self & any).is_empty()
    }

    pub fn is_within(self, other: Self) -> bool {
        (self - other).is_empty()
    }

    /// Each type of the set as a set of its own.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..7).map(|bit| Self(1 << bit)).filter(move |kind| self.has(*kind))
    }
}

impl BitAnd for Kinds {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Kinds {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for Kinds {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Display for Kinds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("any type");
        }
        let number = if self.has(Self::FRACTION) { Self::NUMBER } else { Self::INTEGER };
        let names = [
            (Self::OBJECT, "`object`"),
            (Self::ARRAY, "`array`"),
            (Self::STRING, "`string`"),
            (number, if number == Self::NUMBER { "`number`" } else { "`integer`" }),
            (Self::BOOLEAN, "`boolean`"),
            (Self::NULL, "`null`"),
        ];
        let names: Vec<_> =
            names.iter().filter(|(kinds, _)| self.has(*kinds)).map(|(_, name)| *name).collect();
        f.write_str(&names.join(" or "))
    }
}
