//! An amount of money, in cents.

use std::fmt;
use std::str::FromStr;

/// The largest amount of one command: far from what would overflow a balance in any lifetime.
const CENTS_MAX: u64 = 1_000_000_000_000;

/// Cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub u64);

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (whole, cents) = text.split_once('.').unwrap_or((text, "00"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let amount = (is_number(whole) && is_number(cents) && cents.len() == 2)
            .then(|| Some(whole.parse::<u64>().ok()?.checked_mul(100)? + cents.parse::<u64>().ok()?))
            .flatten();
        match amount {
            Some(cents) if (1..=CENTS_MAX).contains(&cents) => Ok(Self(cents)),
            _ => Err(format!("an amount is 0.01 to {}, such as 12 or 12.50", Self(CENTS_MAX))),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}
