use std::{fmt, time::Duration};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A moment: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Displayed as RFC 3339 in UTC.
///
/// ```
/// # use tidegate_plugin::Timestamp;
/// assert_eq!(Timestamp::from_micros(1_517_365_098_040_000).to_string(), "2018-01-31T02:18:18.040000Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment so many microseconds after the start of 1970; before it, if negative.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start of 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment so much later; the last one there is, where that is later still.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let micros = self.0.rem_euclid(MICROS_PER_SECOND);
        let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
        let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// The proleptic Gregorian date of a day counted from the start of 1970. Years are counted from March, so that the leap
/// day is a year's last, and in eras of 400 years, which all have the same length.
fn date(day_of_1970: i64) -> (i64, i64, i64) {
    let day = day_of_1970 + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    fn at_second(second: i64) -> String {
        Timestamp::from_micros(second * 1_000_000).to_string()
    }

    #[test]
    fn moments_display_as_rfc_3339() {
        assert_eq!(at_second(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at_second(-1), "1969-12-31T23:59:59.000000Z");
        assert_eq!(at_second(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at_second(4_107_542_399), "2100-02-28T23:59:59.000000Z");
        assert_eq!(at_second(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(1).to_string(), "1970-01-01T00:00:00.000001Z");
    }
}
