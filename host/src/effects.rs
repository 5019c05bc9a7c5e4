//! What a delivery sees and what it wants to change, kept apart from how that becomes durable.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher24};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::config::Grants;
use crate::event::{Causes, Event, EventError, EventParts};
use crate::handler::Delivery;
use crate::ids::TopicId;
use crate::limits::{
    EFFECT_BYTES_MAX, EFFECT_EVENTS_MAX, RANDOM_BYTES_MAX, STATE_KEY_BYTES_MAX, STATE_SCAN_BYTES_MAX,
    STATE_SCAN_MAX, STATE_VALUE_BYTES_MAX,
};
use crate::schema::SchemaRefusal;
use crate::timer::{NewTimer, TimerCounts, TimerName};

mod timers;

/// A key and its value.
pub type StateEntry = (Vec<u8>, Vec<u8>);

/// Reads a lane's durable state: all reads of one reader see the same moment.
pub(crate) trait StateRead: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateUnavailable>;

    /// At most `limit` entries with `start <= key < end`, ascending; without `end`, to the last.
    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<StateEntry>, StateUnavailable>;
}

/// The log could not read state.
///
/// ```
/// use tidegate::{Failure, FailureKind, StateError, StateUnavailable};
///
/// // A delivery that gets it fails and is made again.
/// fn tell(unreadable: StateUnavailable) -> Failure {
///     StateError::from(unreadable).into()
/// }
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the log could not read state: {0}")]
pub struct StateUnavailable(pub String);

/// Finds the topics that a delivery may publish to.
pub(crate) trait TopicDirectory: Send + Sync {
    /// The topic's number, where there is such a topic.
    fn topic_id(&self, name: &str) -> Option<TopicId>;

    /// Whether the topic numbers the events of each key.
    fn is_sequenced(&self, topic: TopicId) -> bool;

    /// How large this event may be for the topic to accept it, with its data wherever that is kept, in bytes of [`Event::size`].
    fn event_bytes_max(&self, topic: TopicId, event: &Event) -> usize;

    /// Holds an event against the schema of its type, where the topic requires that.
    fn check_schema(&self, topic: TopicId, event: &Event) -> Result<(), SchemaRefusal>;
}

/// Why state could not be read or written.
///
/// ```
/// use tidegate::{StateError, handler_fn};
///
/// let handler = handler_fn(|delivery, context| match context.set(b"last", delivery.event.source().as_bytes()) {
///     Err(StateError::ValueSize { .. }) => Ok(()), // nothing worth keeping
///     other => Ok(other?),
/// });
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The consumer has no grant for state.
    #[error("the consumer is not granted state: add `state = true` to its grants")]
    NotGranted,
    /// The key is empty or too long.
    #[error("a state key has 1 to {max} bytes, not {len}")]
    KeySize {
        /// The key's length in bytes.
        len: usize,
        /// The longest key allowed, in bytes.
        max: usize,
    },
    /// The value is too large.
    #[error("a state value has at most {max} bytes, not {len}: split it over several keys")]
    ValueSize {
        /// The value's length in bytes.
        len: usize,
        /// The largest value allowed, in bytes.
        max: usize,
    },
    /// The delivery has written too much.
    #[error("one delivery writes at most {max} bytes of state and events")]
    EffectsSize {
        /// The bound, in bytes.
        max: usize,
    },
    /// The log could not be read; the delivery fails and is made again.
    #[error(transparent)]
    Unavailable(#[from] StateUnavailable),
}

/// Why a delivery could not publish an event.
///
/// ```
/// use tidegate::{EmitError, Outgoing, handler_fn};
///
/// let handler = handler_fn(|_, context| {
///     let audit = Outgoing { kind: "Audited.v1".into(), ..Outgoing::default() };
///     match context.publish("audit", audit) {
///         Err(EmitError::UnknownTopic(_)) => Ok(()), // nobody has asked for an audit
///         other => Ok(other?),
///     }
/// });
/// ```
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum EmitError {
    /// The consumer has no grant to publish to this topic.
    #[error("the consumer is not granted to publish to topic `{0}`: add it to `publish` in its grants")]
    NotGranted(String),
    /// There is no such topic.
    #[error("there is no topic `{0}`: create it first")]
    UnknownTopic(String),
    /// The event breaks a rule of `CloudEvents`.
    #[error(transparent)]
    Invalid(#[from] EventError),
    /// The topic requires schemas, and the event has none, or breaks it.
    #[error(transparent)]
    Schema(#[from] SchemaRefusal),
    /// The event is larger than the bus allows.
    #[error("the event has {size} bytes, more than the {max} that the bus allows")]
    EventSize {
        /// The event's size in bytes.
        size: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// The delivery has written too much.
    #[error(
        "one delivery publishes at most {events_max} events, and writes at most {bytes_max} bytes of state and events"
    )]
    EffectsSize {
        /// The bound in events.
        events_max: usize,
        /// The bound in bytes.
        bytes_max: usize,
    },
}

/// An event that a delivery publishes. Its `id`, `source` and `time` may be left empty: see [`Context::publish`].
pub type Outgoing = EventParts;

/// What a consumer may do through its context.
#[derive(Clone, Debug)]
pub(crate) enum Authority {
    /// A native handler is part of the application: everything.
    Native,
    /// A plugin: what it was granted, and nothing by default.
    Granted(Grants),
    /// Who answers a question: it reads state, and changes nothing.
    Reader,
}

impl Authority {
    fn allows_state(&self) -> bool {
        match self {
            Self::Native | Self::Reader => true,
            Self::Granted(grants) => grants.state,
        }
    }

    fn allows_writing(&self) -> bool {
        !matches!(self, Self::Reader)
    }

    fn allows_publish(&self, topic: &str) -> bool {
        match self {
            Self::Native => true,
            Self::Granted(grants) => grants.publish.contains(topic),
            Self::Reader => false,
        }
    }
}

/// Who a context belongs to, the same for all deliveries of a lane.
#[derive(Clone)]
pub(crate) struct ContextOwner {
    /// The consumer's name.
    pub consumer: Arc<str>,
    /// What the consumer may do.
    pub authority: Arc<Authority>,
    /// Finds topics.
    pub topics: Arc<dyn TopicDirectory>,
    /// The bus's own seed, from which each delivery's random numbers come.
    pub seed: u128,
}

/// What a delivery may use: state, publishing, its time, its random numbers.
///
/// Nothing that goes through a context takes effect before the delivery succeeds and its batch commits, and then all
/// of it does at once.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// use tidegate::Outgoing;
///
/// bus.create_topic("greetings", TopicConfig::new(1))?;
/// let greeter = handler_fn(|delivery, context| {
///     let customer = delivery.event.key().to_owned();
///     if context.get(customer.as_bytes())?.is_none() {
///         context.set(customer.as_bytes(), b"greeted")?;
///         let subject = Some(customer);
///         context.publish("greetings", Outgoing { kind: "Greeted.v1".into(), subject, ..Outgoing::default() })?;
///     }
///     Ok(())
/// });
/// bus.subscribe("greeter", ConsumerConfig::new(["orders"]), greeter)?;
/// for id in ["order-17", "order-18"] {
///     bus.publish("orders", Event::new(id, "/shop", "OrderPlaced.v1").subject("customer-4").build()?)?;
/// }
/// bus.caught_up("greeter")?;
/// assert_eq!(bus.bus().topics()[0].events(), 1, "one greeting for two orders");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Context {
    owner: ContextOwner,
    version: Arc<str>,
    state: Box<dyn StateRead>,
    /// The lane's timers when the batch began.
    timers: TimerCounts,
    /// Before this none is due that the batch has set.
    timers_due: Option<Timestamp>,
    kept: Effects,
    open: Effects,
    delivery: Option<Current>,
}

/// The delivery in progress, as far as its effects depend on it.
struct Current {
    now: Timestamp,
    topic: Arc<str>,
    partition: u32,
    offset: u64,
    attempt: u32,
    cause: Arc<Event>,
    /// Begun with the first number that is drawn.
    random: Option<RandomStream>,
}

impl Current {
    /// What names the delivery among all of the bus, whatever the attempt.
    fn origin(&self, owner: &ContextOwner) -> String {
        format!("{}/{}/{}/{}", owner.consumer, self.topic, self.partition, self.offset)
    }
}

/// State writes, events and timers, ready for a commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// The last write to each key; `None` deletes.
    pub state: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Events in the order in which they were published.
    pub events: Vec<(TopicId, Event)>,
    /// The last change of each timer; `None` cancels.
    pub timers: BTreeMap<TimerName, Option<NewTimer>>,
    /// How many were set, those that were set again and cancelled among them: so many numbers are used up.
    pub timers_set: u64,
    /// What the number of the last event of a key has to be before them: nobody else may have appended to it.
    pub expected: BTreeMap<(TopicId, String), u64>,
    /// What all of it weighs, in bytes: an upper bound that counts overwritten values too.
    pub bytes: usize,
}

impl Context {
    /// A context for one lane, on a moment of its durable state.
    pub(crate) fn new(
        owner: ContextOwner,
        version: Arc<str>,
        state: Box<dyn StateRead>,
        timers: TimerCounts,
    ) -> Self {
        let (kept, open) = (Effects::default(), Effects::default());
        Self { owner, version, state, timers, timers_due: None, kept, open, delivery: None }
    }

    /// A context for who answers a question from a moment of a lane's state, if it may read that.
    pub(crate) fn reader(consumer: Arc<str>, version: Arc<str>, state: Option<Box<dyn StateRead>>) -> Self {
        let authority =
            if state.is_some() { Authority::Reader } else { Authority::Granted(Grants::nothing()) };
        let owner =
            ContextOwner { consumer, authority: Arc::new(authority), topics: Arc::new(NoTopics), seed: 0 };
        Self::new(owner, version, state.unwrap_or_else(|| Box::new(NoState)), TimerCounts::default())
    }

    /// Starts a delivery.
    pub(crate) fn begin(&mut self, delivery: &Delivery) {
        self.open = Effects::default();
        self.delivery = Some(Current {
            now: delivery.now,
            topic: Arc::clone(&delivery.topic),
            partition: delivery.partition,
            offset: delivery.offset,
            attempt: delivery.attempt,
            cause: Arc::clone(&delivery.event),
            random: None,
        });
    }

    /// Keeps the delivery's effects for the batch's commit.
    pub(crate) fn keep(&mut self) {
        // Most deliveries write nothing, and going through an empty map costs something.
        if !self.open.state.is_empty() {
            self.kept.state.extend(std::mem::take(&mut self.open.state));
        }
        self.kept.events.append(&mut self.open.events);
        if !self.open.timers.is_empty() {
            let due = self.open.timers.values().flatten().map(|timer| timer.place.due);
            self.timers_due = due.chain(self.timers_due).min();
            self.kept.timers.extend(std::mem::take(&mut self.open.timers));
            self.kept.timers_set += std::mem::take(&mut self.open.timers_set);
        }
        // Of several deliveries the first one's word counts: the others follow from it.
        for (key, number) in std::mem::take(&mut self.open.expected) {
            self.kept.expected.entry(key).or_insert(number);
        }
        self.kept.bytes += std::mem::take(&mut self.open.bytes);
        self.delivery = None;
    }

    /// Rolls the delivery's effects back.
    pub(crate) fn discard(&mut self) {
        self.open = Effects::default();
        self.delivery = None;
    }

    /// What the kept effects weigh, in bytes.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.bytes
    }

    /// Takes the kept effects out, for a commit.
    pub(crate) fn take(&mut self) -> Effects {
        std::mem::take(&mut self.kept)
    }

    /// The delivery's time: when the log accepted the event at the first attempt, the recorded due time afterwards.
    pub fn now(&self) -> Timestamp {
        self.delivery.as_ref().map_or(Timestamp(0), |delivery| delivery.now)
    }

    /// The consumer's name.
    pub fn consumer(&self) -> &str {
        &self.owner.consumer
    }

    /// The version of the plugin or handler.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Random bytes, the same for each run of the same attempt at the same delivery: not for secrets.
    /// At most 64 KiB; a longer request is answered with that many.
    pub fn random(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(RANDOM_BYTES_MAX);
        let Some(delivery) = &mut self.delivery else { return vec![0; len] };
        if delivery.random.is_none() {
            let origin = delivery.origin(&self.owner);
            delivery.random = Some(RandomStream::new(self.owner.seed, &origin, delivery.attempt));
        }
        delivery.random.as_mut().map_or_else(Vec::new, |random| random.bytes(len))
    }

    /// The value of a key in the lane's state, with this delivery's own writes.
    ///
    /// # Errors
    ///
    /// See [`StateError`]. After `Unavailable` the delivery should fail with a transient failure.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.check_key(key)?;
        for effects in [&self.open, &self.kept] {
            if let Some(value) = effects.state.get(key) {
                return Ok(value.clone());
            }
        }
        Ok(self.state.get(key)?)
    }

    /// Sets the value of a key in the lane's state.
    ///
    /// # Errors
    ///
    /// See [`StateError`]; nothing is changed then.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        if value.len() > STATE_VALUE_BYTES_MAX {
            self.check_key(key)?;
            return Err(StateError::ValueSize { len: value.len(), max: STATE_VALUE_BYTES_MAX });
        }
        self.write(key, Some(value.to_vec()))
    }

    /// Deletes a key from the lane's state. Deleting what is not there is no error.
    ///
    /// # Errors
    ///
    /// See [`StateError`]; nothing is changed then.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), StateError> {
        self.write(key, None)
    }

    /// The entries with `start <= key < end` in ascending order of their bytes, at most `limit` of them and at most
    /// what the bus returns at once; without `end`, to the last key. To go on, start at the last key with a zero byte
    /// appended; an empty answer is the end.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<StateEntry>, StateError> {
        if !self.owner.authority.allows_state() {
            return Err(StateError::NotGranted);
        }
        let limit = limit.min(STATE_SCAN_MAX);
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut from = start.to_vec();
        while found.len() < limit && end.is_none_or(|end| from.as_slice() < end) {
            let Some((key, value)) = self.next_entry(&from, end)? else {
                break;
            };
            bytes += key.len() + value.len();
            if bytes > STATE_SCAN_BYTES_MAX && !found.is_empty() {
                break;
            }
            from.clone_from(&key);
            from.push(0);
            found.push((key, value));
        }
        Ok(found)
    }

    /// Publishes an event to a topic when the delivery commits; so there is no offset to return.
    ///
    /// Without an id it gets one of consumer, topic, partition, offset and its index within the delivery, so that a
    /// repeated delivery repeats it. Without a source it gets `/tidegate/consumers/NAME`, without a time the delivery's.
    /// `causationid`, `correlationid`, `traceparent` and `tracestate` follow from the delivered event where they are missing; one that
    /// says another `correlationid` gets that of the delivered event as `parentcorrelationid`.
    ///
    /// # Errors
    ///
    /// See [`EmitError`]; nothing is published then.
    pub fn publish(&mut self, topic: &str, event: Outgoing) -> Result<(), EmitError> {
        self.emit(topic, event).map(drop)
    }

    /// As [`publish`](Self::publish); returns the event as it will be in the topic.
    pub(crate) fn publish_event(&mut self, topic: &str, event: Outgoing) -> Result<Event, EmitError> {
        self.emit(topic, event).map(|(_, event)| event.clone())
    }

    /// Has the batch commit only if the last event of this key has this number then, with what the batch itself has
    /// published before. The topic numbers its events.
    pub(crate) fn expect(&mut self, topic: &str, key: &str, number: u64) -> Result<(), EmitError> {
        let unknown = || EmitError::UnknownTopic(topic.to_owned());
        let topic = self.owner.topics.topic_id(topic).ok_or_else(unknown)?;
        self.open.expected.entry((topic, key.to_owned())).or_insert(number);
        Ok(())
    }

    /// What the batch has published of one key of a topic, and the number of the event before that, where it
    /// [expects](Self::expect) one.
    pub(crate) fn kept_events<'a>(
        &'a self,
        topic: &str,
        key: &'a str,
    ) -> Option<(u64, impl Iterator<Item = &'a Event>)> {
        let topic = self.owner.topics.topic_id(topic)?;
        let before = *self.kept.expected.get(&(topic, key.to_owned()))?;
        let of_key = move |(of, event): &&(TopicId, Event)| *of == topic && event.key() == key;
        Some((before, self.kept.events.iter().filter(of_key).map(|(_, event)| event)))
    }

    fn emit(&mut self, topic: &str, event: Outgoing) -> Result<(TopicId, &Event), EmitError> {
        if !self.owner.authority.allows_publish(topic) {
            return Err(EmitError::NotGranted(topic.to_owned()));
        }
        let Some(id) = self.owner.topics.topic_id(topic) else {
            return Err(EmitError::UnknownTopic(topic.to_owned()));
        };
        let event = self.completed(event)?;
        if self.owner.topics.is_sequenced(id) {
            event.check_unnumbered(topic)?;
        }
        event.check_dataref()?;
        let (size, max) = (event.size(), self.owner.topics.event_bytes_max(id, &event));
        if size > max {
            return Err(EmitError::EventSize { size, max });
        }
        self.owner.topics.check_schema(id, &event)?;
        if self.open.events.len() == EFFECT_EVENTS_MAX || self.open.bytes + size > EFFECT_BYTES_MAX {
            return Err(EmitError::EffectsSize {
                events_max: EFFECT_EVENTS_MAX,
                bytes_max: EFFECT_BYTES_MAX,
            });
        }
        self.open.bytes += size;
        self.open.events.push((id, event));
        let (id, event) = &self.open.events[self.open.events.len() - 1];
        Ok((*id, event))
    }

    /// The event with what the host adds.
    fn completed(&mut self, mut event: Outgoing) -> Result<Event, EventError> {
        let index = self.open.events.len();
        if event.source.is_empty() {
            event.source = format!("/tidegate/consumers/{}", self.owner.consumer);
        }
        if let Some(delivery) = &self.delivery {
            let origin = delivery.origin(&self.owner);
            if event.id.is_empty() {
                event.id = format!("{origin}/{index}");
            }
            if event.time.is_none() {
                event.time = Some(delivery.now.to_string());
            }
            Causes::of(&delivery.cause).add_to(&mut event, &origin, index);
        }
        Event::try_from(event)
    }

    /// The first entry of the merged state with `from <= key < end`: this delivery's writes over the batch's over what
    /// is durable.
    fn next_entry(&self, from: &[u8], end: Option<&[u8]>) -> Result<Option<StateEntry>, StateError> {
        let mut from = from.to_vec();
        loop {
            let durable = self.state.scan(&from, end, 1)?.into_iter().next();
            let written = self.next_write(&from, end);
            return Ok(match (written, durable) {
                (None, durable) => durable,
                (Some((key, write)), durable) => {
                    if durable.as_ref().is_some_and(|(first, _)| first.as_slice() < key) {
                        durable
                    } else if let Some(value) = write {
                        Some((key.to_vec(), value.to_vec()))
                    } else {
                        from = key.to_vec();
                        from.push(0);
                        continue;
                    }
                }
            });
        }
    }

    /// The first key at or after `from` that this delivery or the batch has written, with the newest write to it.
    fn next_write(&self, from: &[u8], end: Option<&[u8]>) -> Option<(&[u8], Option<&[u8]>)> {
        let first = |effects: &'_ Effects| -> Option<Vec<u8>> {
            let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
            if end.is_some_and(|end| end <= from) {
                return None;
            }
            effects.state.range::<[u8], _>((Bound::Included(from), upper)).next().map(|(key, _)| key.clone())
        };
        let key = match (first(&self.open), first(&self.kept)) {
            (Some(open), Some(kept)) => open.min(kept),
            (open, kept) => open.or(kept)?,
        };
        let newest = if self.open.state.contains_key(&key) { &self.open } else { &self.kept };
        newest.state.get_key_value(&key).map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    fn check_key(&self, key: &[u8]) -> Result<(), StateError> {
        if !self.owner.authority.allows_state() {
            return Err(StateError::NotGranted);
        }
        if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
            return Err(StateError::KeySize { len: key.len(), max: STATE_KEY_BYTES_MAX });
        }
        Ok(())
    }

    fn write(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Result<(), StateError> {
        self.check_key(key)?;
        if !self.owner.authority.allows_writing() {
            return Err(StateError::NotGranted);
        }
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        if self.open.bytes + bytes > EFFECT_BYTES_MAX {
            return Err(StateError::EffectsSize { max: EFFECT_BYTES_MAX });
        }
        self.open.bytes += bytes;
        match self.open.state.entry(key.to_vec()) {
            Entry::Occupied(mut entry) => drop(entry.insert(value)),
            Entry::Vacant(entry) => drop(entry.insert(value)),
        }
        Ok(())
    }
}

/// The topics of who may publish to none.
struct NoTopics;

impl TopicDirectory for NoTopics {
    fn topic_id(&self, _: &str) -> Option<TopicId> {
        None
    }

    fn is_sequenced(&self, _: TopicId) -> bool {
        false
    }

    fn event_bytes_max(&self, _: TopicId, _: &Event) -> usize {
        0
    }

    fn check_schema(&self, _: TopicId, _: &Event) -> Result<(), SchemaRefusal> {
        Ok(())
    }
}

/// The state of who may read none.
struct NoState;

impl StateRead for NoState {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StateUnavailable> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<StateEntry>, StateUnavailable> {
        Ok(Vec::new())
    }
}

/// Random bytes made by hashing a counter under a key: SipHash-2-4 with 128 bits of output is a pseudo-random function,
/// so that what one delivery draws says nothing of another's.
struct RandomStream {
    key: (u64, u64),
    counter: u64,
}

impl RandomStream {
    fn new(seed: u128, origin: &str, attempt: u32) -> Self {
        let mut hasher = SipHasher24::new_with_key(&seed.to_le_bytes());
        std::hash::Hasher::write(&mut hasher, origin.as_bytes());
        std::hash::Hasher::write(&mut hasher, &attempt.to_le_bytes());
        let key = hasher.finish128();
        Self { key: (key.h1, key.h2), counter: 0 }
    }

    fn block(&self, counter: u64) -> siphasher::sip128::Hash128 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        std::hash::Hasher::write(&mut hasher, &counter.to_le_bytes());
        hasher.finish128()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 16);
        while bytes.len() < len {
            let block = self.block(self.counter);
            self.counter += 1;
            bytes.extend_from_slice(&block.h1.to_le_bytes());
            bytes.extend_from_slice(&block.h2.to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
