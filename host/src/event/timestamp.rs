//! The grammar of RFC 3339.

/// What attributes of type `Timestamp` allow.
pub(super) const ALLOWED: &str = "a date and time as in RFC 3339, such as `2018-04-05T17:31:00Z`";

/// Checks a date and time. Fractions of any length, a leap second and lower-case `t` and `z` are RFC 3339; a space for
/// the `T`, a missing offset, and names of time zones are not.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "it has not the shape of one";
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Result<i16, &'static str> {
        let digits = bytes.get(from..from + len).ok_or(SHAPE)?;
        digits.iter().try_fold(0, |sum: i16, b| {
            if b.is_ascii_digit() { Ok(sum * 10 + i16::from(b - b'0')) } else { Err(SHAPE) }
        })
    };
    let expect =
        |at: usize, allowed: &[u8]| bytes.get(at).filter(|b| allowed.contains(b)).ok_or(SHAPE).map(drop);

    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    for (at, allowed) in [(4, "-"), (7, "-"), (10, "Tt"), (13, ":"), (16, ":")] {
        expect(at, allowed.as_bytes())?;
    }
    let mut offset = 19;
    if bytes.get(offset) == Some(&b'.') {
        let digits = bytes[offset + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Err(SHAPE);
        }
        offset += 1 + digits;
    }
    let end = if matches!(bytes.get(offset), Some(b'Z' | b'z')) {
        offset + 1
    } else {
        expect(offset, b"+-")?;
        expect(offset + 3, b":")?;
        if number(offset + 1, 2)? > 23 || number(offset + 4, 2)? > 59 {
            return Err("its offset is over 23:59");
        }
        offset + 6
    };
    if end != bytes.len() {
        return Err(SHAPE);
    }
    let day_exists = || jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok();
    if day_exists().is_none() {
        return Err("there is no such day");
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err("there is no such time of day");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_accepted() {
        for text in [
            "2018-04-05T17:31:00Z",
            "2018-01-31T02:23:11.235Z",
            "1985-04-12t23:20:50.52z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1937-01-01T12:00:27.87+00:20",
            "2024-02-29T00:00:00.123456789012-00:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "now",
            "2018-04-05",
            "2018-04-05T17:31Z",
            "2018-04-05 17:31:00Z",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31:00+01",
            "2018-04-05T17:31:00+0100",
            "2018-04-05T17:31:00.Z",
            "2018-04-05T17:31:00,5Z",
            "2018-04-05T17:31:00Z[Europe/Paris]",
            "2018-02-29T00:00:00Z",
            "2018-13-01T00:00:00Z",
            "2018-00-01T00:00:00Z",
            "2018-01-01T24:00:00Z",
            "2018-01-01T00:60:00Z",
            "2018-01-01T00:00:61Z",
            "2018-01-01T00:00:00+24:00",
            "18-01-01T00:00:00Z",
            "+2018-01-01T00:00:00Z",
            "2018-01-01T00:00:00Zé",
            "２018-01-01T00:00:00Z",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
