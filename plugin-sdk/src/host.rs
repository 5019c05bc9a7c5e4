use serde::{Serialize, de::DeserializeOwned};

use crate::{Level, Outgoing, PublishError, Raw, SettingsError, StateError, TimerError, Timestamp};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What a delivery may ask of the bus: all that a plugin can reach.
///
/// State, published events and timers are the delivery's effects: they are kept if, and only if, the delivery succeeds, in one
/// transaction with its progress. A delivery reads its own writes.
///
/// In a component the tidegate host is behind it, in a native test [`FakeHost`](crate::testing::FakeHost).
///
/// ```
/// use tidegate_plugin::{Failure, Host, Outgoing, info};
///
/// fn greet_once(host: &mut dyn Host, name: &str) -> Result<(), Failure> {
///     if host.get(name.as_bytes())?.is_none() {
///         host.set(name.as_bytes(), b"greeted")?;
///         host.publish("greetings", Outgoing::new("Greeted.v1").subject(name))?;
///         info!(host, "{name} is new");
///     }
///     Ok(())
/// }
/// ```
pub trait Host {
    /// The value of a key in the consumer's state. State is scoped to the lane: one consumer on one partition number.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Sets the value of a key.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError>;

    /// Deletes a key. Deleting what is not there is no error.
    fn delete(&mut self, key: &[u8]) -> Result<(), StateError>;

    /// The entries with `start <= key < end` in ascending order of their bytes, at most `limit` of them and no more
    /// than the host allows in one answer; without `end`, to the last key. To go on, start at the last key with a zero
    /// byte appended; an empty answer is the end.
    fn scan(&self, start: &[u8], end: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, StateError>;

    /// Publishes an event to a granted topic when the delivery commits. The host adds `causationid`, `correlationid`
    /// and `traceparent` where they are missing.
    fn publish(&mut self, topic: &str, event: Outgoing) -> Result<(), PublishError>;

    /// Sets a timer of the delivery's key, in place of the one of this name if there is one. When it is due it comes to
    /// [`Consumer::timer`](crate::Consumer::timer), after what the log had accepted before and before what came later. A moment
    /// that has passed is due at once. Timers are part of the state: they need its grant.
    fn set_timer(&mut self, name: &str, due: Timestamp, data: Raw) -> Result<(), TimerError>;

    /// Cancels the timer of this name and the delivery's key. Cancelling one that is not set, or that has come already, is no
    /// error.
    fn cancel_timer(&mut self, name: &str) -> Result<(), TimerError>;

    /// The delivery's time: when the log accepted the event at the first attempt, the recorded due time afterwards.
    fn now(&self) -> Timestamp;

    /// Random bytes from a generator seeded by the delivery and its attempt; at most 64 KiB at once, a longer request
    /// is answered with that many.
    fn random(&mut self, len: u32) -> Vec<u8>;

    /// The consumer's name in the configuration.
    fn consumer(&self) -> String;

    /// The plugin's version as the host knows it.
    fn version(&self) -> String;

    /// The consumer's `settings` from the configuration as a JSON object; `{}` where there are none.
    fn settings_json(&self) -> String;

    /// Writes a line to the host's log, with the delivery's ids beside it. The host cuts long lines and drops what
    /// comes faster than it allows. [`info!`](crate::info) and its kin format first.
    fn log(&mut self, level: Level, message: &str);
}

impl dyn Host + '_ {
    /// The value of a key, read from JSON.
    ///
    /// # Errors
    ///
    /// [`StateError::Json`] if the value isn't a `T`, and those of [`get`](Host::get).
    pub fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, StateError> {
        let key = key.as_ref();
        let Some(value) = self.get(key)? else {
            return Ok(None);
        };
        serde_json::from_slice(&value).map(Some).map_err(|source| StateError::json(key, source))
    }

    /// Sets the value of a key, written as JSON.
    ///
    /// # Errors
    ///
    /// [`StateError::Json`] if the value can't be written as JSON, and those of [`set`](Host::set).
    pub fn set_json<T: Serialize + ?Sized>(
        &mut self,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<(), StateError> {
        let key = key.as_ref();
        let value = serde_json::to_vec(value).map_err(|source| StateError::json(key, source))?;
        self.set(key, &value)
    }

    /// All entries whose keys begin with a prefix, in ascending order, fetched in as many answers as it takes. Meant
    /// for few entries: they are all in memory at once.
    pub fn scan_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Vec<Entry>, StateError> {
        let prefix = prefix.as_ref();
        let end = after_prefix(prefix);
        let mut start = prefix.to_vec();
        let mut entries = Vec::new();
        loop {
            let page = self.scan(&start, end.as_deref(), u32::MAX)?;
            let Some((last, _)) = page.last() else {
                return Ok(entries);
            };
            start.clone_from(last);
            start.push(0);
            entries.extend(page);
        }
    }

    /// The consumer's settings. `T` gives the defaults: `#[serde(default)]`, and `deny_unknown_fields` so that a
    /// misspelt setting is found.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        serde_json::from_str(&self.settings_json()).map_err(|source| SettingsError { source })
    }

    /// A random number, each equally likely. The same on every run of the same attempt.
    pub fn random_u64(&mut self) -> u64 {
        self.random(8).iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

/// The least key above all keys with this prefix, or none if the prefix is empty or all `0xff`.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"sent/"), Some(b"sent0".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
