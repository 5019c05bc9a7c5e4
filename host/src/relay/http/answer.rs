//! What an endpoint's answer means for an event.

use hyper::header::LOCATION;
use hyper::{HeaderMap, StatusCode};

use super::retry_after::retry_after;
use crate::clock::Timestamp;
use crate::config::shown_url;
use crate::handler::Failure;
use crate::limits::RELAY_EXCERPT_BYTES;

/// An endpoint's answer, as far as it matters.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the event is handed on; otherwise whether to try again.
    ///
    /// # Errors
    ///
    /// The failure of the delivery, with what the endpoint has said.
    pub fn outcome(&self, target: &str, now: Timestamp) -> Result<(), Failure> {
        let code = || format!("http-{}", self.status.as_u16());
        match self.status.as_u16() {
            200..=299 => Ok(()),
            408 | 425 | 429 | 500..=599 => {
                let failure = Failure::transient(code(), self.message(target));
                Err(match retry_after(&self.headers, now) {
                    Some(wait) => failure.with_retry_after(wait),
                    None => failure,
                })
            }
            300..=399 => {
                // A redirect often repeats the query, which may hold the relay's own token.
                let location = self.headers.get(LOCATION).map(|location| {
                    excerpt(shown_url(&String::from_utf8_lossy(location.as_bytes())).as_bytes())
                });
                let place = location.map_or_else(String::new, |place| format!(" to {place}"));
                // Its body is left out: it is written for people, and repeats the `Location` with all that is in it.
                let message = format!(
                    "POST {target} was answered with {}; redirects are not followed: if the event belongs \
                     there{place}, make that the relay's `url`",
                    self.status
                );
                Err(Failure::permanent(code(), message))
            }
            _ => Err(Failure::permanent(code(), self.message(target))),
        }
    }

    fn message(&self, target: &str) -> String {
        let status = self.status;
        match excerpt(&self.body).as_str() {
            "" => format!("POST {target} was answered with {status}"),
            body => format!("POST {target} was answered with {status}: {body}"),
        }
    }
}

/// The beginning of what came from outside, on one line.
fn excerpt(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(RELAY_EXCERPT_BYTES)];
    let text = String::from_utf8_lossy(shown);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.trim();
    if shown.len() < bytes.len() { format!("{line} ..") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::handler::FailureKind;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: map, body: body.as_bytes().to_vec() }
    }

    fn failure(answer: &Answer) -> Failure {
        answer.outcome("http://h/", Timestamp(0)).unwrap_err()
    }

    #[test]
    fn an_answer_says_whether_another_attempt_may_help() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(answer(status, &[], "").outcome("http://h/", Timestamp(0)), Ok(()), "{status}");
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 599] {
            assert_eq!(failure(&answer(status, &[], "")).kind, FailureKind::Transient, "{status}");
        }
        for status in [300, 301, 304, 307, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 431, 499, 600] {
            assert_eq!(failure(&answer(status, &[], "")).kind, FailureKind::Permanent, "{status}");
        }
    }

    #[test]
    fn a_failure_repeats_what_the_endpoint_has_said_in_bounds() {
        let refused = failure(&answer(422, &[], "no such\n\u{1b}[31mcustomer"));
        assert_eq!(refused.code, "http-422");
        assert!(refused.message.contains("422 Unprocessable Entity: no such  [31mcustomer"), "{refused}");
        let long = failure(&answer(400, &[], &"x".repeat(RELAY_EXCERPT_BYTES + 1)));
        assert!(long.message.ends_with("x ..") && long.message.len() < RELAY_EXCERPT_BYTES + 100, "{long}");
        let moved = failure(&answer(308, &[("location", "https://elsewhere/")], ""));
        assert!(moved.message.contains("to https://elsewhere/"), "{moved}");
        let page = "<a href=\"/new?access_token=hunter2\">here</a>";
        let echoed = failure(&answer(307, &[("location", "/new?access_token=hunter2")], page));
        assert!(echoed.message.contains("to /new?..") && !echoed.message.contains("hunter2"), "{echoed}");
    }

    #[test]
    fn the_wait_that_a_server_asks_for_goes_with_a_transient_failure() {
        let wait = |status| failure(&answer(status, &[("retry-after", "120")], "")).retry_after;
        assert_eq!(wait(503), Some(Duration::from_mins(2)));
        assert_eq!(wait(429), Some(Duration::from_mins(2)));
        assert_eq!(wait(404), None);
    }
}
