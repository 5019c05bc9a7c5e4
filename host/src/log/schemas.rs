//! Schemas in the log: registering them, and what memory has of them.
//!
//! A subject has a row under its number and version 0, with its name and its compatibility mode, and one under each version.
//! Both stay for ever: what is in the log refers to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadableTable};
use serde::{Deserialize, Serialize};

use super::admin::AdminResult;
use super::error::{AdminError, ReadError};
use super::schema::{self, meta};
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::limits::{SCHEMA_VERSIONS_MAX, SCHEMAS_BYTES_MAX, SUBJECTS_MAX};
use crate::schema::{Compatibility, Schema, Subject, Version, VersionedType};

/// A subject as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct SubjectRow {
    name: Arc<str>,
    compatibility: Compatibility,
    /// How many versions it has.
    versions: u32,
}

/// A version as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct VersionRow {
    schema: Schema,
    registered: Timestamp,
}

/// All subjects, as memory has them.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    by_name: HashMap<Arc<str>, (u32, Arc<Subject>)>,
    /// The highest number that one has.
    last: u32,
    /// Bytes of all schemas.
    bytes: usize,
}

impl Subjects {
    pub fn named(&self, name: &str) -> Option<&Arc<Subject>> {
        self.by_name.get(name).map(|(_, subject)| subject)
    }

    /// All of them, by name.
    pub fn sorted(&self) -> Vec<Arc<Subject>> {
        let mut subjects: Vec<_> = self.by_name.values().map(|(_, subject)| Arc::clone(subject)).collect();
        subjects.sort_by(|a, b| a.name.cmp(&b.name));
        subjects
    }

    pub fn insert(&mut self, number: u32, subject: Subject) {
        let bytes =
            |subject: &Subject| subject.versions.iter().map(|it| it.schema.text().len()).sum::<usize>();
        self.last = self.last.max(number);
        self.bytes += bytes(&subject);
        let before = self.by_name.insert(Arc::clone(&subject.name), (number, Arc::new(subject)));
        self.bytes -= before.map_or(0, |(_, before)| bytes(&before));
    }

    /// What a new version of a subject is decided on.
    pub fn standing(&self, name: &str) -> Standing {
        let known = self.by_name.get(name);
        Standing {
            known: known.map(|(number, subject)| (*number, Arc::clone(subject))),
            last: self.last,
            subjects: self.by_name.len(),
            bytes: self.bytes,
        }
    }
}

/// What a new version of a subject is decided on, at one moment: deciding takes its time, and nobody is to wait for it.
pub(super) struct Standing {
    /// The subject with its number, where there is one.
    known: Option<(u32, Arc<Subject>)>,
    /// The highest number that a subject has.
    last: u32,
    /// How many subjects there are.
    subjects: usize,
    /// Bytes of all schemas.
    bytes: usize,
}

impl Standing {
    /// What is to be written to register a version; nothing where that is there already.
    pub fn plan(
        &self,
        wanted: &VersionedType,
        schema: Schema,
        compatibility: Option<Compatibility>,
    ) -> Result<Plan, AdminError> {
        let subject = self.known.as_ref().map(|(_, subject)| subject);
        let versions = subject.map_or(&[][..], |subject| &subject.versions);
        let is = subject.map(|subject| subject.compatibility);
        let mode = compatibility.or(is).unwrap_or_default();
        let at = wanted.version() as usize;
        let (known, name) = (self.known.clone(), wanted.subject().to_owned());
        let mut plan = Plan { known, after: self.last, name, mode, schema: None };
        if let Some(there) = at.checked_sub(1).and_then(|index| versions.get(index)) {
            return if there.schema.says_the_same_as(&schema) {
                Ok(plan)
            } else {
                Err(AdminError::SchemaTaken { event_type: wanted.to_string(), next: versions.len() + 1 })
            };
        }
        if at != versions.len() + 1 {
            let next = versions.len() + 1;
            return Err(AdminError::SchemaGap { event_type: wanted.to_string(), next });
        }
        let too_many = |what: &str, max| Err(AdminError::TooManySchemas { what: what.to_owned(), max });
        if at > SCHEMA_VERSIONS_MAX {
            return too_many("versions of a subject", SCHEMA_VERSIONS_MAX);
        }
        if subject.is_none() && self.subjects >= SUBJECTS_MAX {
            return too_many("subjects", SUBJECTS_MAX);
        }
        if self.bytes + schema.text().len() > SCHEMAS_BYTES_MAX {
            return too_many("bytes of schemas", SCHEMAS_BYTES_MAX);
        }
        let earlier: Vec<_> =
            (1..).zip(versions).map(|(number, version)| (number, &version.schema)).collect();
        mode.check(wanted.subject(), wanted.version(), &schema, earlier)?;
        plan.schema = Some(schema);
        Ok(plan)
    }
}

/// What a subject gets. It was decided beside the committer, on what the subject had then.
pub(super) struct Plan {
    /// What the subject was, with its number, where there was one.
    known: Option<(u32, Arc<Subject>)>,
    /// Subjects with a higher number are newer than this plan.
    after: u32,
    name: String,
    mode: Compatibility,
    /// The new version, where it is one.
    schema: Option<Schema>,
}

impl Plan {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.schema.is_none() && self.known.as_ref().is_some_and(|(_, is)| is.compatibility == self.mode)
    }

    /// Bytes that it writes.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.schema.as_ref().map_or(0, |schema| schema.text().len())
    }
}

/// Does what was planned. Returns whether the subject still was what the plan takes it for.
pub(super) fn register(txn: &mut Txn<'_>, plan: Plan) -> AdminResult<bool> {
    match is_as_planned(txn, &plan)? {
        Ok(true) => {}
        other => {
            txn.wrote_nothing();
            return Ok(other);
        }
    }
    let (number, mut versions) = match plan.known {
        Some((number, subject)) => (number, subject.versions.clone()),
        None => (txn.tables.take_id(meta::NEXT_SUBJECT)?, Vec::new()),
    };
    if let Some(schema) = plan.schema {
        let key = (number, bounded(versions.len() + 1));
        let row = VersionRow { schema, registered: txn.now };
        txn.tables.schemas.insert(key, schema::encode(key, &row).as_slice())?;
        versions.push(Arc::new(Version::new(row.schema, row.registered)));
    }
    let key = (number, 0_u32);
    let row =
        SubjectRow { name: plan.name.into(), compatibility: plan.mode, versions: bounded(versions.len()) };
    txn.tables.schemas.insert(key, schema::encode(key, &row).as_slice())?;
    let subject = Subject { name: row.name, compatibility: plan.mode, versions };
    txn.after(move |shared| shared.subjects_mut().insert(number, subject));
    Ok(Ok(true))
}

/// Whether the subject has what the plan takes it to have: what came since, and earlier in this very commit, counts.
fn is_as_planned(txn: &Txn<'_>, plan: &Plan) -> AdminResult<bool> {
    let what = || format!("the row of the schemas of `{}`", plan.name);
    if let Some((number, subject)) = &plan.known {
        let key = (*number, 0);
        let row = txn.tables.schemas.get(key)?;
        let row = row.map(|row| schema::decode::<SubjectRow>(key, row.value(), what)).transpose();
        let planned = Some((subject.compatibility, subject.versions.len()));
        return Ok(row
            .map(|row| row.map(|row| (row.compatibility, row.versions as usize)) == planned)
            .map_err(AdminError::from));
    }
    for row in txn.tables.schemas.range((plan.after.saturating_add(1), 0)..)? {
        let (key, row) = row?;
        if key.value().1 == 0
            && schema::decode::<SubjectRow>(key.value(), row.value(), what)
                .is_ok_and(|row| *row.name == *plan.name)
        {
            return Ok(Ok(false));
        }
    }
    Ok(Ok(true))
}

fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or_else(|_| unreachable!("there are {SCHEMA_VERSIONS_MAX} versions at most"))
}

/// Reads all subjects. `made` is how many have been made.
///
/// # Errors
///
/// A row is damaged or missing.
pub(super) fn load(
    table: &ReadOnlyTable<(u32, u32), &'static [u8]>,
    made: u64,
) -> Result<Subjects, ReadError> {
    let damaged = |reason: String| ReadError::Damaged { what: "schemas".to_owned(), reason };
    let mut rows: BTreeMap<u32, SubjectRow> = BTreeMap::new();
    let mut versions: BTreeMap<u32, Vec<Arc<Version>>> = BTreeMap::new();
    for row in table.iter()? {
        let (key, row) = row?;
        let key = key.value();
        let what = || format!("version {} of schema {}", key.1, key.0);
        if key.1 == 0 {
            rows.insert(key.0, schema::decode(key, row.value(), what)?);
        } else {
            let row: VersionRow = schema::decode(key, row.value(), what)?;
            versions.entry(key.0).or_default().push(Arc::new(Version::new(row.schema, row.registered)));
        }
    }
    if rows.len() as u64 != made {
        return Err(damaged(format!("{made} subjects have been made, and {} are found", rows.len())));
    }
    let mut subjects = Subjects::default();
    for (number, row) in rows {
        let versions = versions.remove(&number).unwrap_or_default();
        if versions.len() != row.versions as usize {
            let (name, said) = (row.name, row.versions);
            return Err(damaged(format!("`{name}` has {said} versions, and {} are found", versions.len())));
        }
        subjects.insert(number, Subject { name: row.name, compatibility: row.compatibility, versions });
    }
    Ok(subjects)
}
