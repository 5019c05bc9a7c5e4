//! The cache of compiled components.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::guest::Guest;
use super::lane::{all, options, runtime};
use crate::clock::SystemClock;
use crate::limits::CODE_CACHE_FILES_MAX;
use crate::plugin::{Runtime, RuntimeError, RuntimeOptions};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

async fn load(folder: &Path, guest: &Guest) {
    runtime(Some(folder)).load(guest.component().into(), options(all())).await.unwrap();
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("compiled");
    load(&folder, &Guest::default()).await;
    let kept = files(&folder);
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777, 0o600);
    let old = SystemTime::UNIX_EPOCH;
    fs::File::open(&kept[0]).unwrap().set_modified(old).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&kept[0]).unwrap());
    load(&folder, &Guest::default()).await;
    let metadata = fs::metadata(&kept[0]).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&metadata), inode, "the file is the same");
    assert!(metadata.modified().unwrap() > old, "and was used");
}

#[tokio::test]
async fn a_damaged_file_is_compiled_anew() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("compiled");
    load(&folder, &Guest::default()).await;
    let path = &files(&folder)[0];
    let sound = fs::read(path).unwrap();
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(100),
        |bytes: &mut Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
    ] {
        let mut bytes = sound.clone();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();
        load(&folder, &Guest::default()).await;
        assert_eq!(fs::read(path).unwrap(), sound);
    }
}

#[tokio::test]
async fn a_file_that_others_can_write_is_not_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("compiled");
    load(&folder, &Guest::default()).await;
    let path = &files(&folder)[0];
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    load(&folder, &Guest::default()).await;
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "it was replaced");
}

#[test]
fn a_folder_that_others_can_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = RuntimeOptions {
        cache: Some(directory.path().to_owned()),
        clock: std::sync::Arc::new(SystemClock::new()),
    };
    let Err(error) = Runtime::new(options) else { panic!("it was taken") };
    assert!(matches!(error, RuntimeError::Cache { .. }));
    assert!(error.to_string().contains("chmod go-rwx"), "{error}");
}

#[tokio::test]
async fn of_too_many_files_the_ones_used_least_recently_go() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("compiled");
    load(&folder, &Guest::default()).await;
    let (used, day) = (files(&folder).remove(0), Duration::from_hours(24));
    for number in 0..CODE_CACHE_FILES_MAX {
        let file = fs::File::create(folder.join(format!("{number}.cwasm"))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + day * u32::try_from(number).unwrap()).unwrap();
    }
    load(&folder, &Guest { version: "1.2.4", ..Guest::default() }).await;
    let kept = files(&folder);
    assert_eq!(kept.len(), CODE_CACHE_FILES_MAX);
    assert!(kept.contains(&used));
    assert!(!kept.contains(&folder.join("0.cwasm")) && !kept.contains(&folder.join("1.cwasm")));
}
