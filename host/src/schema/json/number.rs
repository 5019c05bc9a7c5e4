//! Numbers of JSON, compared as decimals.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Most digits of a [`Decimal`]: two of them can be brought to the same length within a `u128`.
const DIGITS_MAX: u32 = 38;

/// From here on each float is an integer, and its shortest text no longer names it exactly: 2^53.
const EXACT_TEXT_MAX: f64 = 9_007_199_254_740_992.0;

/// `digits * 10^exponent` with its sign. No trailing zeros in `digits`; zero is positive with exponent 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    is_negative: bool,
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// `None` for what is no number, or has more digits than fit.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::of_number(number),
            _ => None,
        }
    }

    pub fn of_number(number: &Number) -> Option<Self> {
        let is_integer = number.is_i64() || number.is_u64();
        let large = number.as_f64().filter(|float| !is_integer && float.abs() >= EXACT_TEXT_MAX);
        let exact = large.and_then(|float| Self::parse(&format!("{float:.0}")));
        exact.or_else(|| Self::parse(&number.to_string()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let mut exponent: i32 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fraction = fraction.trim_end_matches('0');
        let mut digits: u128 = 0;
        // Zeros at the end of the whole part wait, so that a long number with few digits fits.
        let mut zeros: u32 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            if digit == 0 {
                zeros = zeros.checked_add(1)?;
                continue;
            }
            if digits > 0 {
                digits = digits.checked_mul(10_u128.checked_pow(zeros.checked_add(1)?)?)?;
            }
            digits = digits.checked_add(u128::from(digit))?;
            if digits >= 10_u128.pow(DIGITS_MAX) {
                return None;
            }
            zeros = 0;
        }
        exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        exponent = exponent.checked_add(i32::try_from(zeros).ok()?)?;
        Some(if digits == 0 {
            Self { is_negative: false, digits, exponent: 0 }
        } else {
            Self { is_negative, digits, exponent }
        })
    }

    pub fn is_integer(self) -> bool {
        self.exponent >= 0
    }

    pub fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// Its value, where that is an integer that fits.
    pub fn to_integer(self) -> Option<i128> {
        let power = 10_u128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        let value = i128::try_from(self.digits.checked_mul(power)?).ok()?;
        Some(if self.is_negative { -value } else { value })
    }

    /// Whether `unit` divides it. A "no" may also mean that the numbers are too far apart to tell.
    pub fn is_multiple_of(self, unit: Self) -> bool {
        if self.is_zero() || unit.is_zero() {
            return self.is_zero() && !unit.is_zero();
        }
        // A negative difference asks for a factor of ten in digits that have none at their end.
        let Ok(shift) = u32::try_from(self.exponent.saturating_sub(unit.exponent)) else { return false };
        let scaled = 10_u128.checked_pow(shift).and_then(|power| self.digits.checked_mul(power));
        scaled.is_some_and(|scaled| scaled % unit.digits == 0)
    }

    /// Compares what is left of the sign.
    fn cmp_magnitude(self, other: Self) -> Ordering {
        if self.is_zero() || other.is_zero() {
            return other.is_zero().cmp(&self.is_zero());
        }
        let (length, other_length) = (self.digits.ilog10(), other.digits.ilog10());
        let highest = |decimal: Self, length: u32| i64::from(decimal.exponent) + i64::from(length);
        let pad = |digits: u128, length: u32| digits.saturating_mul(10_u128.pow(DIGITS_MAX - 1 - length));
        highest(self, length)
            .cmp(&highest(other, other_length))
            .then_with(|| pad(self.digits, length).cmp(&pad(other.digits, other_length)))
    }

    /// A text that equal numbers share.
    pub fn canonical(self) -> String {
        format!("{}{}e{}", if self.is_negative { "-" } else { "" }, self.digits, self.exponent)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_magnitude(*other),
            (true, true) => other.cmp_magnitude(*self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decimal(value: &Value) -> Decimal {
        Decimal::of(value).unwrap()
    }

    #[test]
    fn numbers_are_ordered_to_their_last_digit() {
        let ascending = [
            json!(-1e300),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-2.5),
            json!(-2),
            json!(-1e-300),
            json!(0),
            json!(5e-324),
            json!(0.1),
            json!(0.11),
            json!(1),
            json!(1.5),
            json!(9),
            json!(10),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64),
            // 2^60 as a float, whose shortest text is 24 more.
            json!(1_152_921_504_606_846_976.0),
            json!(1_152_921_504_606_846_977_u64),
            json!(u64::MAX - 1),
            json!(u64::MAX),
            json!(1e38),
            json!(1e39),
            json!(f64::MAX),
        ];
        for (index, low) in ascending.iter().enumerate() {
            for (other, high) in ascending.iter().enumerate() {
                assert_eq!(decimal(low).cmp(&decimal(high)), index.cmp(&other), "{low} {high}");
            }
        }
    }

    #[test]
    fn an_integral_float_equals_its_integer() {
        for (float, integer) in
            [(json!(1.0), json!(1)), (json!(-0.0), json!(0)), (json!(1e15), json!(1_000_000_000_000_000_u64))]
        {
            assert_eq!(decimal(&float), decimal(&integer));
            assert!(decimal(&float).is_integer());
        }
        assert!(!decimal(&json!(1.5)).is_integer());
        assert_eq!(decimal(&json!(-1200)).to_integer(), Some(-1200));
        assert_eq!(decimal(&json!(0.5)).to_integer(), None);
        assert_eq!(decimal(&json!(1e300)).to_integer(), None);
    }

    #[test]
    fn multiples_are_those_of_decimals() {
        for (value, unit, expected) in [
            (json!(0.3), json!(0.1), true),
            (json!(0.01), json!(0.1), false),
            (json!(10), json!(5), true),
            (json!(10), json!(4), false),
            (json!(1), json!(0.25), true),
            (json!(1), json!(0.3), false),
            (json!(-6), json!(3), true),
            (json!(0), json!(7), true),
            (json!(7), json!(0), false),
            (json!(u64::MAX), json!(5), true),
            (json!(u64::MAX - 1), json!(5), false),
            // Too far apart to tell.
            (json!(1e300), json!(3e-300), false),
        ] {
            assert_eq!(decimal(&value).is_multiple_of(decimal(&unit)), expected, "{value} {unit}");
        }
    }
}
