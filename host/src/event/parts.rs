//! What an event is made of, and the rules for it.

use serde_json::value::RawValue;

use super::attribute::{check_reference, check_size, check_text, check_timestamp, check_uri};
use super::{Attribute, Data, EventError, JsonError, media_type};
use crate::limits::{ATTRIBUTE_NAME_BYTES_MAX, EXTENSIONS_MAX};

/// What an event is made of, unchecked: the way from and to other forms of an event.
///
/// ```
/// use tidegate::{Event, EventParts};
///
/// let parts = EventParts {
///     id: "order-17".into(),
///     source: "/shop".into(),
///     kind: "OrderPlaced.v1".into(),
///     ..EventParts::default()
/// };
/// let event = Event::try_from(parts)?;
/// assert_eq!(event.into_parts().kind, "OrderPlaced.v1");
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventParts {
    /// `id`.
    pub id: String,
    /// `source`, a URI-reference.
    pub source: String,
    /// `type`.
    pub kind: String,
    /// `subject`.
    pub subject: Option<String>,
    /// `time`, as in RFC 3339.
    pub time: Option<String>,
    /// `datacontenttype`, a media type.
    pub datacontenttype: Option<String>,
    /// `dataschema`, an absolute URI.
    pub dataschema: Option<String>,
    /// Extension attributes by name; in an event's parts in ascending order.
    pub extensions: Vec<(String, Attribute)>,
    /// The data.
    pub data: Option<Data>,
}

/// The names of the attributes that every event may have, and what the JSON format uses beside them.
pub(super) const RESERVED: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

/// Extension attributes that their specifications say are non-empty text, and what links correlations.
const TEXT_EXTENSIONS: [&str; 8] = [
    "partitionkey",
    "correlationid",
    "causationid",
    "parentcorrelationid",
    "sequence",
    "sequencetype",
    "traceparent",
    "tracestate",
];

const NAME_ALLOWED: &str = "a name is of lower-case letters `a` to `z` and digits";

impl EventParts {
    /// Adds an extension attribute where there is none of this name; `value` is made only then.
    pub(crate) fn add_extension(&mut self, name: &str, value: impl FnOnce() -> Attribute) {
        if self.extensions.iter().all(|(other, _)| other != name) {
            self.extensions.push((name.to_owned(), value()));
        }
    }

    /// Checks all rules but that of the size, and puts the extensions in order.
    pub(super) fn check(&mut self) -> Result<(), EventError> {
        self.check_core()?;
        self.check_extensions()?;
        self.check_data()
    }

    fn check_core(&self) -> Result<(), EventError> {
        for (name, value) in [("id", &self.id), ("source", &self.source), ("type", &self.kind)] {
            check_filled(name, value)?;
        }
        check_size("id", self.id.len())?;
        check_text("id", &self.id)?;
        check_size("source", self.source.len())?;
        check_reference("source", &self.source)?;
        check_size("type", self.kind.len())?;
        check_text("type", &self.kind)?;
        if let Some(subject) = &self.subject {
            check_size("subject", subject.len())?;
            check_filled("subject", subject)?;
            check_text("subject", subject)?;
        }
        if let Some(time) = &self.time {
            check_size("time", time.len())?;
            check_timestamp("time", time)?;
        }
        if let Some(text) = &self.datacontenttype {
            check_size("datacontenttype", text.len())?;
            check_text("datacontenttype", text)?;
            media_type::check(text).map_err(|problem| {
                EventError::invalid("datacontenttype", text, problem, media_type::ALLOWED)
            })?;
        }
        if let Some(schema) = &self.dataschema {
            check_size("dataschema", schema.len())?;
            check_uri("dataschema", schema)?;
        }
        Ok(())
    }

    fn check_extensions(&mut self) -> Result<(), EventError> {
        let count = self.extensions.len();
        if count > EXTENSIONS_MAX {
            return Err(EventError::TooManyExtensions { count, count_max: EXTENSIONS_MAX });
        }
        sort_extensions(&mut self.extensions);
        if let Some(pair) = self.extensions.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(EventError::Duplicate { attribute: pair[0].0.clone() });
        }
        for (name, value) in &self.extensions {
            check_name(name)?;
            value.check(name)?;
            if TEXT_EXTENSIONS.contains(&name.as_str()) {
                match value {
                    Attribute::Text(text) => check_filled(name, text)?,
                    other => {
                        let problem = "its extension says that it is text";
                        return Err(EventError::invalid(name, &other.to_string(), problem, "non-empty text"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The data has to be what `datacontenttype` says, as it could not be written in the JSON format otherwise.
    fn check_data(&mut self) -> Result<(), EventError> {
        match &mut self.data {
            None | Some(Data::Binary(_)) => Ok(()),
            Some(Data::Json(text)) => {
                if let Some(declared) =
                    self.datacontenttype.as_deref().filter(|text| !media_type::is_json(text))
                {
                    let problem = "the data is JSON";
                    return Err(EventError::invalid(
                        "datacontenttype",
                        declared,
                        problem,
                        "none, `*/json` or `*/*+json`",
                    ));
                }
                let value: &RawValue = serde_json::from_str(text)
                    .map_err(|failure| EventError::Data(JsonError::from(failure)))?;
                if value.get().len() < text.len() {
                    *text = value.get().to_owned();
                }
                Ok(())
            }
            Some(Data::Text(_)) => match self.datacontenttype.as_deref() {
                None => {
                    let problem = "data without one is JSON, and this is text";
                    Err(EventError::invalid("datacontenttype", "", problem, "a media type that is not JSON"))
                }
                Some(declared) if media_type::is_json(declared) => {
                    let problem = "the data is text that is not JSON";
                    Err(EventError::invalid(
                        "datacontenttype",
                        declared,
                        problem,
                        "a media type that is not JSON",
                    ))
                }
                Some(_) => Ok(()),
            },
        }
    }
}

fn check_filled(name: &str, text: &str) -> Result<(), EventError> {
    if text.is_empty() {
        return Err(EventError::invalid(name, text, "it is empty", "text that is not empty"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), EventError> {
    if name.is_empty() {
        return Err(EventError::name(name, format!("it is empty; {NAME_ALLOWED}")));
    }
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        return Err(EventError::name(name, format!("it is longer than {ATTRIBUTE_NAME_BYTES_MAX} bytes")));
    }
    if RESERVED.contains(&name) {
        return Err(EventError::name(name, "it names something else in every event"));
    }
    match name.chars().find(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit()) {
        None => Ok(()),
        Some(found) => Err(EventError::name(name, format!("it contains {found:?}; {NAME_ALLOWED}"))),
    }
}

pub(super) fn sort_extensions(extensions: &mut [(String, Attribute)]) {
    extensions.sort_by(|(a, _), (b, _)| a.cmp(b));
}
