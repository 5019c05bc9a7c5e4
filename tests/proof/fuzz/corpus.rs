//! Inputs that are kept: each of them broke something once.

use std::fs;
use std::path::{Path, PathBuf};

/// The kept inputs of a target.
pub fn kept(target: &str) -> Result<Vec<Vec<u8>>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proof/corpus").join(target);
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    if !folder.try_exists().map_err(wrong)? {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).map_err(wrong)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(wrong)?;
    paths.sort();
    paths.iter().map(|path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()))).collect()
}
