//! Media types, as in `datacontenttype`.

/// What `datacontenttype` allows.
pub(super) const ALLOWED: &str =
    "a media type as in RFC 2046, such as `application/json` or `text/plain; charset=utf-8`";

/// Checks `type "/" subtype *(";" attribute "=" value)`.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    let (essence, mut parameters) =
        text.split_once(';').map_or((text, None), |(head, tail)| (head, Some(tail)));
    let (main, sub) = essence.trim_end_matches([' ', '\t']).split_once('/').ok_or("it has no `/`")?;
    if !is_token(main) || !is_token(sub) {
        return Err("its type and subtype have to be words without spaces and special characters");
    }
    while let Some(rest) = parameters {
        let rest = rest.trim_start_matches([' ', '\t']);
        let (name, value) = rest.split_once('=').ok_or("a parameter has no `=`")?;
        if !is_token(name) {
            return Err("the name of a parameter has to be a word");
        }
        let value_len = if value.starts_with('"') {
            quoted_len(value).ok_or("the quotes of a parameter don't close")?
        } else {
            let len = value.find([';', ' ', '\t']).unwrap_or(value.len());
            if !is_token(&value[..len]) {
                return Err("the value of a parameter has to be a word or in quotes");
            }
            len
        };
        let after = value[value_len..].trim_start_matches([' ', '\t']);
        parameters = match after.strip_prefix(';') {
            Some(rest) => Some(rest),
            None if after.is_empty() => None,
            None => return Err("between two parameters stands a `;`"),
        };
    }
    Ok(())
}

/// Whether a media type declares JSON: `*/json` or `*/*+json`, whatever its parameters.
pub(crate) fn is_json(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let subtype = essence.rsplit('/').next().unwrap_or_default().as_bytes();
    subtype.eq_ignore_ascii_case(b"json")
        || subtype.len() > 5 && subtype[subtype.len() - 5..].eq_ignore_ascii_case(b"+json")
}

/// Whether a media type declares Protobuf's binary form, by one of the names in use, whatever its parameters.
#[cfg(feature = "schemas-protobuf")]
pub(crate) fn is_protobuf(text: &str) -> bool {
    const NAMES: [&str; 3] =
        ["application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf"];
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    NAMES.iter().any(|name| name.eq_ignore_ascii_case(essence))
}

/// RFC 2045's `token`.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
}

/// The length of the quoted string at the start, its quotes included.
fn quoted_len(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()?),
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_told_from_other_text() {
        for text in [
            "application/json",
            "text/plain; charset=utf-8",
            "text/plain;charset=\"utf;8\" ; format=flowed",
            "application/vnd.api+json",
            "image/svg+xml",
            "x/y ; a=b",
            "a/b;c=\"\\\"\"",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "json",
            "/json",
            "text/",
            "te xt/plain",
            "text/plain;",
            "text/plain; charset",
            "text/plain; charset=",
            "text/plain; a=\"b",
            "text/plain; a=b c=d",
            "text/plain, text/html",
            "a/b/c",
            "text/plain; =b",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_a_subtype_or_a_suffix_in_any_case() {
        for text in
            ["application/json", "text/JSON; charset=utf-8", "application/vnd.x+json", "a/B+Json ;x=y"]
        {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "text/plain",
            "application/jsonl",
            "application/json-seq",
            "text/plain; x=a/json",
            "json/x",
            "a/+jsonx",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[cfg(feature = "schemas-protobuf")]
    #[test]
    fn protobuf_has_three_names() {
        for text in [
            "application/protobuf",
            "Application/X-Protobuf ; messageType=\"a.B\"",
            "application/vnd.google.protobuf;proto=a.B",
        ] {
            assert!(is_protobuf(text), "{text}");
        }
        for text in ["application/protobuf+json", "application/json", "text/protobuf", "protobuf", ""] {
            assert!(!is_protobuf(text), "{text}");
        }
    }
}
