use std::{cell::RefCell, collections::BTreeMap, ops::Bound, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Attribute, Consumer, Delivery, Entry, Failure, Host, Level, Outgoing, Projection, PublishError, Query,
    Raw, Refusal, StateError, TimerError, Timestamp,
    consumer::{TIMER_NAME, TIMER_TOPIC, TIMER_TYPE, handle, handle_timer, is_timer, wants},
    testing::delivery,
};

// The bounds of a tidegate host in its default configuration.
const KEY_BYTES_MAX: u32 = 1 << 10;
const VALUE_BYTES_MAX: u32 = 1 << 20;
const SCAN_MAX: u32 = 1000;
const RANDOM_BYTES_MAX: u32 = 64 << 10;
const TIMER_NAME_BYTES_MAX: u32 = 256;
const TIMER_DATA_BYTES_MAX: u32 = 64 << 10;
const TIMER_DUE_MAX: i64 = 253_402_300_799_999_999;

/// An event that a consumer published.
///
/// ```
/// # use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, Raw, info};
/// # #[derive(Default)]
/// # struct Echo;
/// # impl Consumer for Echo {
/// #     const NAME: &'static str = "echo";
/// #     const PUBLISHES: &'static [&'static str] = &["out"];
/// #     type Data = Raw;
/// #     fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
/// #         info!(host, "{}", delivery.event.id);
/// #         host.publish("out", Outgoing::new("Echo.v1").json("again")?)?;
/// #         Ok(())
/// #     }
/// # }
/// use tidegate_plugin::testing::{FakeHost, delivery};
///
/// let mut host = FakeHost::new::<Echo>();
/// host.deliver(&mut Echo, delivery(Outgoing::new("Greeting.v1")))?;
/// assert_eq!(host.published[0].topic, "out");
/// assert_eq!(host.published[0].json::<String>(), "again");
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The topic.
    pub topic: String,
    /// The event as the consumer put it together.
    pub event: Outgoing,
}

impl Published {
    /// The event's data, read from JSON.
    ///
    /// # Panics
    ///
    /// If the data isn't a `T`: the test has failed.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        let Raw::Json(json) = &self.event.data else {
            panic!("no JSON was published: {:?}", self.event.data)
        };
        match serde_json::from_str(json) {
            Ok(data) => data,
            Err(error) => panic!("the published data {json} is something else: {error}"),
        }
    }
}

/// A timer that a consumer has set, and that hasn't come.
///
/// ```
/// use tidegate_plugin::testing::FakeHost;
///
/// /// The names of the timers that a test has left, by when they are due.
/// fn names(host: &FakeHost) -> Vec<&str> {
///     host.timers.iter().map(|timer| timer.name.as_str()).collect()
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SetTimer {
    /// The key of the delivery that has set it.
    pub key: String,
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due: Timestamp,
    /// What it comes with.
    pub data: Raw,
}

/// A line that a consumer logged.
///
/// ```
/// # use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, Raw, info};
/// # #[derive(Default)]
/// # struct Echo;
/// # impl Consumer for Echo {
/// #     const NAME: &'static str = "echo";
/// #     const PUBLISHES: &'static [&'static str] = &["out"];
/// #     type Data = Raw;
/// #     fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
/// #         info!(host, "{}", delivery.event.id);
/// #         host.publish("out", Outgoing::new("Echo.v1").json("again")?)?;
/// #         Ok(())
/// #     }
/// # }
/// use tidegate_plugin::testing::{FakeHost, delivery};
///
/// let mut host = FakeHost::new::<Echo>();
/// host.deliver(&mut Echo, delivery(Outgoing::new("Greeting.v1")))?;
/// assert_eq!(host.logged[0].message, "1");
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The level.
    pub level: Level,
    /// The message.
    pub message: String,
}

/// A [`Host`] in memory that grants its consumer what it declares, and nothing else.
///
/// [`deliver`](Self::deliver) does what the bus does with a delivery, and [`advance`](Self::advance) lets time pass for timers. A direct call of [`Consumer::handle`] works as
/// well, and keeps the effects whatever comes of it.
///
/// ```
/// use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, testing::{self, FakeHost}};
///
/// #[derive(Default)]
/// struct Count;
///
/// impl Consumer for Count {
///     const NAME: &'static str = "count";
///     const USES_STATE: bool = true;
///     type Data = u32;
///
///     fn handle(&mut self, delivery: &Delivery<u32>, host: &mut dyn Host) -> Result<(), Failure> {
///         let sum: u32 = host.get_json("sum")?.unwrap_or_default();
///         host.set_json("sum", &(sum + delivery.event.data))?;
///         Ok(())
///     }
/// }
///
/// let mut host = FakeHost::new::<Count>();
/// host.deliver(&mut Count, testing::delivery(Outgoing::new("Number.v1").json(&3)?))?;
/// assert_eq!(host.state_json::<u32>("sum"), Some(3));
/// # Ok::<(), Failure>(())
/// ```
#[derive(Debug)]
pub struct FakeHost {
    /// The consumer's state.
    pub state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The published events, in order.
    pub published: Vec<Published>,
    /// The timers that are set: what is due first comes first, and at the same moment what was set first.
    pub timers: Vec<SetTimer>,
    /// The logged lines, in order. Those of a failed delivery stay, as they do in the bus.
    pub logged: Vec<Logged>,
    /// The delivery's time. At first 2026-01-01T00:00:00Z.
    pub now: Timestamp,
    /// What the random bytes are made from. [`deliver`](Self::deliver) begins anew with it each time.
    pub seed: u64,
    /// The consumer's name in the configuration. At first the plugin's name.
    pub consumer: String,
    /// The plugin's version as the host knows it. At first `0.0.0`.
    pub version: String,
    /// Whether the consumer may use state.
    pub state_granted: bool,
    /// The topics that the consumer may publish to.
    pub topics_granted: Vec<String>,
    settings: String,
    drawn: u64,
    /// The key of the delivery that is made.
    key: String,
    /// How many timers have come.
    came: u64,
    state_error: RefCell<Option<StateError>>,
    publish_error: Option<PublishError>,
}

impl FakeHost {
    /// A host for this consumer, without state and settings.
    pub fn new<C: Consumer>() -> Self {
        Self {
            state: BTreeMap::new(),
            published: Vec::new(),
            timers: Vec::new(),
            logged: Vec::new(),
            now: Timestamp::from_micros(1_767_225_600_000_000),
            seed: 0,
            consumer: C::NAME.to_owned(),
            version: "0.0.0".to_owned(),
            state_granted: C::USES_STATE,
            topics_granted: C::PUBLISHES.iter().map(|&topic| topic.to_owned()).collect(),
            settings: "{}".to_owned(),
            drawn: 0,
            key: String::new(),
            came: 0,
            state_error: RefCell::new(None),
            publish_error: None,
        }
    }

    /// Sets the consumer's settings.
    ///
    /// # Panics
    ///
    /// If they can't be written as JSON: the test is wrong.
    #[must_use]
    #[track_caller]
    pub fn with_settings<T: Serialize + ?Sized>(mut self, settings: &T) -> Self {
        match serde_json::to_string(settings) {
            Ok(json) => self.settings = json,
            Err(error) => panic!("settings that can't be written as JSON: {error}"),
        }
        self
    }

    /// Answers the next use of state with this error.
    pub fn fail_next_state(&mut self, error: StateError) {
        *self.state_error.get_mut() = Some(error);
    }

    /// Answers the next event to publish with this error.
    pub fn fail_next_publish(&mut self, error: PublishError) {
        self.publish_error = Some(error);
    }

    /// The value of a key of the state, read from JSON.
    ///
    /// # Panics
    ///
    /// If the value isn't a `T`: the test has failed.
    #[track_caller]
    pub fn state_json<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Option<T> {
        let value = self.state.get(key.as_ref())?;
        match serde_json::from_slice(value) {
            Ok(value) => Some(value),
            Err(error) => panic!("the value {:?} is something else: {error}", String::from_utf8_lossy(value)),
        }
    }

    /// Delivers as the bus does: passes over events of types that the consumer doesn't handle, reads the data, calls
    /// the consumer, and takes state and published events back if the delivery fails. The consumer then is its default
    /// again, too.
    ///
    /// # Errors
    ///
    /// The consumer's failure, or a permanent one with code `bad-data` if the data has another shape.
    pub fn deliver<C: Consumer>(&mut self, consumer: &mut C, delivery: Delivery) -> Result<(), Failure> {
        self.drawn = 0;
        delivery.event.key().clone_into(&mut self.key);
        let (state, timers) = (self.state.clone(), self.timers.clone());
        let published = self.published.len();
        let outcome = if is_timer(&delivery) {
            handle_timer(consumer, &delivery, self)
        } else if wants::<C>(&delivery.event.event_type) {
            let decoded = delivery.decode();
            handle(consumer, decoded.as_ref().map_err(Failure::clone), self)
        } else {
            Ok(())
        };
        if outcome.is_err() {
            (self.state, self.timers) = (state, timers);
            self.published.truncate(published);
        }
        outcome
    }

    /// Asks as the bus does: of the state as it is, which the answer can't change.
    ///
    /// # Errors
    ///
    /// The projection's refusal.
    pub fn ask<P: Projection>(&self, query: &Query) -> Result<Raw, Refusal> {
        P::answer(query, self)
    }

    /// Lets time pass: delivers the timers that come due, each at its moment, and ends with [`now`](Self::now) so much later. A
    /// timer whose delivery fails stays set, and time stands there.
    ///
    /// # Errors
    ///
    /// The consumer's failure.
    pub fn advance<C: Consumer>(&mut self, consumer: &mut C, time: Duration) -> Result<(), Failure> {
        let end = self.now.after(time);
        while let Some(timer) = self.timers.first().filter(|timer| timer.due <= end).cloned() {
            self.now = self.now.max(timer.due);
            self.timers.remove(0);
            let delivered = self.deliver(consumer, self.timer_delivery(&timer));
            if let Err(failure) = delivered {
                self.timers.insert(0, timer);
                return Err(failure);
            }
            self.came += 1;
        }
        self.now = end;
        Ok(())
    }

    /// The delivery that a timer comes as.
    pub(super) fn timer_delivery(&self, timer: &SetTimer) -> Delivery {
        let mut delivery = delivery(Outgoing::new(TIMER_TYPE).subject(&timer.key));
        TIMER_TOPIC.clone_into(&mut delivery.topic);
        delivery.offset = self.came;
        (delivery.appended, delivery.first_attempt) = (timer.due, timer.due);
        let event = &mut delivery.event;
        event.id = format!("{}/timers/{}", self.consumer, timer.name);
        event.source = format!("/tidegate/consumers/{}", self.consumer);
        event.time = Some(timer.due.to_string());
        event.extensions.push((TIMER_NAME.to_owned(), Attribute::Text(timer.name.clone())));
        event.data = timer.data.clone();
        delivery
    }

    fn allow_timer(&self, name: &str) -> Result<(), TimerError> {
        if !self.state_granted {
            return Err(TimerError::NotGranted);
        }
        if name.is_empty() || name.len() > TIMER_NAME_BYTES_MAX as usize {
            return Err(TimerError::NameSize { max: TIMER_NAME_BYTES_MAX });
        }
        Ok(())
    }

    fn allow_state(&self, key: Option<&[u8]>) -> Result<(), StateError> {
        if !self.state_granted {
            return Err(StateError::NotGranted);
        }
        if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX as usize) {
            return Err(StateError::KeySize { max: KEY_BYTES_MAX });
        }
        self.state_error.take().map_or(Ok(()), Err)
    }
}

impl Host for FakeHost {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.allow_state(Some(key))?;
        Ok(self.state.get(key).cloned())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.allow_state(Some(key))?;
        if value.len() > VALUE_BYTES_MAX as usize {
            return Err(StateError::ValueSize { max: VALUE_BYTES_MAX });
        }
        self.state.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StateError> {
        self.allow_state(Some(key))?;
        self.state.remove(key);
        Ok(())
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, StateError> {
        self.allow_state(None)?;
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        let entries = self.state.range::<[u8], _>(range).take(limit.min(SCAN_MAX) as usize);
        Ok(entries.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn publish(&mut self, topic: &str, event: Outgoing) -> Result<(), PublishError> {
        if !self.topics_granted.iter().any(|granted| granted == topic) {
            return Err(PublishError::NotGranted { topic: topic.to_owned() });
        }
        self.publish_error.take().map_or(Ok(()), Err)?;
        self.published.push(Published { topic: topic.to_owned(), event });
        Ok(())
    }

    fn set_timer(&mut self, name: &str, due: Timestamp, data: Raw) -> Result<(), TimerError> {
        self.allow_timer(name)?;
        if !(0..=TIMER_DUE_MAX).contains(&due.as_micros()) {
            return Err(TimerError::Due);
        }
        let len = match &data {
            Raw::Empty => 0,
            Raw::Json(text) | Raw::Text(text) => text.len(),
            Raw::Binary(bytes) => bytes.len(),
        };
        if len > TIMER_DATA_BYTES_MAX as usize {
            return Err(TimerError::DataSize { max: TIMER_DATA_BYTES_MAX });
        }
        self.cancel_timer(name)?;
        let at = self.timers.partition_point(|other| other.due <= due);
        self.timers.insert(at, SetTimer { key: self.key.clone(), name: name.to_owned(), due, data });
        Ok(())
    }

    fn cancel_timer(&mut self, name: &str) -> Result<(), TimerError> {
        self.allow_timer(name)?;
        self.timers.retain(|timer| (timer.key.as_str(), timer.name.as_str()) != (self.key.as_str(), name));
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn random(&mut self, len: u32) -> Vec<u8> {
        (0..len.min(RANDOM_BYTES_MAX)).map(|_| self.draw()).collect()
    }

    fn consumer(&self) -> String {
        self.consumer.clone()
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn settings_json(&self) -> String {
        self.settings.clone()
    }

    fn log(&mut self, level: Level, message: &str) {
        self.logged.push(Logged { level, message: message.to_owned() });
    }
}

impl FakeHost {
    /// The next byte of a `SplitMix64` sequence: well spread, and the same for the same seed.
    fn draw(&mut self) -> u8 {
        self.drawn += 1;
        let mut mixed = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 56) as u8
    }
}
