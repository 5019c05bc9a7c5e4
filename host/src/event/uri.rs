//! The grammar of RFC 3986, as far as telling right from wrong needs it.

use std::net::Ipv6Addr;

/// What attributes of type `URI-reference` allow.
pub(super) const REFERENCE_ALLOWED: &str = "a URI-reference as in RFC 3986, other characters percent-encoded";
/// What attributes of type `URI` allow.
pub(super) const URI_ALLOWED: &str = "an absolute URI as in RFC 3986, such as `https://example.com/schema`";

/// Checks a `URI-reference`: a URI or a relative reference. The empty one is a reference to the current document.
pub(super) fn check_reference(text: &str) -> Result<(), String> {
    match split_scheme(text)? {
        Some((_, rest)) => check_hierarchy(rest, text.len() - rest.len()),
        None => check_hierarchy(text, 0),
    }
}

/// Checks a `URI`: one with a scheme.
///
/// A fragment is accepted. The specification's text points at RFC 3986's `absolute-URI`, which has none, while the
/// JSON Schema beside it says `uri`, and references into a schema document are common.
pub(super) fn check_uri(text: &str) -> Result<(), String> {
    match split_scheme(text)? {
        Some((_, rest)) => check_hierarchy(rest, text.len() - rest.len()),
        None => Err("it has no scheme".to_owned()),
    }
}

/// Parts scheme and rest. A colon ends a scheme if it comes before any slash, question mark and hash.
fn split_scheme(text: &str) -> Result<Option<(&str, &str)>, String> {
    let Some(end) = text.find([':', '/', '?', '#']) else {
        return Ok(None);
    };
    if text.as_bytes()[end] != b':' {
        return Ok(None);
    }
    let (scheme, rest) = (&text[..end], &text[end + 1..]);
    let starts_well = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts_well && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        Ok(Some((scheme, rest)))
    } else {
        Err("what stands before its first `:` is no scheme (a letter, then letters, digits, `+`, `-`, `.`)"
            .to_owned())
    }
}

/// Checks what follows the scheme; `start` is where that begins in the whole text.
fn check_hierarchy(text: &str, start: usize) -> Result<(), String> {
    let (before_fragment, fragment) = split_at_first(text, "#");
    let (hierarchy, query) = split_at_first(before_fragment, "?");
    let path = match hierarchy.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            check_authority(&rest[..end], start + 2)?;
            &rest[end..]
        }
        None => hierarchy,
    };
    let place = |part: &str| start + (part.as_ptr() as usize - text.as_ptr() as usize);
    check_characters(path, place(path), b":@/")?;
    for part in [query, fragment].into_iter().flatten() {
        check_characters(part, place(part), b":@/?")?;
    }
    Ok(())
}

fn split_at_first<'a>(text: &'a str, separator: &str) -> (&'a str, Option<&'a str>) {
    text.split_once(separator).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn check_authority(authority: &str, start: usize) -> Result<(), String> {
    let (userinfo, host_and_port) =
        authority.split_once('@').map_or(("", authority), |(user, rest)| (user, rest));
    check_characters(userinfo, start, b":")?;
    let host_start = start + (authority.len() - host_and_port.len());
    let port = if let Some(rest) = host_and_port.strip_prefix('[') {
        let Some((literal, after)) = rest.split_once(']') else {
            return Err("its host opens `[` and doesn't close it".to_owned());
        };
        check_ip_literal(literal)?;
        match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => after,
            None => return Err("after the `]` of its host only `:` and a port can follow".to_owned()),
        }
    } else {
        let (host, port) = host_and_port.split_once(':').unwrap_or((host_and_port, ""));
        check_characters(host, host_start, b"")?;
        port
    };
    if port.bytes().all(|b| b.is_ascii_digit()) { Ok(()) } else { Err("its port is not a number".to_owned()) }
}

fn check_ip_literal(literal: &str) -> Result<(), String> {
    let future = || {
        let (version, address) = literal.strip_prefix(['v', 'V'])?.split_once('.')?;
        let version_fits = !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit());
        let address_fits = !address.is_empty() && address.bytes().all(|b| is_plain(b) || b == b':');
        (version_fits && address_fits).then_some(())
    };
    if literal.parse::<Ipv6Addr>().is_ok() || future().is_some() {
        Ok(())
    } else {
        Err(format!("`[{literal}]` is not an IPv6 address"))
    }
}

/// Checks for unreserved characters, sub-delimiters, percent-encoded bytes and the `extra` ones.
fn check_characters(part: &str, start: usize, extra: &[u8]) -> Result<(), String> {
    let bytes = part.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            if !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                return Err(format!("at byte {} two hexadecimal digits should follow `%`", start + at));
            }
            at += 3;
        } else if is_plain(byte) || extra.contains(&byte) {
            at += 1;
        } else {
            let found = part[at..].chars().next().unwrap_or_default();
            return Err(format!("{found:?} at byte {} can't stand there", start + at));
        }
    }
    Ok(())
}

/// RFC 3986's `unreserved` and `sub-delims`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_rfc_3986_and_of_the_specification_are_accepted() {
        for text in [
            "",
            "/",
            "//earthquake.usgs.gov/feed/ak",
            "https://github.com/cloudevents",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "/cloudevents/spec/pull/123",
            "/sensors/tn-1234567/alerts",
            "1-555-123-4567",
            "ftp://ftp.is.co.za/rfc/rfc1808.txt",
            "ldap://[2001:db8::7]/c=GB?objectClass?one",
            "telnet://192.0.2.16:80/",
            "http://user:secret@host:8080/a%20b;v=1?q=/?#f/?",
            "http://[v1.fe80::a+en1]:80/",
            "./a:b",
            "?q",
            "#f",
            "x:",
            "http://host:",
        ] {
            assert_eq!(check_reference(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_rfc_3986_has_no_rule_for_is_refused() {
        for text in [
            "a b",
            "1a:b",
            ":a",
            "é",
            "/a%2",
            "/a%zz",
            "http://ho st/",
            "http://[::1",
            "http://[::g]/",
            "http://[::1]x/",
            "http://h:8x/",
            "a#b#c",
            "\\\\share",
            "<x>",
            "a\"",
            "^",
            "`",
            "{}",
            "|",
            "http://[v.x]/",
            "http://a@b@c/",
            "http://a[b]/",
            "\u{0}",
            "a\n",
        ] {
            assert!(check_reference(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_uri_has_a_scheme() {
        assert_eq!(check_uri("https://example.com/schema.json#/definitions/quake"), Ok(()));
        assert!(check_uri("//example.com/schema").is_err());
        assert!(check_uri("schema").is_err());
        assert!(check_uri("").is_err());
    }

    #[test]
    fn the_place_of_a_wrong_character_is_its_byte() {
        let problem = check_reference("http://example.com/a?b=c d").unwrap_err();
        assert!(problem.contains("at byte 24"), "{problem}");
    }
}
