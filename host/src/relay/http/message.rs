//! An event as an HTTP request: `CloudEvents`' HTTP protocol binding 1.0.2.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Uri};

use crate::config::ContentMode;
use crate::event::{Data, Event};
use crate::handler::Failure;
use crate::relay::attributes::{PREFIX, STRUCTURED, attributes, trace_headers};
use crate::relay::identity::identity;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What data without a media type is that isn't bytes.
const JSON: &str = "application/json";

/// A request that posts an event, beside `headers`.
///
/// # Errors
///
/// The event has a value that HTTP has no room for.
pub(super) fn message(
    event: &Event,
    mode: ContentMode,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Request<Full<Bytes>>, Failure> {
    let mut headers = headers.clone();
    let key = HeaderValue::try_from(format!("\"{}\"", identity(event)));
    headers.insert(IDEMPOTENCY_KEY, key.map_err(|_| unfit("the idempotency key"))?);
    for (name, value) in trace_headers(event) {
        // What the configuration sets stays; a value that HTTP has no room for is worth no failure.
        if let (false, Ok(value)) = (headers.contains_key(name), HeaderValue::try_from(value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let body = match mode {
        ContentMode::Binary => {
            for (name, value) in attributes(event) {
                let header = HeaderName::try_from(format!("{PREFIX}{name}")).map_err(|_| unfit(name))?;
                headers.insert(header, HeaderValue::try_from(value).map_err(|_| unfit(name))?);
            }
            let implied = matches!(event.data(), Some(Data::Json(_))).then_some(JSON);
            if let Some(media_type) = event.datacontenttype().or(implied) {
                let value = HeaderValue::from_bytes(media_type.as_bytes());
                headers.insert(CONTENT_TYPE, value.map_err(|_| unfit("datacontenttype"))?);
            }
            Bytes::copy_from_slice(event.data().map_or(&[], Data::as_bytes))
        }
        ContentMode::Structured => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
            Bytes::from(event.to_json())
        }
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

fn unfit(what: &str) -> Failure {
    Failure::permanent(
        "http-header",
        format!("{what} can't be written as an HTTP header: use `structured` mode"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(event: &Event, mode: ContentMode) -> Request<Full<Bytes>> {
        message(event, mode, &Uri::from_static("http://h/"), &HeaderMap::new()).unwrap()
    }

    fn content_type(event: &Event) -> Option<String> {
        let headers = request(event, ContentMode::Binary).headers().clone();
        headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_media_type_is_that_of_the_data() {
        let event = || Event::new("1", "/a", "t");
        assert_eq!(content_type(&event().build().unwrap()), None);
        assert_eq!(content_type(&event().json_text("1").build().unwrap()).as_deref(), Some(JSON));
        let declared = event().datacontenttype("application/x+json").json_text("1").build().unwrap();
        assert_eq!(content_type(&declared).as_deref(), Some("application/x+json"));
        let bytes = event().data(Some(Data::Binary(vec![1]))).build().unwrap();
        assert_eq!(content_type(&bytes), None);
    }

    #[test]
    fn a_structured_request_is_the_event_alone() {
        let event = Event::new("1", "/a", "t").subject("s").json_text("1").build().unwrap();
        let request = request(&event, ContentMode::Structured);
        assert_eq!(request.headers()[CONTENT_TYPE], STRUCTURED);
        assert!(!request.headers().keys().any(|name| name.as_str().starts_with(PREFIX)));
    }
}
