//! What a consumer has done: what it has published, its state, its progress and its dead letters, one held against the
//! other.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use tidegate::{Blocking, ConsumerStatus, DeadLetter, FailureKind, Record, Snapshot};

use super::sources::{Places, Sources};
use super::work::{Counted, PICKY, Reader};
use crate::outbox::work::PARTITIONS;

/// Dead letters that one call lists.
const LETTERS_AT_ONCE: usize = 1000;

/// Ids of dead letters that an operator has put back to work leave gaps, so a queue that somebody works on is read anew.
const FIRST_LETTER: u64 = 0;

/// See the module.
pub struct Effects {
    reader: &'static Reader,
    places: Places,
    /// The events that have taken effect.
    done: HashSet<String>,
    lanes: [Lane; PARTITIONS as usize],
    /// For each topic and key, where the last event was that took effect in its turn.
    last: HashMap<(&'static str, String), u64>,
    /// Dead letters: the event's id, and its lane.
    letters: BTreeMap<u64, (String, u32)>,
    /// Those for a process that ended during the delivery.
    crashes: HashSet<String>,
}

/// What a lane has done.
#[derive(Default)]
struct Lane {
    /// Events that have taken effect, by their key.
    keys: BTreeMap<String, u64>,
    /// The same by the version.
    versions: BTreeMap<u32, u64>,
}

impl Lane {
    fn done(&self) -> u64 {
        self.keys.values().sum()
    }
}

impl Effects {
    pub fn new(reader: &'static Reader) -> Self {
        Self {
            reader,
            places: Places::default(),
            done: HashSet::new(),
            lanes: Default::default(),
            last: HashMap::new(),
            letters: BTreeMap::new(),
            crashes: HashSet::new(),
        }
    }

    pub fn done(&self) -> u64 {
        self.done.len() as u64
    }

    pub fn letters(&self) -> u64 {
        self.letters.len() as u64
    }

    /// Takes in what has come, and checks all of it.
    pub fn check(&mut self, bus: &Blocking, snapshot: &Snapshot, sources: &Sources) -> Result<()> {
        self.checked(bus, snapshot, sources).with_context(|| format!("consumer {}", self.reader.name))
    }

    fn checked(&mut self, bus: &Blocking, snapshot: &Snapshot, sources: &Sources) -> Result<()> {
        let consumers = bus.bus().consumers()?;
        let Some(status) = consumers.iter().find(|consumer| consumer.name == self.reader.name) else {
            ensure!(self.done.is_empty(), "it isn't there any more");
            return Ok(());
        };
        for partition in 0..PARTITIONS {
            for record in self.places.records(snapshot, self.reader.out, partition)? {
                self.take(&record, partition, sources)?;
            }
        }
        self.read_letters(bus, sources)?;
        self.check_state(bus)?;
        self.check_progress(status)
    }

    /// Takes in an effect.
    fn take(&mut self, record: &Record, partition: u32, sources: &Sources) -> Result<()> {
        let counted: Counted = record.event.data_as()?;
        let Counted { id, key, count, attempt, version } = &counted;
        let source = sources.get(id).with_context(|| format!("{id} took effect and isn't there"))?;
        ensure!(self.reader.topics.contains(&source.topic), "{id} took effect, which is at {source:?}");
        ensure!(source.partition == partition, "lane {partition} published for {id}, which is at {source:?}");
        ensure!(self.done.insert(id.clone()), "{id} took effect twice");
        ensure!(source.key == *key && record.event.key() == key, "{id} of key {} as {key}", source.key);
        let lane = &mut self.lanes[partition as usize];
        let done = lane.keys.entry(key.clone()).or_default();
        ensure!(*count == *done + 1, "{id} is number {count} of key {key}, and {} is due", *done + 1);
        *done += 1;
        *lane.versions.entry(*version).or_default() += 1;
        ensure!(*attempt > 0, "{id} took effect without an attempt");
        // What an operator has put back to work comes when it comes.
        if *self.reader == PICKY && *version == 2 {
            return Ok(());
        }
        ensure!(self.reader.takes(id), "{id} took effect, and can't have");
        let last = self.last.insert((source.topic, key.clone()), source.offset);
        ensure!(
            last.is_none_or(|last| last < source.offset),
            "{id} of key {key}, at {source:?}, took effect behind offset {last:?}"
        );
        Ok(())
    }

    fn read_letters(&mut self, bus: &Blocking, sources: &Sources) -> Result<()> {
        let mut after = self.letters.last_key_value().map_or(FIRST_LETTER, |(id, _)| *id);
        if *self.reader == PICKY {
            self.letters.clear();
            after = FIRST_LETTER;
        }
        let mut given_up: HashSet<String> = HashSet::new();
        loop {
            let letters = bus.bus().dead_letters(self.reader.name, after, LETTERS_AT_ONCE)?;
            let Some(last) = letters.last() else { break };
            after = last.id;
            for letter in &letters {
                let id = self.check_letter(letter, sources)?;
                ensure!(given_up.insert(id.clone()), "{id} is given up on twice");
                self.letters.insert(letter.id, (id, letter.partition));
            }
        }
        if let Some((_, (id, _))) = self.letters.iter().find(|(_, (id, _))| self.done.contains(id)) {
            anyhow::bail!("{id} took effect and is given up on");
        }
        Ok(())
    }

    /// Checks that a letter is complete. Returns the event's id.
    fn check_letter(&mut self, letter: &DeadLetter, sources: &Sources) -> Result<String> {
        let event = letter.event.as_ref().with_context(|| format!("letter {} has no event", letter.id))?;
        let id = event.id().to_owned();
        let source = sources.get(&id).with_context(|| format!("{id} is given up on and isn't there"))?;
        ensure!(
            (letter.topic.as_str(), letter.partition, letter.offset)
                == (source.topic, source.partition, source.offset),
            "the letter of {id} says {}/{}/{}, and it is at {source:?}",
            letter.topic,
            letter.partition,
            letter.offset
        );
        let kind = letter.reason.kind;
        if kind == FailureKind::HostCrash {
            self.crashes.insert(id.clone());
        } else {
            ensure!(
                kind == FailureKind::Permanent && self.reader.gives_up(&id, &letter.reason.code),
                "{id} is given up on for {}",
                letter.reason
            );
        }
        ensure!(!letter.attempts.is_empty(), "the letter of {id} has no attempts");
        Ok(id)
    }

    fn check_state(&self, bus: &Blocking) -> Result<()> {
        for (partition, lane) in (0..).zip(&self.lanes) {
            let state = bus.bus().state(self.reader.name, partition)?;
            let count = |key: String| -> Result<u64> {
                state.get(key.as_bytes())?.map_or(Ok(0), |bytes| Ok(serde_json::from_slice(&bytes)?))
            };
            for (key, done) in &lane.keys {
                let count = count(format!("count/{key}"))?;
                ensure!(count == *done, "its state counts {count} of key {key}, and it has published {done}");
            }
            for version in [1, 2] {
                let count = count(format!("version/{version}"))?;
                let done = lane.versions.get(&version).copied().unwrap_or_default();
                ensure!(count == done, "version {version} counts {count}, and has published {done}");
            }
        }
        Ok(())
    }

    /// Each event that a lane has passed has taken effect, is held, or is a dead letter.
    fn check_progress(&self, status: &ConsumerStatus) -> Result<()> {
        let letters = self.letters();
        ensure!(status.dead_letters == letters, "it has {} dead letters of {letters}", status.dead_letters);
        for lane in &status.lanes {
            let passed: u64 = lane.next.values().sum();
            let done = self.lanes[lane.partition as usize].done();
            let letters = self.letters.values().filter(|(_, partition)| *partition == lane.partition).count();
            ensure!(
                passed == done + (lane.held + letters) as u64,
                "lane {} has passed {passed} events: {done} took effect, {} are held, {letters} are dead letters",
                lane.partition,
                lane.held,
            );
            ensure!(
                lane.counts.handled == done,
                "lane {} has handled {}, and published {done}",
                lane.partition,
                lane.counts.handled
            );
        }
        Ok(())
    }

    /// Checks that nothing is left to be done: each event has taken effect, or is a dead letter.
    pub fn is_complete(&self, sources: &Sources) -> Result<()> {
        let given_up: HashSet<&str> = self.letters.values().map(|(id, _)| id.as_str()).collect();
        for (id, source) in sources.of(self.reader.topics) {
            let name = self.reader.name;
            ensure!(
                self.done.contains(id) != given_up.contains(id),
                "{name}: {id} at {source:?} neither took effect nor is it given up on"
            );
            let may_fail = !self.reader.takes(id) || self.crashes.contains(id);
            ensure!(may_fail || self.done.contains(id), "{name}: {id} at {source:?} is given up on");
        }
        Ok(())
    }
}
