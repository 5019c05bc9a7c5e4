//! What the checks look at: what the bus knows, and a bounded part of what it stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::finding::DoctorOptions;
use crate::aggregate::STATE_VERSION;
use crate::bus::{BlobUsage, Bus, ConsumerStatus, SagaState, SagaStatus, TopicStatus};
use crate::clock::Timestamp;
use crate::config::ConsumerConfig;
use crate::event::Event;
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::{
    DOCTOR_EVENT_BYTES, DOCTOR_OLDEST_EVENTS, DOCTOR_SAGA_PAGES, DOCTOR_SAMPLE_EVENTS, DOCTOR_SAMPLE_FLOOR,
    DOCTOR_TRAFFIC_EVENTS, DOCTOR_TRAFFIC_TIMES, DOCTOR_TYPES_MAX, READ_BYTES_MAX,
};
use crate::log::{Entry, Log, ReadError, Stored, key_hash};
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::outbox::OutboxStatus;
use crate::schema::split;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub topics: Vec<TopicEvidence>,
    pub consumers: Vec<ConsumerEvidence>,
    /// The names of the subjects that have schemas.
    pub subjects: Vec<String>,
    /// The event types that upcasters lift.
    pub lifted: BTreeSet<String>,
    pub free_bytes: Option<u64>,
    pub free_bytes_min: u64,
    pub blobs: Option<BlobUsage>,
    pub is_slewing: bool,
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub outboxes: Vec<OutboxStatus>,
}

/// A topic with some of its newest events.
#[derive(Clone, Debug)]
pub(super) struct TopicEvidence {
    pub status: TopicStatus,
    pub traffic: Traffic,
    pub sample: Sample,
}

/// Events that came lately, by partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    pub events: Vec<u64>,
    /// In how much time.
    pub time: Duration,
}

/// What some of a topic's newest events are like.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub events: u64,
    /// How many there are of each type, of so many types.
    pub kinds: BTreeMap<String, u64>,
    /// The types of some of its oldest events.
    pub oldest_kinds: BTreeSet<String>,
    /// How many are larger than the bound, and the largest of them, as its place and its bytes.
    pub large: u64,
    pub largest: Option<(u32, u64, usize)>,
    /// The hashes of the correlation and of the key of each that says what it belongs to.
    pub chains: Vec<(u64, u64)>,
    /// Of the partition with the most traffic: how many of its events were read, and the most frequent key with its number.
    pub busiest: u64,
    pub busiest_key: Option<(String, u64)>,
}

/// A consumer.
#[derive(Clone, Debug)]
pub(super) struct ConsumerEvidence {
    pub status: ConsumerStatus,
    /// Its settings, where they are known.
    pub config: Option<ConsumerConfig>,
    /// What it hasn't come to yet, by topic.
    pub lags: BTreeMap<String, Lag>,
    pub is_aggregate: bool,
    pub sagas: Sagas,
}

/// The sagas that a consumer runs, as far as they were looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Sagas {
    pub seen: u64,
    pub stuck: u64,
    /// The one that has been stuck for longest, and since when.
    pub longest: Option<(Timestamp, String)>,
}

/// How far a consumer is behind in a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lag {
    pub events: u64,
    /// How long ago the log accepted the oldest of them.
    pub age: Duration,
    /// About how many bytes they are.
    pub bytes: u64,
}

impl Evidence {
    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&TopicEvidence> {
        self.topics.iter().find(|topic| topic.status.name == name)
    }
}

/// Looks at a bus.
pub(super) async fn collect(bus: &Bus, mut options: DoctorOptions) -> Result<Evidence, ReadError> {
    let log = &bus.inner.log;
    let mut evidence = Evidence {
        subjects: bus.schemas().into_iter().map(|subject| subject.name).collect(),
        lifted: lifted(bus),
        free_bytes: log.free_bytes(),
        free_bytes_min: bus.config().free_bytes_min,
        blobs: Some(bus.blob_usage()),
        is_slewing: log.clock().is_slewing(),
        #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
        outboxes: bus.outboxes().await,
        ..Evidence::default()
    };
    for status in bus.topics() {
        let Some(id) = log.topic_id(&status.name) else { continue };
        let traffic = traffic(log, id, &status)?;
        let sample = sample(log, id, &traffic).await?;
        evidence.topics.push(TopicEvidence { status, traffic, sample });
    }
    for status in bus.consumers()? {
        let running = bus.inner.roster.with(&status.name, |running| running.config.clone());
        let config = running.or_else(|| options.consumers.remove(&status.name));
        let lags = lags(log, &status, &evidence)?;
        let row = log.consumer(&status.name);
        let is_aggregate = row.as_ref().is_some_and(|(_, row)| row.state_version == Some(STATE_VERSION));
        let sagas = match row {
            Some((id, _)) if !is_aggregate => sagas(bus, id, &status).await?,
            _ => Sagas::default(),
        };
        evidence.consumers.push(ConsumerEvidence { status, config, lags, is_aggregate, sagas });
        tokio::task::yield_now().await;
    }
    Ok(evidence)
}

fn lifted(bus: &Bus) -> BTreeSet<String> {
    let lifts = bus.upcasters().into_iter().flat_map(|upcaster| upcaster.lifts);
    lifts.map(|lift| lift.from().to_owned()).collect()
}

/// The sagas of a consumer: a bounded number of them.
async fn sagas(bus: &Bus, consumer: ConsumerId, status: &ConsumerStatus) -> Result<Sagas, ReadError> {
    let mut sagas = Sagas::default();
    let mut pages = 0;
    for lane in &status.lanes {
        let lane = LaneId { consumer, partition: lane.partition };
        let mut after: Option<Vec<u8>> = None;
        while pages < DOCTOR_SAGA_PAGES
            && let Some(last) =
                bus.sagas_behind(lane, &status.name, after.as_deref(), &mut |saga| sagas.take(saga))?
        {
            after = Some(last);
            pages += 1;
            tokio::task::yield_now().await;
        }
    }
    Ok(sagas)
}

impl Sagas {
    fn take(&mut self, saga: SagaStatus) {
        self.seen += 1;
        if saga.state != SagaState::Stuck {
            return;
        }
        self.stuck += 1;
        if self.longest.as_ref().is_none_or(|(since, _)| saga.since < *since) {
            self.longest = Some((saga.since, saga.id));
        }
    }
}

/// The traffic of the shortest time that has enough of it.
fn traffic(log: &Log, id: TopicId, status: &TopicStatus) -> Result<Traffic, ReadError> {
    let now = log.clock().now();
    for time in DOCTOR_TRAFFIC_TIMES {
        let mut events = Vec::with_capacity(status.partitions.len());
        for (number, partition) in (0..).zip(&status.partitions) {
            let first = log.offset_at(id, number, now.before(time))?;
            events.push(partition.next_offset.saturating_sub(first));
        }
        if events.iter().sum::<u64>() >= DOCTOR_TRAFFIC_EVENTS {
            return Ok(Traffic { events, time });
        }
    }
    let retained = status.partitions.iter().map(|partition| partition.next_offset - partition.first_offset);
    Ok(Traffic { events: retained.collect(), time: now.since(status.created) })
}

/// The newest events of the partitions with the most traffic.
async fn sample(log: &Log, id: TopicId, traffic: &Traffic) -> Result<Sample, ReadError> {
    let mut sample = Sample::default();
    let share = (DOCTOR_SAMPLE_EVENTS / (traffic.events.len().max(1) as u64)).max(DOCTOR_SAMPLE_FLOOR);
    let mut partitions: Vec<(u32, u64)> = (0..).zip(traffic.events.iter().copied()).collect();
    partitions.sort_by_key(|(number, events)| (std::cmp::Reverse(*events), *number));
    let mut keys: HashMap<u64, (String, u64)> = HashMap::new();
    let busiest = partitions.first().map(|(number, _)| *number);
    for (partition, _) in partitions {
        if sample.events >= DOCTOR_SAMPLE_EVENTS {
            break;
        }
        // A bound on bytes too: then these are the oldest of the newest, which is good enough.
        let next = log.next_offset(id, partition);
        let oldest =
            log.read(id, partition, log.low_offset(id, partition), DOCTOR_OLDEST_EVENTS, READ_BYTES_MAX)?;
        for entry in oldest {
            if let Entry::Event(stored) = entry
                && sample.oldest_kinds.len() < DOCTOR_TYPES_MAX
                && !sample.oldest_kinds.contains(stored.event.kind())
            {
                sample.oldest_kinds.insert(stored.event.kind().to_owned());
            }
        }
        let count = usize::try_from(share).unwrap_or(usize::MAX);
        let entries = log.read(id, partition, next.saturating_sub(share), count, READ_BYTES_MAX)?;
        for entry in entries {
            let Entry::Event(stored) = entry else { continue };
            sample.add(partition, &stored);
            if Some(partition) == busiest {
                sample.busiest += 1;
                keys.entry(stored.key).or_insert_with(|| (stored.event.key().to_owned(), 0)).1 += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    sample.busiest_key = keys.into_values().max_by(|a, b| (a.1, &b.0).cmp(&(b.1, &a.0)));
    Ok(sample)
}

impl Sample {
    fn add(&mut self, partition: u32, stored: &Stored) {
        let event: &Event = &stored.event;
        self.events += 1;
        if let Some(count) = self.kinds.get_mut(event.kind()) {
            *count += 1;
        } else if self.kinds.len() < DOCTOR_TYPES_MAX {
            self.kinds.insert(event.kind().to_owned(), 1);
        }
        let size = event.size();
        if size > DOCTOR_EVENT_BYTES {
            self.large += 1;
            if self.largest.is_none_or(|(.., largest)| largest < size) {
                self.largest = Some((partition, stored.offset, size));
            }
        }
        if event.extension("correlationid").is_some() {
            self.chains.push((key_hash(&event.correlation()), stored.key));
        }
    }

    /// The subjects of its types that have a version, and the types that have none.
    pub fn subjects(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.kinds.keys().map(|kind| (kind.as_str(), split(kind).map(|(subject, _)| subject)))
    }
}

/// How far a consumer is behind, by topic.
fn lags(log: &Log, status: &ConsumerStatus, evidence: &Evidence) -> Result<BTreeMap<String, Lag>, ReadError> {
    let now: Timestamp = log.clock().now();
    let mut lags: BTreeMap<String, Lag> = BTreeMap::new();
    for lane in &status.lanes {
        for (name, next) in &lane.next {
            let (Some(topic), Some(id)) = (evidence.topic(name), log.topic_id(name)) else { continue };
            let Some(partition) = topic.status.partitions.get(lane.partition as usize) else { continue };
            let first = (*next).max(partition.first_offset);
            let events = partition.next_offset.saturating_sub(first);
            if events == 0 {
                continue;
            }
            let lag = lags.entry(name.clone()).or_default();
            lag.events += events;
            let retained = (partition.next_offset - partition.first_offset).max(1);
            let bytes = u128::from(partition.bytes) * u128::from(events) / u128::from(retained);
            lag.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
            if let Some(Entry::Event(event)) = log.read(id, lane.partition, first, 1, 1)?.first() {
                lag.age = lag.age.max(now.since(event.appended));
            }
        }
    }
    Ok(lags)
}
