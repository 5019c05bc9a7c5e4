//! `tidegate schemas`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use tidegate::config::{SchemaFile, SchemasConfig};
use tidegate::schema::{Compatibility, Schema, SubjectStatus, VersionedType};
use tidegate::server::{Answer, ClientError, Request};

use super::access::{self, Access};
use super::arguments::{Global, SchemasCommand};
use super::error::{CliError, Exit};
use super::output::{Output, moment, size};
use super::table::{Table, row};

/// Lists schemas, shows or registers them, or checks files.
pub fn schemas(
    global: &Global,
    command: Option<SchemasCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    match command.unwrap_or(SchemasCommand::List) {
        SchemasCommand::Check { paths, compatibility } => check(global, &paths, compatibility, output),
        SchemasCommand::List => with_bus(global, |access| list(access, output)),
        SchemasCommand::Show { name } => with_bus(global, |access| show(access, &name, output)),
        SchemasCommand::Register { paths, compatibility } => {
            with_bus(global, |access| register(access, &paths, compatibility, output))
        }
    }
}

fn with_bus(
    global: &Global,
    work: impl FnOnce(&mut Access) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    let exit = work(&mut access)?;
    access.close();
    Ok(exit)
}

fn all(access: &mut Access) -> Result<Vec<SubjectStatus>, CliError> {
    access.one(Request::Schemas, |answer| match answer {
        Answer::Schemas(subjects) => Some(subjects),
        _ => None,
    })
}

fn list(access: &mut Access, output: &mut Output) -> Result<Exit, CliError> {
    let subjects = all(access)?;
    if output.is_json() {
        subjects.iter().try_for_each(|subject| output.json(subject))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["TYPE", ">VERSIONS", "COMPATIBILITY", "FORMAT", ">SIZE", "REGISTERED"]);
    for subject in &subjects {
        let Some(last) = subject.versions.last() else { continue };
        table.push(row![
            subject.name,
            subject.versions.len(),
            subject.compatibility,
            last.schema.format(),
            size(last.schema.text().len() as u64),
            moment(last.registered),
        ]);
    }
    table.print(output, "no schemas: `tidegate schemas register FILE` registers one")?;
    Ok(Exit::Done)
}

/// Shows one version, or all of a subject.
fn show(access: &mut Access, name: &str, output: &mut Output) -> Result<Exit, CliError> {
    let subjects = all(access)?;
    let versioned = name.parse::<VersionedType>().ok();
    let subject = versioned.as_ref().map_or(name, VersionedType::subject);
    let unknown =
        |what: String| CliError::Failed(format!("{what}: `tidegate schemas list` lists what there is"));
    let found = subjects.iter().find(|found| found.name == subject);
    let found = found.ok_or_else(|| unknown(format!("there is no schema of `{subject}`")))?;
    let is_asked = |number| versioned.as_ref().is_none_or(|versioned| versioned.version() == number);
    let versions: Vec<_> = found.versions.iter().filter(|version| is_asked(version.version)).collect();
    if versions.is_empty() {
        let (asked, last) = (name, found.versions.len());
        return Err(unknown(format!("there is no schema of `{asked}`, the last version is {last}")));
    }
    for version in versions {
        if output.is_json() {
            output.json(version)?;
            continue;
        }
        output.line(format_args!(
            "{}.v{}: {}, {}, registered {}",
            found.name,
            version.version,
            version.schema.format(),
            found.compatibility,
            moment(version.registered),
        ))?;
        output.line(format_args!("{}", version.schema.text()))?;
    }
    Ok(Exit::Done)
}

/// Registers all files, version by version. What is refused is told, and the others still go in.
fn register(
    access: &mut Access,
    paths: &[PathBuf],
    compatibility: Option<Compatibility>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut exit = Exit::Done;
    for file in files(paths)?.values() {
        let schema = file.read().map_err(|error| CliError::Failed(error.to_string()));
        let outcome = schema.and_then(|schema| {
            let event_type = file.event_type.to_string();
            access.one(Request::RegisterSchema { event_type, schema, compatibility }, |answer| match answer {
                Answer::Schema(version) => Some(version),
                _ => None,
            })
        });
        let outcome = match outcome {
            Ok(version) => Ok(format!("registered {}", moment(version.registered))),
            Err(CliError::Failed(error)) => Err(error),
            Err(CliError::Client(ClientError::Refused(error))) => {
                Err(format!("{}: {error}", file.path.display()))
            }
            Err(error) => return Err(error),
        };
        exit = told(file, &outcome, exit, output)?;
    }
    Ok(exit)
}

/// Checks files by themselves: each is a schema, and each version goes with those before it. Without paths, they are those of the
/// configuration's folder, under its modes.
fn check(
    global: &Global,
    paths: &[PathBuf],
    mode: Option<Compatibility>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let configured = if paths.is_empty() { Some(configured(global)?) } else { None };
    let files = match &configured {
        None => files(paths)?.into_values().collect(),
        Some(schemas) => schemas.files().map_err(|error| CliError::Failed(error.to_string()))?,
    };
    let mode_of = |subject: &str| {
        mode.or_else(|| configured.as_ref().and_then(|schemas| schemas.mode(subject))).unwrap_or_default()
    };
    let mut exit = Exit::Done;
    let mut subjects: BTreeMap<String, Vec<(u32, Schema)>> = BTreeMap::new();
    for file in files {
        let (subject, version) = (file.event_type.subject(), file.event_type.version());
        let earlier = subjects.entry(subject.to_owned()).or_default();
        let outcome = file.read().map_err(|error| error.to_string()).and_then(|schema| {
            let before = earlier.iter().map(|(version, schema)| (*version, schema)).collect::<Vec<_>>();
            let checked = mode_of(subject).check(subject, version, &schema, before);
            earlier.push((version, schema));
            match checked {
                Ok(()) => Ok("ok".to_owned()),
                Err(error) => Err(format!("{}: {error}", file.path.display())),
            }
        });
        exit = told(&file, &outcome, exit, output)?;
    }
    Ok(exit)
}

/// What the configuration says of schemas.
fn configured(global: &Global) -> Result<SchemasConfig, CliError> {
    access::config(global)?.schemas.ok_or_else(|| {
        CliError::Usage(format!(
            "{} names no folder of schemas: name files or folders, or set `folder` in `[schemas]`",
            access::config_file(global).display()
        ))
    })
}

/// Says what became of a file. What went wrong names it.
fn told(
    file: &SchemaFile,
    outcome: &Result<String, String>,
    exit: Exit,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let SchemaFile { event_type, path, .. } = file;
    if output.is_json() {
        output.json(&json!({
            "type": event_type.to_string(), "file": path, "ok": outcome.is_ok(), "error": outcome.as_ref().err(),
        }))?;
    } else {
        let (Ok(words) | Err(words)) = outcome;
        output.line(format_args!("{event_type}: {words}"))?;
    }
    Ok(if outcome.is_ok() { exit } else { Exit::Refused })
}

/// The files of these paths, in ascending order of their event types. Of a folder, those whose names are event types with a
/// version; a file that was named has to have such a name.
fn files(paths: &[PathBuf]) -> Result<BTreeMap<VersionedType, SchemaFile>, CliError> {
    let mut found: BTreeMap<VersionedType, SchemaFile> = BTreeMap::new();
    for path in paths {
        let files = if path.is_dir() {
            SchemaFile::in_folder(path).map_err(|error| CliError::Failed(error.to_string()))?
        } else {
            vec![SchemaFile::named(path).map_err(|error| CliError::Usage(error.to_string()))?]
        };
        for file in files {
            let path = file.path.clone();
            match found.insert(file.event_type.clone(), file) {
                Some(other) if other.path != path => {
                    let (one, other) = (path.display(), other.path.display());
                    let why = format!("{one} and {other} are of the same event type: name one of them");
                    return Err(CliError::Usage(why));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}
