//! `tidegate schemas`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate::schema::{Compatibility, Schema, SubjectStatus, VersionedType};
use tidegate::server::{Answer, ClientError, Request};

use super::access::Access;
use super::arguments::{Global, SchemasCommand};
use super::error::{CliError, Exit};
use super::output::{Output, moment, size};
use super::table::{Table, row};

/// What a file's name ends in, behind the event type.
const ENDINGS: [&str; 2] = [".schema.json", ".json"];

/// Lists schemas, shows or registers them, or checks files.
pub fn schemas(
    global: &Global,
    command: Option<SchemasCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    match command.unwrap_or(SchemasCommand::List) {
        SchemasCommand::Check { paths, compatibility } => {
            check(&paths, compatibility.unwrap_or_default(), output)
        }
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
    for (event_type, file) in files(paths)? {
        let outcome = read(&file).and_then(|schema| {
            let event_type = event_type.to_string();
            access.one(Request::RegisterSchema { event_type, schema, compatibility }, |answer| match answer {
                Answer::Schema(version) => Some(version),
                _ => None,
            })
        });
        let outcome = match outcome {
            Ok(version) => Ok(format!("registered {}", moment(version.registered))),
            Err(
                error @ (CliError::Failed(_)
                | CliError::File { .. }
                | CliError::Client(ClientError::Refused(_))),
            ) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        exit = told(&event_type, &file, &outcome, exit, output)?;
    }
    Ok(exit)
}

/// Checks files by themselves: each is a schema, and each version goes with those before it.
fn check(paths: &[PathBuf], mode: Compatibility, output: &mut Output) -> Result<Exit, CliError> {
    let mut exit = Exit::Done;
    let mut subjects: BTreeMap<String, Vec<(u32, Schema)>> = BTreeMap::new();
    for (event_type, file) in files(paths)? {
        let earlier = subjects.entry(event_type.subject().to_owned()).or_default();
        let outcome = read(&file).map_err(|error| error.to_string()).and_then(|schema| {
            let before = earlier.iter().map(|(version, schema)| (*version, schema)).collect::<Vec<_>>();
            let (subject, version) = (event_type.subject(), event_type.version());
            let checked = mode.check(subject, version, &schema, before).map_err(|error| error.to_string());
            earlier.push((version, schema));
            checked.map(|()| "ok".to_owned())
        });
        exit = told(&event_type, &file, &outcome, exit, output)?;
    }
    Ok(exit)
}

/// Says what became of a file.
fn told(
    event_type: &VersionedType,
    file: &Path,
    outcome: &Result<String, String>,
    exit: Exit,
    output: &mut Output,
) -> Result<Exit, CliError> {
    if output.is_json() {
        output.json(&json!({
            "type": event_type.to_string(), "file": file, "ok": outcome.is_ok(), "error": outcome.as_ref().err(),
        }))?;
    } else {
        match outcome {
            Ok(done) => output.line(format_args!("{event_type}: {done}"))?,
            Err(error) => output.line(format_args!("{event_type}: {}: {error}", file.display()))?,
        }
    }
    Ok(if outcome.is_ok() { exit } else { Exit::Refused })
}

fn read(file: &Path) -> Result<Schema, CliError> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|source| CliError::File { path: file.to_owned(), source })?;
    Schema::json(text).map_err(|error| CliError::Failed(error.to_string()))
}

/// The files of these paths with their event types, in ascending order of them. Of a folder, those whose names are event types
/// with a version; a file that was named has to have such a name.
fn files(paths: &[PathBuf]) -> Result<BTreeMap<VersionedType, PathBuf>, CliError> {
    let mut found = BTreeMap::new();
    let mut add = |event_type: VersionedType, file: PathBuf| match found.insert(event_type, file.clone()) {
        Some(other) if other != file => {
            let (one, other) = (file.display(), other.display());
            Err(CliError::Usage(format!("{one} and {other} are of the same event type: name one of them")))
        }
        _ => Ok(()),
    };
    for path in paths {
        let failed = |source| CliError::File { path: path.clone(), source };
        if !path.is_dir() {
            add(event_type(path)?, path.clone())?;
            continue;
        }
        let mut is_empty = true;
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if let Ok(event_type) = event_type(&file)
                && file.is_file()
            {
                add(event_type, file)?;
                is_empty = false;
            }
        }
        if is_empty {
            let folder = path.display();
            return Err(CliError::Failed(format!(
                "{folder} has no schemas: their files are named by their event types, as OrderPlaced.v1.json"
            )));
        }
    }
    Ok(found)
}

/// The event type that a file is named by.
fn event_type(file: &Path) -> Result<VersionedType, CliError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
    stem.and_then(|stem| stem.parse().ok()).ok_or_else(|| {
        CliError::Usage(format!(
            "{}: the file of a schema is named by its event type, as OrderPlaced.v1.json",
            file.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_event_type() {
        let named = |name: &str| event_type(Path::new(name)).map(|event_type| event_type.to_string()).ok();
        for name in ["a/OrderPlaced.v1.json", "OrderPlaced.v1.schema.json"] {
            assert_eq!(named(name).as_deref(), Some("OrderPlaced.v1"), "{name}");
        }
        assert_eq!(named("shop.order.v12.json").as_deref(), Some("shop.order.v12"));
        for name in ["OrderPlaced.json", "OrderPlaced.v1", "v1.json", "README.md", "OrderPlaced.v1.proto"] {
            assert_eq!(named(name), None, "{name}");
        }
    }
}
