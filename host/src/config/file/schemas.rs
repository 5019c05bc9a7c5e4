//! What a configuration file says of schemas.

use std::path::Path;

use super::super::SchemasConfig;
use super::ConfigFileError;
use super::program::resolve;
use super::table::Entry;
use crate::schema::Compatibility;

pub(super) fn read_schemas(entry: Entry<'_>, folder: &Path) -> Result<SchemasConfig, ConfigFileError> {
    let table = entry.table(&["folder", "compatibility", "subjects"])?;
    let files = table.require("folder", "the folder with the files of schemas, relative to this file")?;
    let mut schemas = SchemasConfig::new(resolve(folder, files.string()?));
    schemas.compatibility = table.get("compatibility").map(|mode| read_mode(&mode)).transpose()?;
    if let Some(subjects) = table.get("subjects") {
        for (name, mode) in subjects.free_table()?.entries() {
            schemas.subjects.insert(name.to_owned(), read_mode(&mode)?);
        }
    }
    Ok(schemas)
}

fn read_mode(entry: &Entry<'_>) -> Result<Compatibility, ConfigFileError> {
    let allowed = "`none`, `backward`, `forward` or `full`, the last three also with `-transitive`, as in `full-transitive`";
    entry.parsed(allowed)
}
