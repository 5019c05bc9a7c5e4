//! What redb does with a page that is damaged in a way it doesn't expect: it panics. Such a panic is a fault of the storage
//! like any other, and goes no further than the call that met it.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Database;

use super::error::{ReadError, StorageFault};

/// Reads, and turns a panic into an error.
pub(super) fn reading<T>(work: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ReadError::Storage(panicked())))
}

/// Works with the storage, and turns a panic into a fault.
pub(super) fn storing<T>(work: impl FnOnce() -> Result<T, StorageFault>) -> Result<T, StorageFault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

/// The fault of a page that stands where another should: what is read there has a key that was not asked for.
pub(super) fn misplaced(table: &str) -> redb::StorageError {
    redb::StorageError::Corrupted(format!("table `{table}` has a page that belongs elsewhere"))
}

/// The fault of a row of `meta` that isn't as it was written.
pub(super) fn meta_row(name: &str, what: &str) -> StorageFault {
    StorageFault::from(redb::Error::Corrupted(format!("row `{name}` of table `meta` {what}")))
}

/// The fault of a journal that isn't as it was written.
pub(super) fn journal(what: &str) -> StorageFault {
    StorageFault::from(redb::Error::Corrupted(format!("the journal {what}")))
}

/// The fault of a partition that has no more offsets.
pub(super) fn exhausted() -> StorageFault {
    StorageFault::from(redb::Error::Corrupted("a partition has come to the end of its offsets".to_owned()))
}

fn panicked() -> StorageFault {
    StorageFault::from(redb::Error::Corrupted("the database panicked".to_owned()))
}

/// A database whose closing panics nobody either: who drops it last is whoever has just met the damage.
pub(super) struct OpenDatabase(Option<Database>);

impl OpenDatabase {
    pub fn new(database: Database) -> Self {
        Self(Some(database))
    }
}

impl Deref for OpenDatabase {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().unwrap_or_else(|| unreachable!("it is taken out when it is dropped"))
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        let database = self.0.take();
        // What it holds open is closed all the same, and the file is as after a crash.
        drop(catch_unwind(AssertUnwindSafe(|| drop(database))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_database_is_an_error_of_the_call_that_met_it() {
        let read = reading(|| -> Result<(), ReadError> { panic!("a page makes no sense") });
        assert!(matches!(read, Err(ReadError::Storage(_))), "{read:?}");
        let stored = storing(|| -> Result<(), StorageFault> { panic!("a page makes no sense") });
        assert!(stored.unwrap_err().to_string().contains("panicked"));
    }
}
