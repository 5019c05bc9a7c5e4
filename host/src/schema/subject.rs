//! Subjects as memory has them, and what they say about events.

use std::sync::Arc;
#[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Compatibility, Schema, split};
#[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
use super::{Compiled, SchemaError};
use crate::clock::Timestamp;
use crate::event::Event;

/// A subject with its versions.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::schema::Schema;
///
/// bus.register_schema("OrderPlaced.v1", Schema::json(r#"{"type": "object"}"#)?, None)?;
/// for subject in bus.bus().schemas() {
///     println!("{}: {} versions, {}", subject.name, subject.versions.len(), subject.compatibility);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectStatus {
    /// Its name: the event type without its version.
    pub name: String,
    /// What each new version is held to.
    pub compatibility: Compatibility,
    /// Its versions, in ascending order.
    pub versions: Vec<SchemaVersion>,
}

/// A version of a subject.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::schema::Schema;
///
/// let schema = Schema::json("true")?;
/// let placed = bus.register_schema("OrderPlaced.v1", schema.clone(), None)?;
/// assert_eq!((placed.version, &placed.schema), (1, &schema));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaVersion {
    /// Its number, from 1.
    pub version: u32,
    /// The schema.
    pub schema: Schema,
    /// When it was registered.
    pub registered: Timestamp,
}

/// A subject.
#[derive(Debug)]
pub(crate) struct Subject {
    pub name: Arc<str>,
    pub compatibility: Compatibility,
    /// The first one has number 1.
    pub versions: Vec<Arc<Version>>,
}

/// A version of one.
#[derive(Debug)]
pub(crate) struct Version {
    pub schema: Schema,
    pub registered: Timestamp,
    /// Made when the first event of it comes. It fails where this build can't read what another one has checked.
    #[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
    compiled: OnceLock<Result<Compiled, SchemaError>>,
}

impl Version {
    pub fn new(schema: Schema, registered: Timestamp) -> Self {
        Self {
            schema,
            registered,
            #[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
            compiled: OnceLock::new(),
        }
    }

    fn status(&self, version: u32) -> SchemaVersion {
        SchemaVersion { version, schema: self.schema.clone(), registered: self.registered }
    }

    /// Holds an event's data against it.
    #[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
    fn check(&self, event: &Event) -> Result<(), SchemaRefusal> {
        let compiled = self.compiled.get_or_init(|| Compiled::new(&self.schema));
        let compiled = compiled.as_ref().map_err(|error| SchemaRefusal::Unreadable {
            event_type: event.kind().to_owned(),
            reason: error.to_string(),
        })?;
        compiled.check(event).map_err(|violation| SchemaRefusal::Invalid {
            id: event.id().to_owned(),
            event_type: event.kind().to_owned(),
            path: violation.path,
            reason: violation.reason,
        })
    }

    #[cfg(not(any(feature = "schemas-json", feature = "schemas-protobuf")))]
    fn check(&self, event: &Event) -> Result<(), SchemaRefusal> {
        let reason = self.schema.format().not_built().to_string();
        Err(SchemaRefusal::Unreadable { event_type: event.kind().to_owned(), reason })
    }
}

impl Subject {
    /// What others see of it.
    pub fn status(&self) -> SubjectStatus {
        let versions = (1..).zip(&self.versions).map(|(version, registered)| registered.status(version));
        SubjectStatus {
            name: self.name.to_string(),
            compatibility: self.compatibility,
            versions: versions.collect(),
        }
    }

    /// What others see of a version, where it is there.
    pub fn version_status(&self, number: u32) -> Option<SchemaVersion> {
        self.version(number).map(|version| version.status(number))
    }

    fn version(&self, number: u32) -> Option<&Arc<Version>> {
        self.versions.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }
}

/// Holds an event of a topic that requires schemas against that of its type.
pub(crate) fn check<S: AsRef<Subject>>(
    topic: &str,
    event: &Event,
    find: impl FnOnce(&str) -> Option<S>,
) -> Result<(), SchemaRefusal> {
    let (topic, event_type) = (|| topic.to_owned(), || event.kind().to_owned());
    let id = || event.id().to_owned();
    let Some((name, number)) = split(event.kind()) else {
        return Err(SchemaRefusal::Unversioned { id: id(), topic: topic(), event_type: event_type() });
    };
    let Some(subject) = find(name) else {
        return Err(SchemaRefusal::Unregistered {
            id: id(),
            topic: topic(),
            event_type: event_type(),
            versions: 0,
        });
    };
    let subject = subject.as_ref();
    let Some(version) = subject.version(number) else {
        let versions = subject.versions.len();
        return Err(SchemaRefusal::Unregistered {
            id: id(),
            topic: topic(),
            event_type: event_type(),
            versions,
        });
    };
    version.check(event)
}

/// Why an event is not accepted by a topic that requires schemas. Nothing was written.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::config::{SchemaPolicy, TopicConfig};
/// use tidegate::schema::{Schema, SchemaRefusal};
/// use tidegate::{Event, PublishError};
///
/// bus.create_topic("orders", TopicConfig::new(4).schemas(SchemaPolicy::Required))?;
/// let event = Event::new("1", "/shop", "OrderPlaced").build()?;
/// let refused = bus.publish("orders", event);
/// assert!(matches!(refused, Err(PublishError::Schema(SchemaRefusal::Unversioned { .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaRefusal {
    /// Its type names no version.
    #[error(
        "topic `{topic}` requires schemas, and type `{event_type}` of event `{id}` names no version: publish it with one, as \
         `{event_type}.v1`"
    )]
    Unversioned {
        /// The event's id.
        id: String,
        /// The topic.
        topic: String,
        /// The event's type.
        event_type: String,
    },
    /// There is no schema of this version.
    #[error(
        "topic `{topic}` requires schemas, and there is none of type `{event_type}` of event `{id}`{}: register it with `tidegate schemas register`, or \
         publish another version",
        match versions { 0 => String::new(), 1 => ", only version 1".to_owned(), last => format!(", only versions 1 to {last}") }
    )]
    Unregistered {
        /// The event's id.
        id: String,
        /// The topic.
        topic: String,
        /// The event's type.
        event_type: String,
        /// How many versions its subject has.
        versions: usize,
    },
    /// Its data breaks the schema.
    #[error("the data of event `{id}` is no `{event_type}`, at `{path}`: {reason}")]
    Invalid {
        /// The event's id.
        id: String,
        /// The event's type.
        event_type: String,
        /// Where in the data, as a JSON Pointer; empty for all of it.
        path: String,
        /// What is wrong there. It doesn't say the data.
        reason: String,
    },
    /// This build can't hold data against the schema. Another one can.
    #[error("no event can be held against the schema of `{event_type}`: {reason}")]
    Unreadable {
        /// The event's type.
        event_type: String,
        /// Why it can't.
        reason: String,
    },
}

impl SchemaRefusal {
    /// Whether it is the event's data that is wrong, and not its type.
    pub(crate) fn is_of_data(&self) -> bool {
        matches!(self, Self::Invalid { .. })
    }

    /// Whether it is the event that is wrong, and not this build.
    pub(crate) fn is_of_event(&self) -> bool {
        !matches!(self, Self::Unreadable { .. })
    }
}

#[cfg(test)]
#[cfg(feature = "schemas-json")]
mod tests {
    use super::*;
    use crate::event::Data;

    fn refusal(event_type: &str, data: Option<&Data>) -> Option<SchemaRefusal> {
        let texts = [
            r#"{"type": "object"}"#,
            r#"{"type": "object", "required": ["a"]}"#,
            r#"{"type": ["null", "string"]}"#,
        ];
        let version = |text| Arc::new(Version::new(Schema::json(text).unwrap(), Timestamp(1)));
        let subject = Arc::new(Subject {
            name: "T".into(),
            compatibility: Compatibility::None,
            versions: texts.into_iter().map(version).collect(),
        });
        let mut event = Event::new("1", "/s", event_type).data(data.cloned());
        if matches!(data, Some(Data::Text(_))) {
            event = event.datacontenttype("text/plain");
        }
        check("t", &event.build().unwrap(), |name| Some(subject).filter(|_| name == "T")).err()
    }

    fn json(text: &str) -> Data {
        Data::Json(text.into())
    }

    #[test]
    fn an_event_is_held_against_the_schema_of_its_version() {
        assert_eq!(refusal("T.v1", Some(&json("{}"))), None);
        assert_eq!(refusal("T.v2", Some(&json(r#"{"a": 1}"#))), None);
        assert!(
            matches!(refusal("T.v2", Some(&json("{}"))), Some(SchemaRefusal::Invalid { path, .. }) if path.is_empty())
        );
        assert_eq!(refusal("T.v3", None), None, "no data counts as null");
        assert!(refusal("T.v1", None).unwrap().to_string().contains("counts as null"));
        let text = refusal("T.v1", Some(&Data::Text("{}".into()))).unwrap();
        assert!(matches!(&text, SchemaRefusal::Invalid { reason, .. } if reason.contains("JSON")), "{text}");
    }

    #[test]
    fn a_type_without_a_registered_version_is_refused() {
        for event_type in ["T", "T.v", "T.v0", "T.v01", "T.v+1", "T.1", ".v1", "T.v99999999999"] {
            let refused = refusal(event_type, Some(&json("{}")));
            assert!(matches!(refused, Some(SchemaRefusal::Unversioned { .. })), "{event_type}: {refused:?}");
        }
        for (event_type, versions) in [("T.v4", 3), ("U.v1", 0), ("T.v1.v1", 0), ("t.v1", 0)] {
            let refused = refusal(event_type, Some(&json("{}")));
            let Some(SchemaRefusal::Unregistered { versions: found, .. }) = refused else {
                panic!("{event_type}: {refused:?}");
            };
            assert_eq!(found, versions, "{event_type}");
        }
    }
}
