//! The address of another system.

use super::super::ConfigError;
use super::super::error::Place;
use crate::limits::URL_BYTES_MAX;

/// Refuses what is no URL of one of these schemes. Userinfo is refused as well: it would be shown wherever the URL is.
pub(super) fn check(place: &Place<'_>, url: &str, schemes: &[&str]) -> Result<(), ConfigError> {
    let example = format!("{}://host:port", schemes.first().unwrap_or(&"http"));
    let schemes_text = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect::<Vec<_>>().join(" or ");
    let refuse = |value: &str, allowed: String| Err(ConfigError::invalid(place.path(), value, allowed));
    if url.len() > URL_BYTES_MAX {
        return refuse(&format!("a URL of {} bytes", url.len()), format!("at most {URL_BYTES_MAX} bytes"));
    }
    let parts = url.split_once("://").filter(|(scheme, _)| schemes.contains(scheme));
    let Some((_, rest)) = parts else {
        return refuse(&format!("{:?}", shown(url)), format!("a URL that begins with {schemes_text}"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let allowed = "a URL without user and password; they have settings of their own";
        return refuse("a URL with userinfo", allowed.to_owned());
    }
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if authority.is_empty() || authority.starts_with(':') || !is_plain || rest.contains('#') {
        let allowed = format!(
            "a URL such as `{example}`, without spaces, other characters percent-encoded, and no `#`"
        );
        return refuse(&format!("{:?}", shown(url)), allowed);
    }
    Ok(())
}

/// A URL for people: without its query and its fragment, which may hold a token, and without userinfo. It may be relative,
/// as a redirect's is.
pub(crate) fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (before, hidden) = url.split_at(end);
    // Nothing else of the hidden part is shown.
    let mark = hidden.get(..1).map_or_else(String::new, |mark| format!("{mark}.."));
    let begin = before.find("://").map_or_else(|| if before.starts_with("//") { 2 } else { 0 }, |at| at + 3);
    let (scheme, rest) = before.split_at(begin);
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{path}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url_holds_no_secret() {
        for (url, text) in [
            ("https://example.com/hook?access_token=hunter2", "https://example.com/hook?.."),
            ("http://user:hunter2@[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("nats://localhost", "nats://localhost"),
            ("user:hunter2@host", "host"),
            ("/login?next=https://example.com/&token=hunter2", "/login?.."),
            ("//user:hunter2@example.com/a", "//example.com/a"),
            ("https://example.com/#token=hunter2", "https://example.com/#.."),
        ] {
            assert_eq!(shown(url), text);
        }
    }

    #[test]
    fn only_urls_of_the_schemes_that_are_spoken_are_accepted() {
        let root = Place::ROOT;
        let place = root.at("url");
        let schemes = ["http", "https"];
        for url in ["http://h", "https://h:8443/a?b=c", "http://[::1]:80/%20"] {
            assert_eq!(check(&place, url, &schemes), Ok(()), "{url}");
        }
        for url in [
            "",
            "h",
            "ftp://h",
            "http://",
            "http:///a",
            "http://:80",
            "http://h/a b",
            "http://h/#a",
            "http://é",
        ] {
            assert!(check(&place, url, &schemes).is_err(), "{url}");
        }
        let refused = check(&place, "http://user:hunter2@h/", &schemes).unwrap_err().to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
