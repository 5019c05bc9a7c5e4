//! Registering the schemas that a configuration brings along.

use std::collections::BTreeMap;

use super::{Applied, Change, Refused};
use crate::bus::Bus;
use crate::config::{Config, SchemaFile, SchemasConfig};
use crate::schema::{Compatibility, Schema, SubjectStatus, VersionedType};

/// Registers the schemas of a configuration's folder that the bus doesn't have, version by version, and sets the modes that the
/// configuration names. What the bus has already is left as it is; a file that says something else than the version that is
/// registered is refused, and so is one that breaks its subject's mode or leaves a version out.
///
/// All files are looked at first. If one is refused, all are, and nothing is registered: a version that is stays for ever.
/// [`apply`](super::apply()) does the same before all else; this is for whoever wants to refuse to start.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// # let file = directory.path().join("tidegate.toml");
/// # std::fs::create_dir(directory.path().join("schemas"))?;
/// # std::fs::write(directory.path().join("schemas/OrderPlaced.v1.json"), "true")?;
/// # std::fs::write(&file, "[schemas]\nfolder = 'schemas'\n")?;
/// let config = tidegate::config::Config::from_file(&file)?;
/// let applied = tidegate::server::apply_schemas(&bus, &config).await;
/// assert_eq!(applied.changes[0].to_string(), "schema `OrderPlaced.v1` registered");
/// assert!(tidegate::server::apply_schemas(&bus, &config).await.changes.is_empty(), "it is there already");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn apply_schemas(bus: &Bus, config: &Config) -> Applied {
    let mut applied = Applied::default();
    apply(bus, config, &mut applied).await;
    applied
}

pub(super) async fn apply(bus: &Bus, config: &Config, applied: &mut Applied) {
    let Some(schemas) = &config.schemas else { return };
    let files = match read(schemas) {
        Ok(files) => files,
        Err(mut refused) => return applied.refused.append(&mut refused),
    };
    let known = bus.schemas();
    let steps = match plan(&known, &files, schemas) {
        Ok(steps) => steps,
        Err(mut refused) => return applied.refused.append(&mut refused),
    };
    for step in steps {
        let event_type = step.event_type.to_string();
        match bus.register_schema(&event_type, step.schema.clone(), step.mode).await {
            Ok(_) if step.is_new => applied.changes.push(Change::SchemaRegistered(event_type)),
            Ok(_) => applied.changes.push(Change::SubjectChanged(step.event_type.subject().to_owned())),
            // Later versions would leave this one out.
            Err(error) => return applied.refused.push(refused(step.event_type, &error)),
        }
    }
}

/// Reads all files; what is wrong with each of them, where anything is.
fn read(schemas: &SchemasConfig) -> Result<Vec<(SchemaFile, Schema)>, Vec<Refused>> {
    let files = schemas
        .files()
        .map_err(|error| vec![Refused { what: "schemas".to_owned(), why: error.to_string() }])?;
    let (mut read, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        match file.read() {
            Ok(schema) => read.push((file, schema)),
            Err(error) => wrong.push(refused(&file.event_type, &error)),
        }
    }
    if wrong.is_empty() { Ok(read) } else { Err(wrong) }
}

fn refused(event_type: &VersionedType, why: &impl ToString) -> Refused {
    Refused { what: format!("schema `{event_type}`"), why: why.to_string() }
}

/// A version to be registered, or one that is there and takes another mode along.
#[derive(Debug, PartialEq)]
struct Step<'a> {
    event_type: &'a VersionedType,
    schema: &'a Schema,
    mode: Option<Compatibility>,
    is_new: bool,
}

/// What to do about files in ascending order of their event types; or why nothing, for each subject the first reason.
fn plan<'a>(
    known: &'a [SubjectStatus],
    files: &'a [(SchemaFile, Schema)],
    config: &SchemasConfig,
) -> Result<Vec<Step<'a>>, Vec<Refused>> {
    let mut subjects: BTreeMap<&str, Vec<&'a (SchemaFile, Schema)>> = BTreeMap::new();
    for file in files {
        subjects.entry(file.0.event_type.subject()).or_default().push(file);
    }
    let (mut steps, mut wrong) = (Vec::new(), Vec::new());
    for (name, files) in subjects {
        let there = known.iter().find(|subject| subject.name == name);
        match plan_subject(there, &files, config.mode(name)) {
            Ok(mut more) => steps.append(&mut more),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(steps) } else { Err(wrong) }
}

fn plan_subject<'a>(
    there: Option<&'a SubjectStatus>,
    files: &[&'a (SchemaFile, Schema)],
    wanted: Option<Compatibility>,
) -> Result<Vec<Step<'a>>, Refused> {
    let is = there.map(|subject| subject.compatibility);
    let mode = wanted.or(is).unwrap_or_default();
    let mut versions: Vec<&Schema> =
        there.into_iter().flat_map(|subject| &subject.versions).map(|version| &version.schema).collect();
    let mut steps = Vec::new();
    for (file, schema) in files.iter().copied() {
        let event_type = &file.event_type;
        let path = file.path.display();
        let number = event_type.version() as usize;
        if let Some(registered) = number.checked_sub(1).and_then(|at| versions.get(at)) {
            if !registered.says_the_same_as(schema) {
                let next = versions.len() + 1;
                let why = format!(
                    "{path} says something else than version {number} that is registered, which never changes: put it back, and \
                     what is new into version {next}"
                );
                return Err(refused(event_type, &why));
            }
            continue;
        }
        let next = versions.len() + 1;
        if number != next {
            let why = format!("{path} is version {number}, and the next one of its event type is {next}");
            return Err(refused(event_type, &why));
        }
        let earlier: Vec<_> = (1..).zip(versions.iter().copied()).collect();
        mode.check(event_type.subject(), event_type.version(), schema, earlier)
            .map_err(|error| refused(event_type, &format!("{path}: {error}")))?;
        versions.push(schema);
        steps.push(Step { event_type, schema, mode: wanted, is_new: true });
    }
    let takes_mode = steps.is_empty() && wanted.is_some() && wanted != is;
    if let (true, Some((file, schema))) = (takes_mode, files.first()) {
        steps.push(Step { event_type: &file.event_type, schema, mode: wanted, is_new: false });
    }
    Ok(steps)
}

#[cfg(test)]
#[cfg(feature = "schemas-json")]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::schema::SchemaVersion;

    const NUMBER: &str = r#"{"properties": {"a": {"type": "number"}}}"#;
    const INTEGER: &str = r#"{"properties": {"a": {"type": "integer"}}}"#;

    fn files(texts: &[(&str, &str)]) -> Vec<(SchemaFile, Schema)> {
        let file = |name: &str| SchemaFile::named(format!("{name}.json")).unwrap();
        texts.iter().map(|(name, text)| (file(name), Schema::json(*text).unwrap())).collect()
    }

    fn known(texts: &[&str], compatibility: Compatibility) -> Vec<SubjectStatus> {
        let version = |(version, text): (u32, &&str)| SchemaVersion {
            version,
            schema: Schema::json(*text).unwrap(),
            registered: Timestamp(1),
        };
        let versions = (1..).zip(texts).map(version).collect();
        vec![SubjectStatus { name: "A".to_owned(), compatibility, versions }]
    }

    /// The event types that are registered, with a `=` those whose mode alone changes, or the reasons.
    fn planned(
        known: &[SubjectStatus],
        texts: &[(&str, &str)],
        config: &SchemasConfig,
    ) -> Result<Vec<String>, Vec<String>> {
        let files = files(texts);
        let told = |step: &Step<'_>| format!("{}{}", step.event_type, if step.is_new { "" } else { "=" });
        plan(known, &files, config)
            .map(|steps| steps.iter().map(told).collect())
            .map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    fn folder() -> SchemasConfig {
        SchemasConfig::new("schemas")
    }

    #[test]
    fn what_the_bus_lacks_is_registered_version_by_version() {
        let both = [("A.v1", INTEGER), ("A.v2", NUMBER), ("B.v1", "true")];
        assert_eq!(planned(&[], &both, &folder()).unwrap(), ["A.v1", "A.v2", "B.v1"]);
        let there = known(&[INTEGER], Compatibility::Backward);
        assert_eq!(planned(&there, &both, &folder()).unwrap(), ["A.v2", "B.v1"]);
        assert_eq!(
            planned(&there, &both[1..], &folder()).unwrap(),
            ["A.v2", "B.v1"],
            "the last ones are enough"
        );
        let all = known(&[&INTEGER.replace(' ', ""), NUMBER], Compatibility::Backward);
        assert!(planned(&all, &both[..2], &folder()).unwrap().is_empty());
    }

    #[test]
    fn one_wrong_file_refuses_all_and_is_named() {
        let there = known(&[INTEGER], Compatibility::Backward);
        for (texts, words) in [
            (&[("A.v1", NUMBER), ("A.v2", NUMBER), ("B.v1", "true")][..], "A.v1.json says something else"),
            (
                &[("A.v3", NUMBER), ("B.v1", "true")],
                "A.v3.json is version 3, and the next one of its event type is 2",
            ),
            (
                &[("A.v2", r#"{"properties": {"a": {"type": "string"}}}"#)],
                "A.v2.json: version 2 of `A` is not backward",
            ),
            (&[("B.v1", NUMBER), ("B.v2", INTEGER)], "B.v2.json: version 2 of `B` is not backward"),
        ] {
            let wrong = planned(&there, texts, &folder()).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].contains(words), "{words}: {wrong:?}");
        }
    }

    #[test]
    fn the_configurations_modes_are_those_of_its_subjects() {
        let there = known(&[NUMBER], Compatibility::Full);
        let narrower = [("A.v2", INTEGER)];
        assert!(planned(&there, &narrower, &folder()).is_err(), "its own mode stays");
        let forward = folder().compatibility(Compatibility::Forward);
        assert_eq!(planned(&there, &narrower, &forward).unwrap(), ["A.v2"]);
        assert!(planned(&there, &narrower, &forward.subject("A", Compatibility::Backward)).is_err());
        let same = [("A.v1", NUMBER)];
        assert_eq!(planned(&there, &same, &folder().compatibility(Compatibility::None)).unwrap(), ["A.v1="]);
        assert!(planned(&there, &same, &folder().compatibility(Compatibility::Full)).unwrap().is_empty());
    }
}
