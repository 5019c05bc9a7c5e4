//! What a commit changes in the tables: written down as it is done, so that the journal can do it again.
//!
//! ```text
//! changes := change*
//! change  := table u8, key length u32, value length u32 | NONE, key, value     (integers little-endian)
//! ```
//!
//! A value of the length `NONE` stands for a row that is removed. Keys and values are as redb stores them.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::ops::{Deref, RangeBounds};

use redb::{AccessGuard, Key, ReadableTable, StorageError, Table, Value};

use super::error::StorageFault;
use super::guard;

/// The length of a value that isn't there.
const NONE: u32 = u32::MAX;

/// The changes of one commit, as long as they are not more than the journal takes.
///
/// Rows that are made for a commit are made in the same memory, which is used again.
pub(super) struct Redo {
    changes: RefCell<Changes>,
}

struct Changes {
    bytes: Vec<u8>,
    bytes_max: usize,
    are_whole: bool,
}

impl Redo {
    /// Appends them to `bytes`, up to so many bytes with what is there.
    pub fn new(bytes: Vec<u8>, bytes_max: usize) -> Self {
        let are_whole = bytes.len() <= bytes_max;
        Self { changes: RefCell::new(Changes { bytes, bytes_max, are_whole }) }
    }

    /// Writes nothing down: for a commit that the journal has no part in.
    pub fn off() -> Self {
        Self::off_in(Vec::new())
    }

    /// Writes nothing down, and makes rows in this memory.
    pub fn off_in(bytes: Vec<u8>) -> Self {
        Self { changes: RefCell::new(Changes { bytes, bytes_max: 0, are_whole: false }) }
    }

    /// Writes nothing more down: the commit has more than that, such as the application's own tables, and the journal no part in
    /// it.
    pub fn stop(&self) {
        self.changes.borrow_mut().are_whole = false;
    }

    /// The bytes, and whether all changes are among them.
    pub fn into_bytes(self) -> (Vec<u8>, bool) {
        let changes = self.changes.into_inner();
        (changes.bytes, changes.are_whole)
    }

    fn push(&self, table: u8, key: &[u8], value: Option<&[u8]>) {
        let mut changes = self.changes.borrow_mut();
        changes.begin(table, key, value.map(<[u8]>::len));
        if changes.are_whole {
            changes.bytes.extend_from_slice(value.unwrap_or_default());
        }
    }

    /// Has a row of so many bytes be appended to what is written down, and hands it on from there, with whether it is.
    fn push_made<T>(
        &self,
        table: u8,
        key: &[u8],
        len: usize,
        make: impl FnOnce(&mut Vec<u8>),
        hand_on: impl FnOnce(&[u8], bool) -> T,
    ) -> T {
        let mut changes = self.changes.borrow_mut();
        changes.begin(table, key, Some(len));
        let start = changes.bytes.len();
        make(&mut changes.bytes);
        debug_assert_eq!(changes.bytes.len() - start, len, "a row says how long it will be");
        let outcome = hand_on(&changes.bytes[start..], changes.are_whole);
        if !changes.are_whole {
            changes.bytes.truncate(start);
        }
        outcome
    }
}

impl Changes {
    /// Writes down a change as far as its value, of so many bytes; not if that is more than there may be.
    fn begin(&mut self, table: u8, key: &[u8], value: Option<usize>) {
        let len = 9 + key.len() + value.unwrap_or(0);
        if !self.are_whole || self.bytes.len() + len > self.bytes_max {
            self.are_whole = false;
            return;
        }
        // A row comes nowhere near 32 bits: the largest is that of one event.
        let length = |len: usize| u32::try_from(len).unwrap_or(NONE).to_le_bytes();
        self.bytes.push(table);
        self.bytes.extend_from_slice(&length(key.len()));
        self.bytes.extend_from_slice(&value.map_or(NONE.to_le_bytes(), length));
        self.bytes.extend_from_slice(key);
    }
}

/// A table whose changes are written down.
pub(super) struct JournaledTable<'t, K: Key + 'static, V: Value + 'static> {
    table: Table<'t, K, V>,
    /// Its number among the changes.
    number: u8,
    redo: &'t Redo,
}

/// Reading is redb's own; all that writes is here.
impl<'t, K: Key + 'static, V: Value + 'static> Deref for JournaledTable<'t, K, V> {
    type Target = Table<'t, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl<'t, K: Key + 'static, V: Value + 'static> JournaledTable<'t, K, V> {
    pub fn new(table: Table<'t, K, V>, number: u8, redo: &'t Redo) -> Self {
        Self { table, number, redo }
    }

    /// Inserts a row, in place of the one with this key if there is one.
    pub fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) -> Result<(), StorageError> {
        self.replace(key, value).map(drop)
    }

    /// Inserts a row, and hands out the one with this key that it takes the place of.
    pub fn replace<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        let (key_bytes, value_bytes) = (K::as_bytes(key.borrow()), V::as_bytes(value.borrow()));
        self.redo.push(self.number, key_bytes.as_ref(), Some(value_bytes.as_ref()));
        drop((key_bytes, value_bytes));
        self.table.insert(key, value)
    }

    /// Removes a row. Returns whether there was one.
    pub fn remove<'k>(&mut self, key: impl Borrow<K::SelfType<'k>>) -> Result<bool, StorageError> {
        Ok(self.take(key)?.is_some())
    }

    /// Removes a row, and hands it out.
    pub fn take<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        self.redo.push(self.number, K::as_bytes(key.borrow()).as_ref(), None);
        self.table.remove(key)
    }

    /// Removes the rows of a range.
    pub fn remove_in<'k, R>(&mut self, range: impl RangeBounds<R> + 'k) -> Result<(), StorageError>
    where
        R: Borrow<K::SelfType<'k>> + 'k,
    {
        self.remove_those(range, |_| true)
    }

    /// Removes those rows of a range of which `goes` says so by their keys, in ascending order. Where they lie side by side, this
    /// costs a part of removing them one by one.
    pub fn remove_those<'k, R>(
        &mut self,
        range: impl RangeBounds<R> + 'k,
        mut goes: impl for<'f> FnMut(&K::SelfType<'f>) -> bool,
    ) -> Result<(), StorageError>
    where
        R: Borrow<K::SelfType<'k>> + 'k,
    {
        let (redo, number) = (self.redo, self.number);
        self.table.retain_in(range, |key, _| {
            let goes = goes(&key);
            if goes {
                redo.push(number, K::as_bytes(&key).as_ref(), None);
            }
            !goes
        })
    }

    /// Removes the first rows of a range, so many at the most. Returns how many there were.
    pub fn remove_some_in<'k, R>(
        &mut self,
        range: impl RangeBounds<R> + 'k,
        rows_max: usize,
    ) -> Result<usize, StorageError>
    where
        R: Borrow<K::SelfType<'k>> + 'k,
    {
        let mut keys = Vec::new();
        for row in self.table.range(range)?.take(rows_max) {
            keys.push(K::as_bytes(&row?.0.value()).as_ref().to_vec());
        }
        for key in &keys {
            self.remove(K::from_bytes(key))?;
        }
        Ok(keys.len())
    }

    /// Does a change again.
    pub fn redo(&mut self, change: Change<'_>) -> Result<(), StorageFault> {
        let fits = |width: Option<usize>, bytes: &[u8]| width.is_none_or(|width| width == bytes.len());
        if !fits(K::fixed_width(), change.key) || !change.value.is_none_or(|row| fits(V::fixed_width(), row))
        {
            return Err(guard::journal("has a row of a wrong length"));
        }
        match change.value {
            Some(value) => self.insert(K::from_bytes(change.key), V::from_bytes(value))?,
            None => drop(self.remove(K::from_bytes(change.key))?),
        }
        Ok(())
    }
}

impl<K: Key + 'static> JournaledTable<'_, K, &'static [u8]> {
    /// Inserts a row of so many bytes, which `make` appends.
    pub fn insert_made<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        len: usize,
        make: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), StorageError> {
        let key_bytes = K::as_bytes(key.borrow());
        self.redo.push_made(self.number, key_bytes.as_ref(), len, make, |row, _| {
            self.table.insert(key.borrow(), row).map(drop)
        })
    }

    /// As [`insert_made`](Self::insert_made), but has `keep` take the row where it is written down, and doesn't insert it.
    pub fn keep_made<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        len: usize,
        make: impl FnOnce(&mut Vec<u8>),
        keep: impl FnOnce(&[u8]),
    ) -> Result<(), StorageError> {
        let key_bytes = K::as_bytes(key.borrow());
        self.redo.push_made(self.number, key_bytes.as_ref(), len, make, |row, is_written_down| {
            if is_written_down {
                keep(row);
                return Ok(());
            }
            self.table.insert(key.borrow(), row).map(drop)
        })
    }
}

/// A change that is to be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<'b> {
    pub table: u8,
    pub key: &'b [u8],
    /// The row, where it isn't removed.
    pub value: Option<&'b [u8]>,
}

/// The changes of a commit, in order. What makes no sense is an error, and the last item.
pub(super) fn changes(bytes: &[u8]) -> impl Iterator<Item = Result<Change<'_>, StorageFault>> {
    all(bytes, first).map(|change| change.ok_or_else(|| guard::journal("has a record that makes no sense")))
}

/// All that `first` takes off the front of these bytes, one after the other. `None` is what makes no sense, and the last item.
pub(super) fn all<'b, T>(
    bytes: &'b [u8],
    first: impl Fn(&mut &'b [u8]) -> Option<T>,
) -> impl Iterator<Item = Option<T>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let item = first(&mut rest);
        if item.is_none() {
            rest = &[];
        }
        Some(item)
    })
}

fn first<'b>(rest: &mut &'b [u8]) -> Option<Change<'b>> {
    let table = rest.split_off_first()?;
    let mut length =
        || rest.split_off(..4).and_then(|bytes| bytes.first_chunk()).copied().map(u32::from_le_bytes);
    let (key, value) = (length()?, length()?);
    let key = rest.split_off(..usize::try_from(key).ok()?)?;
    let value = match value {
        NONE => None,
        len => Some(rest.split_off(..usize::try_from(len).ok()?)?),
    };
    Some(Change { table: *table, key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_they_were_written_down() {
        let redo = Redo::new(Vec::new(), 100);
        redo.push(3, b"key", Some(b"value"));
        redo.push(0, b"", None);
        redo.push(9, b"k", Some(b""));
        let (bytes, are_whole) = redo.into_bytes();
        assert!(are_whole);
        let found: Result<Vec<_>, _> = changes(&bytes).collect();
        let change = |table, key, value| Change { table, key, value };
        let written: [Change<'_>; 3] =
            [change(3, b"key", Some(b"value")), change(0, b"", None), change(9, b"k", Some(b""))];
        assert_eq!(found.unwrap(), written);
        let ends: Vec<_> = [0, 17, 26, bytes.len()].into();
        for len in 0..=bytes.len() {
            let is_read = changes(&bytes[..len]).all(|change| change.is_ok());
            assert_eq!(is_read, ends.contains(&len), "{len} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn a_row_that_is_made_is_handed_on_and_kept_only_as_a_change() {
        let make = |redo: &Redo| {
            redo.push_made(3, b"key", 5, |out| out.extend_from_slice(b"value"), |row, _| row.to_vec())
        };
        let (whole, off) = (Redo::new(Vec::new(), 100), Redo::off_in(b"head".to_vec()));
        for redo in [&whole, &off] {
            assert_eq!([make(redo), make(redo)], [b"value", b"value"]);
        }
        let (bytes, are_whole) = whole.into_bytes();
        let change = Change { table: 3, key: b"key", value: Some(b"value") };
        assert!(are_whole);
        assert_eq!(changes(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), [change, change]);
        assert_eq!(off.into_bytes(), (b"head".to_vec(), false));
    }

    #[test]
    fn changes_that_are_more_than_the_journal_takes_are_not_whole() {
        let redo = Redo::new(vec![0; 10], 22);
        redo.push(1, b"abc", None);
        redo.push(1, b"", None);
        let (bytes, are_whole) = redo.into_bytes();
        assert_eq!((bytes.len(), are_whole), (22, false));
    }
}
