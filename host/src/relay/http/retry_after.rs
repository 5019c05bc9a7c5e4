//! When a server wants to be asked again.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{DATE, HeaderName, RETRY_AFTER};

use crate::clock::Timestamp;
use crate::limits::RETRY_AFTER_MAX;

/// How long a server asks to be left alone, at most a day: its `Retry-After`, in seconds or as a date. A date is
/// compared with that of the answer itself, so that two clocks that differ don't matter; `now` stands in where there is
/// none.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = header(headers, &RETRY_AFTER)?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let answered = header(headers, &DATE).and_then(date).unwrap_or(now);
        date(text)?.since(answered)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A date in one of the three forms that RFC 9110 wants every recipient to read.
fn date(text: &str) -> Option<Timestamp> {
    const FORMS: [&str; 3] =
        ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let parsed = FORMS.iter().find_map(|form| jiff::civil::DateTime::strptime(form, text).ok())?;
    let moment = jiff::tz::TimeZone::UTC.to_timestamp(parsed).ok()?;
    Some(Timestamp(moment.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(HeaderName, &str)]) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        // 1994-11-06T08:49:30Z
        retry_after(&map, Timestamp(784_111_770_000_000)).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_all_forms_of_a_date_are_read() {
        let seven_later = [
            "7",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ];
        for text in seven_later {
            assert_eq!(asked(&[(RETRY_AFTER, text)]), Some(7), "{text}");
        }
        for text in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994 08:49:37 +0100"] {
            assert_eq!(asked(&[(RETRY_AFTER, text)]), None, "{text}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn a_date_counts_from_the_answers_own() {
        let headers =
            [(RETRY_AFTER, "Wed, 01 Jan 2020 00:01:00 GMT"), (DATE, "Wed, 01 Jan 2020 00:00:00 GMT")];
        assert_eq!(asked(&headers), Some(60));
        let past = [(RETRY_AFTER, "Wed, 01 Jan 2020 00:00:00 GMT"), (DATE, "Wed, 01 Jan 2020 00:01:00 GMT")];
        assert_eq!(asked(&past), Some(0));
    }

    #[test]
    fn no_server_puts_off_for_longer_than_a_day() {
        for text in ["86401", "99999999999999999999999", "Tue, 31 Dec 2999 23:59:59 GMT"] {
            assert_eq!(asked(&[(RETRY_AFTER, text)]), Some(86_400), "{text}");
        }
    }
}
