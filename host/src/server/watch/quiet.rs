//! When a file has changed and whoever writes it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::config::SchemaFile;
use crate::limits::FILE_QUIET;

/// What a file looks like from outside: it differs whenever the file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fingerprint {
    File {
        inode: u64,
        bytes: u64,
        /// Seconds and nanoseconds of the last change of the content, and of the file.
        times: [i64; 4],
    },
    /// A hash of the names and the looks of all files of schemas in a folder: so a folder is quiet when all of them are, new
    /// ones too.
    Folder(u64),
}

impl Fingerprint {
    /// That of a file as it is now; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self::File {
            inode: metadata.ino(),
            bytes: metadata.size(),
            times: [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()],
        })
    }

    /// That of a folder of schemas as it is now; `None` where there is none with any.
    pub fn of_schemas(folder: &Path) -> Option<Self> {
        let mut hasher = DefaultHasher::new();
        for file in SchemaFile::in_folder(folder).ok()? {
            (&file.path, Self::of(&file.path)).hash(&mut hasher);
        }
        Some(Self::Folder(hasher.finish()))
    }
}

/// What is known of some files, and which of them are changing.
#[derive(Debug)]
pub(super) struct Quiet {
    settled: BTreeMap<PathBuf, Option<Fingerprint>>,
    changing: BTreeMap<PathBuf, (Option<Fingerprint>, Timestamp)>,
}

impl Quiet {
    /// Files that are taken over as they are.
    pub fn new(files: BTreeMap<PathBuf, Option<Fingerprint>>) -> Self {
        Self { settled: files, changing: BTreeMap::new() }
    }

    /// Takes note of what the files look like now. Returns those that differ from what they last were when quiet, and
    /// have stayed so for [`FILE_QUIET`]. A file that it sees for the first time is taken over as it is, and one that is
    /// gone is waited for.
    pub fn look(
        &mut self,
        now: Timestamp,
        files: BTreeMap<PathBuf, Option<Fingerprint>>,
    ) -> BTreeSet<PathBuf> {
        self.settled.retain(|path, _| files.contains_key(path));
        self.changing.retain(|path, _| files.contains_key(path));
        let mut changed = BTreeSet::new();
        for (path, seen) in files {
            let settled = *self.settled.entry(path.clone()).or_insert(seen);
            if seen == settled || seen.is_none() {
                self.changing.remove(&path);
                continue;
            }
            let (before, since) = *self.changing.entry(path.clone()).or_insert((seen, now));
            if before != seen {
                self.changing.insert(path, (seen, now));
            } else if now.since(since) >= FILE_QUIET {
                self.changing.remove(&path);
                self.settled.insert(path.clone(), seen);
                changed.insert(path);
            }
        }
        changed
    }

    /// Whether a file has changed and isn't quiet yet.
    pub fn is_waiting(&self) -> bool {
        !self.changing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: Option<u64>) -> BTreeMap<PathBuf, Option<Fingerprint>> {
        let fingerprint = bytes.map(|bytes| Fingerprint::File { inode: 1, bytes, times: [0; 4] });
        [(PathBuf::from("plugin.wasm"), fingerprint)].into()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp(ms * 1000)
    }

    /// Looks at these moments at a file of these sizes, and tells at which it was taken to have changed.
    fn changes(looks: &[(i64, Option<u64>)]) -> Vec<i64> {
        let mut quiet = Quiet::new(file(Some(10)));
        let changed = looks.iter().filter(|(ms, bytes)| !quiet.look(at(*ms), file(*bytes)).is_empty());
        changed.map(|(ms, _)| *ms).collect()
    }

    #[test]
    fn a_file_counts_as_changed_once_it_is_quiet() {
        assert_eq!(changes(&[(0, Some(20)), (199, Some(20)), (200, Some(20)), (400, Some(20))]), [200]);
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let looks: Vec<_> = (0..10_i64).map(|step| (step * 150, Some(20 + step.unsigned_abs()))).collect();
        assert!(changes(&looks).is_empty());
        let done = [(1500, Some(29)), (1700, Some(29))];
        assert_eq!(changes(&[looks, done.to_vec()].concat()), [1700]);
    }

    #[test]
    fn a_file_that_is_removed_and_written_again_changes_once() {
        assert_eq!(changes(&[(0, None), (500, None), (600, Some(20)), (800, Some(20))]), [800]);
        assert!(changes(&[(0, None), (500, None), (600, Some(10)), (900, Some(10))]).is_empty());
    }

    #[test]
    fn a_folder_of_schemas_differs_by_each_file_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let look = || Fingerprint::of_schemas(folder.path());
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(look(), None);
        put("A.v1.json", "true");
        let one = look();
        put("README.md", "");
        assert_eq!((look(), one.is_some()), (one, true));
        put("A.v2.proto", "message A {}");
        let two = look();
        put("A.v2.proto", "message A { }");
        let written = look();
        std::fs::rename(folder.path().join("A.v2.proto"), folder.path().join("A.v3.proto")).unwrap();
        let looks = [one, two, written, look()];
        assert!((1..4).all(|at| looks[at] != looks[at - 1]), "{looks:?}");
        std::fs::remove_file(folder.path().join("A.v3.proto")).unwrap();
        assert_eq!(look(), one);
    }

    #[test]
    fn a_file_that_is_named_anew_is_no_change() {
        let mut quiet = Quiet::new(BTreeMap::new());
        assert!(quiet.look(at(0), file(Some(10))).is_empty());
        assert!(quiet.look(at(500), file(Some(10))).is_empty());
        assert!(!quiet.is_waiting());
    }
}
