use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, json_path::path_at};

/// The code of the failure that data of another shape ends in.
const BAD_DATA: &str = "bad-data";

/// An event's data as the producer sent it.
///
/// ```
/// use tidegate_plugin::{Failure, Raw};
///
/// /// A consumer with `type Data = Raw` looks at the data itself.
/// fn length(data: &Raw) -> Result<usize, Failure> {
///     match data {
///         Raw::Binary(bytes) => Ok(bytes.len()),
///         Raw::Text(text) | Raw::Json(text) => Ok(text.len()),
///         Raw::Empty => Err(Failure::permanent("no-data", "there is nothing to measure")),
///     }
/// }
/// assert_eq!(length(&Raw::Binary(vec![1, 2])), Ok(2));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Raw {
    /// The event has no data.
    #[default]
    Empty,
    /// A JSON value, as its text.
    Json(String),
    /// Text of another media type, named by `datacontenttype`.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Raw {
    /// Data that is written as JSON.
    ///
    /// # Errors
    ///
    /// What `serde_json` can't write, for example a map whose keys aren't text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::Json(serde_json::to_string(value)?))
    }
}

/// What a [`Consumer`](crate::Consumer) can take an event's data as: every type that `serde` deserializes, read from
/// JSON, or [`Raw`] for a consumer that looks at the data itself.
///
/// An event without data reads as JSON's `null`: as `()`, as an `Option`, and as nothing else.
///
/// ```
/// use tidegate_plugin::{Data, Raw};
///
/// let magnitudes = Vec::<f64>::decode(Raw::Json("[5.5, 6.1]".into()), None)?;
/// assert_eq!(magnitudes, [5.5, 6.1]);
/// let wrong = Vec::<f64>::decode(Raw::Json(r#"["strong"]"#.into()), None).unwrap_err();
/// assert_eq!(wrong.reason().code, "bad-data");
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
pub trait Data: Sized {
    /// Reads the data; `media_type` is the event's `datacontenttype`.
    ///
    /// # Errors
    ///
    /// A permanent failure with code `bad-data` that names the JSON path of what doesn't fit.
    fn decode(raw: Raw, media_type: Option<&str>) -> Result<Self, Failure>;
}

impl Data for Raw {
    fn decode(raw: Raw, _media_type: Option<&str>) -> Result<Self, Failure> {
        Ok(raw)
    }
}

impl<T: DeserializeOwned> Data for T {
    fn decode(raw: Raw, media_type: Option<&str>) -> Result<Self, Failure> {
        match raw {
            Raw::Json(json) => serde_json::from_str(&json).map_err(|error| misfit(&json, &error)),
            Raw::Empty => serde_json::from_str("null").map_err(|_| {
                Failure::permanent(BAD_DATA, "the event has no data, and this consumer needs some")
            }),
            Raw::Text(_) | Raw::Binary(_) => Err(not_json(media_type)),
        }
    }
}

// Apart from the generic function, so that a component holds it once.
fn misfit(json: &str, error: &serde_json::Error) -> Failure {
    let path = path_at(json, error.line(), error.column());
    Failure::permanent(BAD_DATA, format_args!("data{path}: {error}"))
}

fn not_json(media_type: Option<&str>) -> Failure {
    let media_type = media_type.unwrap_or("of no named media type");
    Failure::permanent(BAD_DATA, format_args!("the data is {media_type}, and this consumer reads JSON"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{Data, Raw};
    use crate::Failure;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Quake {
        place: String,
        depths: Vec<f64>,
    }

    fn message(raw: Raw) -> String {
        match Quake::decode(raw, Some("text/csv")) {
            Err(Failure::Permanent(reason)) if reason.code == "bad-data" => reason.message,
            other => panic!("{other:?} is no permanent bad-data"),
        }
    }

    #[test]
    fn json_becomes_the_type() {
        let raw = Raw::Json(r#"{"place": "Alaska", "depths": [1, 2.5]}"#.to_owned());
        assert_eq!(
            Quake::decode(raw, None),
            Ok(Quake { place: "Alaska".to_owned(), depths: vec![1.0, 2.5] })
        );
    }

    #[test]
    fn data_of_another_shape_is_refused_with_its_path() {
        let raw = Raw::Json(r#"{"place": "Alaska", "depths": [1, "deep"]}"#.to_owned());
        let message = message(raw);
        assert!(
            message.starts_with("data.depths[1]: invalid type: string \"deep\", expected f64"),
            "{message}"
        );
    }

    #[test]
    fn data_that_is_no_json_is_refused_with_its_media_type() {
        assert_eq!(message(Raw::Binary(vec![1])), "the data is text/csv, and this consumer reads JSON");
        assert_eq!(message(Raw::Empty), "the event has no data, and this consumer needs some");
    }

    #[test]
    fn no_data_reads_as_null() {
        assert_eq!(Option::<Quake>::decode(Raw::Empty, None), Ok(None));
        assert_eq!(<()>::decode(Raw::Empty, None), Ok(()));
    }
}
