//! Schemas that a service brings along: a folder of files, each named by its event type.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::error::Place;
use crate::limits::{SCHEMA_BYTES_MAX, SCHEMA_FILES_MAX, SUBJECT_BYTES_MAX};
use crate::schema::{Compatibility, Schema, SchemaError, SchemaFormat, VersionedType};

/// What a file's name ends in, behind the event type, and what is in it then.
const ENDINGS: [(&str, SchemaFormat); 3] = [
    (".schema.json", SchemaFormat::JsonSchema),
    (".json", SchemaFormat::JsonSchema),
    (".proto", SchemaFormat::Protobuf),
];

/// A folder with the schemas of a service, and what its subjects are held to.
///
/// ```
/// use tidegate::config::SchemasConfig;
/// use tidegate::schema::Compatibility;
///
/// let config = SchemasConfig::new("/srv/shop/schemas")
///     .compatibility(Compatibility::Backward)
///     .subject("OrderPlaced", Compatibility::FullTransitive);
/// config.validate()?;
/// assert_eq!(config.mode("OrderPlaced"), Some(Compatibility::FullTransitive));
/// assert_eq!(config.mode("OrderShipped"), Some(Compatibility::Backward));
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemasConfig {
    /// The folder. Its files are named by their event types, see [`SchemaFile`].
    pub folder: PathBuf,
    /// What its subjects are held to. Without it, each keeps its own mode, which is `backward` for a new one.
    pub compatibility: Option<Compatibility>,
    /// What single subjects are held to instead, by name.
    pub subjects: BTreeMap<String, Compatibility>,
}

impl SchemasConfig {
    /// The schemas in a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), compatibility: None, subjects: BTreeMap::new() }
    }

    /// Sets [`compatibility`](Self::compatibility).
    #[must_use]
    pub fn compatibility(mut self, mode: Compatibility) -> Self {
        self.compatibility = Some(mode);
        self
    }

    /// Sets the mode of one of the [`subjects`](Self::subjects).
    #[must_use]
    pub fn subject(mut self, name: impl Into<String>, mode: Compatibility) -> Self {
        self.subjects.insert(name.into(), mode);
        self
    }

    /// What a subject is to be held to; nothing where its own mode stays.
    pub fn mode(&self, subject: &str) -> Option<Compatibility> {
        self.subjects.get(subject).copied().or(self.compatibility)
    }

    /// The files of the folder, by subject and version.
    ///
    /// # Errors
    ///
    /// As [`SchemaFile::in_folder`]; also where a subject that has a mode of its own has no file.
    pub fn files(&self) -> Result<Vec<SchemaFile>, SchemaFileError> {
        let files = SchemaFile::in_folder(&self.folder)?;
        let there: BTreeSet<&str> = files.iter().map(|file| file.event_type.subject()).collect();
        match self.subjects.keys().find(|name| !there.contains(&***name)) {
            None => Ok(files),
            Some(name) => {
                Err(SchemaFileError::NoSubject { folder: self.folder.clone(), subject: name.clone() })
            }
        }
    }

    /// Checks the settings. The folder isn't read.
    ///
    /// # Errors
    ///
    /// The first setting that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        if self.folder.as_os_str().is_empty() {
            let allowed = "the path of a folder with the files of schemas";
            return Err(ConfigError::invalid(place.at("folder").path(), "empty", allowed));
        }
        let subjects = place.at("subjects");
        for name in self.subjects.keys() {
            let is_subject =
                !name.is_empty() && name.len() <= SUBJECT_BYTES_MAX && name.parse::<VersionedType>().is_err();
            if !is_subject {
                let allowed = format!(
                    "an event type without its version, as `OrderPlaced`, of at most {SUBJECT_BYTES_MAX} bytes"
                );
                return Err(ConfigError::invalid(subjects.at(name).path(), format!("of {name:?}"), allowed));
            }
        }
        Ok(())
    }
}

/// A file with a schema, named by its event type: `OrderPlaced.v1.json` or `OrderPlaced.v1.schema.json` with a JSON Schema,
/// `OrderPlaced.v1.proto` with Protobuf.
///
/// ```
/// use tidegate::config::SchemaFile;
///
/// # let directory = tempfile::tempdir()?;
/// # let folder = directory.path();
/// std::fs::write(folder.join("OrderPlaced.v1.proto"), "syntax = 'proto3'; message OrderPlaced { string order = 1; }")?;
/// std::fs::write(folder.join("OrderPlaced.v2.json"), "true")?;
/// std::fs::write(folder.join("README.md"), "What our events are.")?;
/// for file in SchemaFile::in_folder(folder)? {
///     println!("{}: {}", file.event_type, file.read()?.format());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct SchemaFile {
    /// The event type.
    pub event_type: VersionedType,
    /// The file.
    pub path: PathBuf,
}

impl SchemaFile {
    /// A file that is named by its event type. It isn't read.
    ///
    /// # Errors
    ///
    /// It has another name.
    pub fn named(path: impl Into<PathBuf>) -> Result<Self, SchemaFileError> {
        let path = path.into();
        match parts(&path) {
            Some((event_type, _)) => Ok(Self { event_type, path }),
            None => Err(SchemaFileError::Name { path }),
        }
    }

    /// The files of a folder that are named by event types, by subject and version. What has another name is left out, and
    /// folders within it are.
    ///
    /// # Errors
    ///
    /// The folder can't be read, or has none of them, or more than 65,536; two files are of the same event type.
    pub fn in_folder(folder: impl AsRef<Path>) -> Result<Vec<Self>, SchemaFileError> {
        let folder = folder.as_ref();
        let failed = |source| SchemaFileError::Io { path: folder.to_owned(), source };
        let mut found: BTreeMap<VersionedType, PathBuf> = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some((event_type, _)) = parts(&path).filter(|_| path.is_file()) else { continue };
            if let Some(other) = found.insert(event_type, path.clone()) {
                let (one, other) = if path < other { (path, other) } else { (other, path) };
                return Err(SchemaFileError::Twice { one, other });
            }
            if found.len() > SCHEMA_FILES_MAX {
                return Err(SchemaFileError::TooMany { folder: folder.to_owned(), max: SCHEMA_FILES_MAX });
            }
        }
        if found.is_empty() {
            return Err(SchemaFileError::Empty { folder: folder.to_owned() });
        }
        Ok(found.into_iter().map(|(event_type, path)| Self { event_type, path }).collect())
    }

    /// Reads its schema.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is no schema.
    pub fn read(&self) -> Result<Schema, SchemaFileError> {
        let (_, format) =
            parts(&self.path).ok_or_else(|| SchemaFileError::Name { path: self.path.clone() })?;
        let text = read_bounded(&self.path)
            .map_err(|source| SchemaFileError::Io { path: self.path.clone(), source })?;
        let schema = match format {
            SchemaFormat::JsonSchema => Schema::json(text),
            SchemaFormat::Protobuf => Schema::protobuf(text),
        };
        schema.map_err(|source| SchemaFileError::Schema { path: self.path.clone(), source })
    }
}

/// What a file's name says.
fn parts(path: &Path) -> Option<(VersionedType, SchemaFormat)> {
    let name = path.file_name()?.to_str()?;
    let (stem, format) =
        ENDINGS.iter().find_map(|(ending, format)| Some((name.strip_suffix(ending)?, *format)))?;
    Some((stem.parse().ok()?, format))
}

/// The text of a file; of one that is too large as much as shows that.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(SCHEMA_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    if text.len() > SCHEMA_BYTES_MAX {
        // What is cut off here may be a part of a character.
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Why the files of schemas are not read.
///
/// ```
/// use tidegate::config::{SchemaFile, SchemaFileError};
///
/// let unnamed = SchemaFile::named("schemas/orders.json").unwrap_err();
/// assert!(matches!(unnamed, SchemaFileError::Name { .. }), "{unnamed}");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaFileError {
    /// A file or the folder can't be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file isn't named by its event type.
    #[error("{}: the file of a schema is named by its event type, as OrderPlaced.v1.json or OrderPlaced.v1.proto", .path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two files are of the same event type.
    #[error("{} and {} are of the same event type: keep one of them", .one.display(), .other.display())]
    Twice {
        /// The one.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// No file of the folder is named by an event type.
    #[error("{} has no schemas: their files are named by their event types, as OrderPlaced.v1.json or OrderPlaced.v1.proto", .folder.display())]
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder has too many files.
    #[error("{} has more than {max} files of schemas, which is more than a bus takes", .folder.display())]
    TooMany {
        /// The folder.
        folder: PathBuf,
        /// The bound.
        max: usize,
    },
    /// A subject has a mode of its own, and no file.
    #[error("{} has no schema of `{subject}`, for which `schemas.subjects` has a mode: name one that is there", .folder.display())]
    NoSubject {
        /// The folder.
        folder: PathBuf,
        /// The subject.
        subject: String,
    },
    /// A file has no schema in it.
    #[error("{}: {source}", .path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SchemaError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_event_type() {
        let named = |name: &str| SchemaFile::named(name).map(|file| file.event_type.to_string()).ok();
        for name in ["a/OrderPlaced.v1.json", "OrderPlaced.v1.schema.json", "OrderPlaced.v1.proto"] {
            assert_eq!(named(name).as_deref(), Some("OrderPlaced.v1"), "{name}");
        }
        assert_eq!(named("shop.order.v12.json").as_deref(), Some("shop.order.v12"));
        for name in ["OrderPlaced.json", "OrderPlaced.v1", "v1.json", "README.md", "OrderPlaced.v1.avsc"] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn a_folders_files_come_by_subject_and_version() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), "true").unwrap();
        let files = || SchemaFile::in_folder(folder.path());
        assert!(matches!(files(), Err(SchemaFileError::Empty { .. })));
        ["B.v10.json", "B.v2.json", "A.v1.json", "notes.json", "B.v3.json~"].into_iter().for_each(put);
        fs::create_dir(folder.path().join("C.v1.json")).unwrap();
        let names: Vec<_> = files().unwrap().iter().map(|file| file.event_type.to_string()).collect();
        assert_eq!(names, ["A.v1", "B.v2", "B.v10"]);
        let missing = SchemasConfig::new(folder.path()).subject("D", Compatibility::Full).files();
        assert!(matches!(missing, Err(SchemaFileError::NoSubject { subject, .. }) if subject == "D"));
        put("A.v1.proto");
        assert!(matches!(files(), Err(SchemaFileError::Twice { .. })));
        assert!(matches!(SchemaFile::in_folder("no/such"), Err(SchemaFileError::Io { .. })));
    }

    #[test]
    fn a_file_that_is_no_schema_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let error = SchemaFile::named(&path).unwrap().read().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            error
        };
        assert!(read("A.v1.json", b"{").contains("no JSON"));
        assert!(read("A.v1.json", b"\xff").contains("utf-8"));
        let large = " ".repeat(SCHEMA_BYTES_MAX);
        assert!(read("A.v1.json", format!("{large}ä").as_bytes()).contains("more than"));
        #[cfg(feature = "schemas-protobuf")]
        assert!(read("A.v1.proto", b"\nmessage {}").contains("line 2"));
    }
}
