//! The reference: what was handed in, what was promised of it, and what has to follow. It knows nothing of how the bus
//! works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate::config::OnDeadLetter;
use tidegate::redb::{ReadableTable, TableDefinition};
use tidegate::testing::DurableLane;
use tidegate::{
    Bus, DeadLetter, Event, FailureKind, Position, Published, TIMER_TOPIC, TimerStatus, Timestamp,
};

use super::lifts;
use super::script::{ALL, Call, Fate, PLANS, Plan, key_list};

pub mod aggregates;
pub mod blobs;
pub mod sagas;
mod timers;

use aggregates::Aggregates;
use sagas::Words;

/// The application's own table: a row for each event of a transaction.
pub const ROWS: TableDefinition<&str, u64> = TableDefinition::new("rows");
/// The topics, and how many partitions each has.
pub const TOPICS: [(&str, u32); 4] = [("a", 2), ("b", 2), ("f", 1), ("out", 2)];
/// From where on topic `b` has the data of its events in the blob store, in bytes.
pub const CHECKED_OVER: usize = 16 << 10;
/// How long topic `b` keeps its events, and longer while a consumer needs them.
pub const KEPT: Duration = Duration::from_hours(1);
/// How long topic `f` keeps its events, whoever needs them.
pub const KEPT_AT_MOST: Duration = Duration::from_mins(2);
/// Dead letters that are read at once.
const LETTERS: usize = 10_000;

/// Errors of a reader after which a topic is given up on.
const ERRORS_MAX: u64 = 200;

/// An event that was handed in.
#[derive(Clone, Debug)]
struct Spec {
    topic: &'static str,
    event: Event,
    /// Whether a row of the application was written with it.
    has_row: bool,
    /// Calls that may have made it durable.
    possible: u32,
    /// Where it was acknowledged.
    acknowledged: Option<(u32, u64)>,
    /// Whether a call was told that it was the first with it.
    was_new: bool,
}

/// An event that was seen in the log.
#[derive(Clone, Debug)]
struct Known {
    commit: u64,
    appended: Timestamp,
    /// As the log has it, and with its data.
    event: Arc<Event>,
    whole: Arc<Event>,
    is_trimmed: bool,
}

type Place = (u32, u64);

/// See the module.
#[derive(Default)]
pub struct Model {
    /// All that was handed in, by id.
    specs: BTreeMap<String, Spec>,
    known: BTreeMap<&'static str, BTreeMap<Place, Known>>,
    places: BTreeMap<(&'static str, String), Place>,
    /// Letters that somebody asked to discard, by consumer and event.
    discarded: BTreeSet<(&'static str, String)>,
    redriven: BTreeSet<(&'static str, String)>,
    pub aggregates: Aggregates,
    /// What was said to sagas.
    pub words: Words,
    /// How often the bus ended without a shutdown.
    pub crashes: u32,
    /// Whether a lane can hold all that there is.
    has_room: bool,
}

/// What is durable of a consumer.
struct Standing {
    plan: &'static Plan,
    lanes: Vec<DurableLane>,
    letters: Vec<DeadLetter>,
    /// For each lane the lists of effects: of all keys, and of each.
    lists: Vec<BTreeMap<Vec<u8>, Vec<String>>>,
    timers: Vec<TimerStatus>,
}

impl Model {
    /// One of a bus of which nothing is known. `has_room` is whether a lane can hold all that there is.
    pub fn new(has_room: bool) -> Self {
        Self { has_room, ..Self::default() }
    }

    /// A call that may make this event durable.
    pub fn submit(&mut self, topic: &'static str, event: &Event, has_row: bool) {
        let spec = self.specs.entry(event.id().to_owned()).or_insert_with(|| Spec {
            topic,
            event: event.clone(),
            has_row,
            possible: 0,
            acknowledged: None,
            was_new: false,
        });
        spec.possible += 1;
    }

    /// That call was refused: it wrote nothing.
    pub fn refuse(&mut self, id: &str) {
        if let Some(spec) = self.specs.get_mut(id) {
            spec.possible -= 1;
        }
    }

    /// That call was acknowledged.
    pub fn acknowledge(&mut self, id: &str, published: &Published) -> Result<(), String> {
        let Some(spec) = self.specs.get_mut(id) else { return Err(format!("nobody published {id}")) };
        let place = (published.partition, published.offset);
        let before = spec.acknowledged.or_else(|| self.places.get(&(spec.topic, id.to_owned())).copied());
        if let Some(before) = before
            && before != place
        {
            return Err(format!("{id} was acknowledged at {place:?}, and is at {before:?}"));
        }
        // Answers come in any order, so the first one may be that of a repetition.
        if spec.was_new && !published.duplicate {
            return Err(format!("{id} was published again and taken as new"));
        }
        spec.was_new |= !published.duplicate;
        spec.acknowledged = Some(place);
        Ok(())
    }

    /// Any event that was handed in: what somebody publishes again.
    pub fn any_spec(&self, chance: u64) -> Option<(&'static str, &Event)> {
        let at = usize::try_from(chance).unwrap_or(usize::MAX) % self.specs.len().max(1);
        self.specs.values().nth(at).filter(|spec| !spec.has_row).map(|spec| (spec.topic, &spec.event))
    }

    /// The name of a blob that some event has, and its bytes.
    pub fn any_blob(&self, chance: u64) -> Option<(String, Vec<u8>)> {
        let events = self.known.values().flat_map(BTreeMap::values).filter(|known| !known.is_trimmed);
        let checked: Vec<_> =
            events.filter_map(|known| Some((blobs::name(&known.event)?, known.whole.data()?))).collect();
        let at = usize::try_from(chance).unwrap_or(usize::MAX) % checked.len().max(1);
        checked.get(at).map(|(name, data)| (name.clone(), data.as_bytes().to_vec()))
    }

    /// The letters of this consumer may be gone for good.
    pub fn discard(&mut self, consumer: &'static str, letters: &[DeadLetter]) {
        let ids = letters.iter().filter_map(|letter| letter.event.as_ref());
        self.discarded.extend(ids.map(|event| (consumer, event.id().to_owned())));
    }

    /// The letters of this consumer may be at work again.
    pub fn redrive(&mut self, consumer: &'static str, letters: &[DeadLetter]) {
        let ids = letters.iter().filter_map(|letter| letter.event.as_ref());
        self.redriven.extend(ids.map(|event| (consumer, event.id().to_owned())));
    }

    /// How many events are in the log, or were.
    pub fn events(&self) -> u64 {
        self.known.values().map(|events| events.len() as u64).sum()
    }

    /// Looks at the log alone. To be called before an event can be removed that has not been seen.
    ///
    /// # Errors
    ///
    /// The first promise that is broken.
    pub fn observe(&mut self, bus: &Bus) -> Result<(), String> {
        for (topic, partitions) in TOPICS {
            self.check_log(bus, topic, partitions)?;
        }
        Ok(())
    }

    /// Looks at all that is durable.
    ///
    /// # Errors
    ///
    /// The first promise that is broken.
    pub fn check(&mut self, bus: &Bus, calls: &[Call]) -> Result<(), String> {
        self.observe(bus)?;
        self.check_acknowledged()?;
        self.check_numbers(bus)?;
        self.check_rows(bus)?;
        for call in calls {
            self.check_call(call)?;
        }
        let standings = PLANS.iter().map(|plan| standing(bus, plan)).collect::<Result<Vec<_>, _>>()?;
        for standing in standings.into_iter().flatten() {
            blobs::check_letters(bus, &standing.letters)?;
            self.check_consumer(&standing).map_err(|broken| format!("{}: {broken}", standing.plan.name))?;
        }
        self.aggregates.check(bus, self.crashes)?;
        sagas::check(bus, &self.words).map(drop)
    }

    /// Looks at a log whose file, and this blob, had some bits flipped. What is read is what was handed in, and what isn't is told.
    ///
    /// Returns how much of it was told as damaged.
    ///
    /// # Errors
    ///
    /// An event is another one than it was, or is gone and nothing was told.
    pub fn check_rotten(&self, bus: &Bus, calls: &[Call], damaged: Option<&str>) -> Result<u64, String> {
        let mut told = 0;
        for call in calls.iter().filter(|call| call.topic != TIMER_TOPIC) {
            self.check_same(&call.topic, (call.partition, call.offset), &lifts::published(&call.event)?)?;
        }
        let names: Vec<_> = bus.topics().into_iter().map(|topic| topic.name).collect();
        for (topic, known) in &self.known {
            if !names.iter().any(|name| name == topic) {
                return Err(format!("topic {topic} is gone, and nothing was told"));
            }
            let status = bus.topics().into_iter().find(|status| status.name == *topic);
            let first = |partition: u32| {
                let partition = usize::try_from(partition).unwrap_or(usize::MAX);
                status
                    .as_ref()
                    .and_then(|status| status.partitions.get(partition))
                    .map_or(0, |status| status.first_offset)
            };
            let kept = known.iter().filter(|(place, known)| !known.is_trimmed && place.1 >= first(place.0));
            let mut missing: BTreeSet<Place> = kept.map(|(place, _)| *place).collect();
            let mut reader = bus.read(topic, None, Position::Earliest).map_err(text)?;
            let mut errors = 0;
            while errors < ERRORS_MAX {
                match reader.try_next() {
                    Ok(Some(record)) => {
                        let place = (record.partition, record.offset);
                        missing.remove(&place);
                        match blobs::whole(bus, &record.event) {
                            Ok(whole) => self.check_same(topic, place, &whole)?,
                            Err(_) if blobs::name(&record.event).as_deref() == damaged => told += 1,
                            Err(lost) => return Err(lost),
                        }
                    }
                    Ok(None) => break,
                    Err(_) => errors += 1,
                }
            }
            if errors == 0 && !missing.is_empty() {
                return Err(format!("{missing:?} of topic {topic} are gone, and nothing was told"));
            }
            told += errors;
        }
        Ok(told)
    }

    fn check_same(&self, topic: &str, place: Place, event: &Event) -> Result<(), String> {
        let known = self.known.get(topic).and_then(|known| known.get(&place)).map(|known| &*known.whole);
        let is_same = match (known, self.specs.get(event.id())) {
            (Some(known), _) => known == event,
            // The last commit before the end, which nobody has seen.
            (None, Some(spec)) => {
                spec.possible > 0 && (spec.event.key(), spec.event.data()) == (event.key(), event.data())
            }
            (None, None) => topic == "out",
        };
        if is_same { Ok(()) } else { Err(format!("{topic} {place:?} is {event:?}, and was {known:?}")) }
    }

    /// Whether every consumer and aggregate has come to the end of what is durable, and every saga to its end.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn is_through(&self, bus: &Bus, held_max: usize) -> Result<bool, String> {
        if !aggregates::is_through(bus)? || !sagas::is_through(bus, &self.words)? {
            return Ok(false);
        }
        for plan in &PLANS {
            for partition in 0..plan.partitions {
                let lane = bus.durable_lane(plan.name, partition).map_err(text)?;
                let behind = |topic: &&str| {
                    let next = lane.next.get(*topic).copied().unwrap_or(0);
                    let known = self.known.get(topic);
                    let last = known
                        .and_then(|known| known.range((partition, 0)..=(partition, u64::MAX)).next_back());
                    last.is_some_and(|((_, offset), _)| *offset >= next)
                };
                // What waits behind a dead letter that parks its key waits for an operator.
                let parked: Vec<_> =
                    lane.held.values().filter(|held| held.is_letter).map(|held| held.key).collect();
                let waits = lane.held.values().any(|held| !parked.contains(&held.key));
                // A lane that is full of them waits for one, too.
                let is_stalled = !parked.is_empty() && lane.held.len() >= held_max;
                if waits || (plan.topics.iter().any(behind) && !is_stalled) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What is read is what was handed in, at the same place as ever, and nothing that was there is missing.
    fn check_log(&mut self, bus: &Bus, topic: &'static str, partitions: u32) -> Result<(), String> {
        let Some(status) = bus.topics().into_iter().find(|status| status.name == topic) else {
            return if self.known.contains_key(topic) {
                Err(format!("topic {topic} is gone"))
            } else {
                Ok(())
            };
        };
        let now = bus.clock().now();
        let mut reader = bus.read(topic, None, Position::Earliest).map_err(text)?;
        let mut missing: BTreeSet<Place> = self
            .known
            .entry(topic)
            .or_default()
            .iter()
            .filter(|(_, known)| !known.is_trimmed)
            .map(|(place, _)| *place)
            .collect();
        while let Some(record) = reader.try_next().map_err(text)? {
            let place = (record.partition, record.offset);
            let what = || format!("{topic}/{} {} ({})", record.partition, record.offset, record.event.id());
            let known = self.known.entry(topic).or_default();
            match known.get(&place) {
                Some(known) if known.is_trimmed => {
                    return Err(format!("{} had been removed and is back", what()));
                }
                Some(known) if known.commit != record.commit || known.event != record.event => {
                    return Err(format!("{} was {known:?} and is {record:?}", what()));
                }
                Some(known) => {
                    if blobs::name(&known.event).is_some() && blobs::whole(bus, &record.event)? != known.whole
                    {
                        return Err(format!("{} has other data than it had", what()));
                    }
                    missing.remove(&place);
                    continue;
                }
                None => {}
            }
            let whole = blobs::whole(bus, &record.event)?;
            let id =
                if topic == "out" { record.event.subject().unwrap_or_default() } else { record.event.id() };
            if let Some(before) = self.places.insert((topic, id.to_owned()), place) {
                return Err(format!("{} is also at {before:?}", what()));
            }
            let behind = known.range((record.partition, record.offset)..=(record.partition, u64::MAX)).next();
            if let Some(((_, offset), _)) = behind {
                return Err(format!("{} came behind {offset}", what()));
            }
            if topic != "out" {
                let spec = self.specs.get(id).filter(|spec| spec.possible > 0 && spec.topic == topic);
                let spec = spec.ok_or_else(|| format!("nobody published {}, or it was refused", what()))?;
                let (was, is) = (&spec.event, &whole);
                if (was.key(), was.data(), was.kind()) != (is.key(), is.data(), is.kind()) {
                    return Err(format!("{} is {is:?} and was {was:?}", what()));
                }
            }
            if record.appended > now {
                return Err(format!("{} was appended at {}, and it is {now}", what(), record.appended));
            }
            let new = Known {
                commit: record.commit,
                appended: record.appended,
                event: record.event,
                whole,
                is_trimmed: false,
            };
            known.insert(place, new);
        }
        self.check_trimmed(topic, partitions, &missing, &status, now)
    }

    fn check_trimmed(
        &mut self,
        topic: &'static str,
        partitions: u32,
        missing: &BTreeSet<Place>,
        status: &tidegate::TopicStatus,
        now: Timestamp,
    ) -> Result<(), String> {
        if status.partitions.len() != partitions as usize {
            return Err(format!("topic {topic} has {} partitions", status.partitions.len()));
        }
        let known = self.known.entry(topic).or_default();
        for place in missing {
            let Some(known) = known.get_mut(place) else { continue };
            let kept = match topic {
                "b" => KEPT,
                "f" => KEPT_AT_MOST,
                _ => Duration::MAX,
            };
            let is_below = status.partitions[place.0 as usize].first_offset > place.1;
            if !is_below || now.since(known.appended) < kept {
                return Err(format!("{topic}/{} {} is lost ({})", place.0, place.1, known.event.id()));
            }
            known.is_trimmed = true;
        }
        // Commits and their times go up together, over all partitions.
        let mut in_order: Vec<_> = known.values().map(|known| (known.commit, known.appended)).collect();
        in_order.sort_unstable();
        if in_order.is_sorted_by_key(|(_, appended)| *appended) {
            Ok(())
        } else {
            Err(format!("{topic}: time went back"))
        }
    }

    fn check_acknowledged(&self) -> Result<(), String> {
        for (id, spec) in &self.specs {
            let found = self.places.get(&(spec.topic, id.clone())).copied();
            if spec.acknowledged.is_some() && spec.acknowledged != found {
                return Err(format!("{id} was acknowledged at {:?} and is at {found:?}", spec.acknowledged));
            }
        }
        Ok(())
    }

    /// The events of each key in topic `a` are numbered without a gap.
    fn check_numbers(&self, bus: &Bus) -> Result<(), String> {
        let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
        for known in self.known.get("a").into_iter().flat_map(BTreeMap::values) {
            let number = numbers.entry(known.event.key()).or_default();
            *number += 1;
            if known.event.sequence() != Some(*number) {
                return Err(format!(
                    "{} has number {:?}, not {number}",
                    known.event.id(),
                    known.event.sequence()
                ));
            }
        }
        for (key, number) in numbers {
            let version = bus.version("a", key).map_err(text)?;
            if version != number {
                return Err(format!("key {key} has {number} events and version {version}"));
            }
        }
        Ok(())
    }

    /// A row is there if its event is, and the other way round.
    fn check_rows(&self, bus: &Bus) -> Result<(), String> {
        let snapshot = bus.snapshot().map_err(text)?;
        let mut rows = BTreeSet::new();
        if let Some(table) = snapshot.open_table(ROWS).map_err(text)? {
            for row in table.iter().map_err(text)? {
                rows.insert(row.map_err(text)?.0.value().to_owned());
            }
        }
        let with_row = self
            .specs
            .iter()
            .filter(|(id, spec)| spec.has_row && self.places.contains_key(&(spec.topic, (*id).clone())));
        let events: BTreeSet<_> = with_row.map(|(id, _)| id.clone()).collect();
        if rows == events {
            Ok(())
        } else {
            Err(format!("the rows are {rows:?}, and their events {events:?}"))
        }
    }

    /// What a consumer was handed is in the log.
    fn check_call(&self, call: &Call) -> Result<(), String> {
        if call.topic == TIMER_TOPIC {
            return Ok(());
        }
        let place = (call.partition, call.offset);
        let known = self.known.get(call.topic.as_str()).and_then(|known| known.get(&place));
        match known {
            Some(known) if *known.whole == lifts::published(&call.event)? => Ok(()),
            known => Err(format!("{} was handed {call:?}, and the log has {known:?}", call.consumer)),
        }
    }

    fn check_consumer(&self, standing: &Standing) -> Result<(), String> {
        let is_timer = |(plan, id): &(&str, String)| *plan == standing.plan.name && id.contains("/timers/");
        timers::check(standing, self.redriven.iter().any(is_timer), self.has_room)?;
        let mut letters: BTreeMap<(&str, u32, u64), &DeadLetter> = BTreeMap::new();
        let mut gaps = Vec::new();
        for letter in standing.letters.iter().filter(|letter| letter.topic != TIMER_TOPIC) {
            if letter.reason.kind == FailureKind::Gap {
                gaps.push((letter.topic.as_str(), letter.partition, letter.offset..=letter.offset_last));
            } else if letters
                .insert((letter.topic.as_str(), letter.partition, letter.offset), letter)
                .is_some()
            {
                return Err(format!(
                    "two dead letters of {}/{} {}",
                    letter.topic, letter.partition, letter.offset
                ));
            }
        }
        let mut effects = 0;
        for topic in standing.plan.topics {
            for (place, known) in self.known.get(topic).into_iter().flatten() {
                let what = || format!("{topic}/{} {} ({})", place.0, place.1, known.event.id());
                let letter = letters.remove(&(*topic, place.0, place.1));
                let is_in_gap = gaps.iter().any(|(of, partition, offsets)| {
                    (of, *partition) == (topic, place.0) && offsets.contains(&place.1)
                });
                effects += self
                    .check_event(standing, topic, *place, known, letter, is_in_gap)
                    .map_err(|broken| format!("{}: {broken}", what()))?;
            }
        }
        if let Some(((topic, partition, offset), _)) = letters.first_key_value() {
            return Err(format!("a dead letter of {topic}/{partition} {offset}, which isn't in the log"));
        }
        let of_events = |list: &Vec<String>| list.iter().filter(|id| !id.contains("/timers/")).count();
        let listed: usize = standing.lists.iter().filter_map(|lists| lists.get(ALL)).map(of_events).sum();
        if listed != effects {
            return Err(format!("{listed} effects are listed, and {effects} events had some"));
        }
        Ok(())
    }

    /// Returns how often the event took effect.
    fn check_event(
        &self,
        standing: &Standing,
        topic: &'static str,
        place: Place,
        known: &Known,
        letter: Option<&DeadLetter>,
        is_in_gap: bool,
    ) -> Result<usize, String> {
        let plan = standing.plan;
        let lane = &standing.lanes[place.0 as usize];
        let lists = &standing.lists[place.0 as usize];
        let (id, key) = (known.event.id(), known.event.key());
        let listed = |list: &[u8]| {
            lists.get(list).map_or(0, |list| list.iter().filter(|listed| *listed == id).count())
        };
        let effects = listed(ALL);
        if listed(&key_list(key)) != effects {
            return Err("one of its two writes to the state is there".to_owned());
        }
        let was_published = self.places.contains_key(&("out", format!("{}|{id}", plan.name)));
        if plan.is_scripted && usize::from(was_published) != effects {
            return Err(format!("it took effect {effects} times in state, and published: {was_published}"));
        }
        let is_past = lane.next.get(topic).is_some_and(|next| *next > place.1);
        let held = lane.held.get(&(topic.to_owned(), place.1));
        let is_done = match held {
            Some(held) => held.is_letter,
            None => is_past,
        };
        let was_discarded = self.discarded.contains(&(plan.name, id.to_owned()));
        let ends = [effects > 0, letter.is_some(), is_in_gap].into_iter().filter(|is| *is).count();
        match (is_done, ends, effects) {
            (false, 0, 0) | (true, 1, 0 | 1) => {}
            (true, 0, 0) if was_discarded => {}
            _ => {
                return Err(format!(
                    "done: {is_done}, effects: {effects}, letter: {}, gap: {is_in_gap}, held: {held:?}, next: {:?}",
                    letter.is_some(),
                    lane.next
                ));
            }
        }
        if known.is_trimmed && !is_done && topic != "f" && held.is_none_or(|held| !held.redriven) {
            return Err("it was removed before it was done".to_owned());
        }
        if let Some(letter) = letter {
            self.check_letter(plan, known, letter)?;
        }
        if effects == 1 {
            self.check_order(standing, topic, place, known)?;
        }
        Ok(effects)
    }

    fn check_letter(&self, plan: &Plan, known: &Known, letter: &DeadLetter) -> Result<(), String> {
        let id = known.event.id();
        if letter.event.as_ref() != Some(&known.event) {
            return Err(format!("its dead letter has {:?}", letter.event));
        }
        let (code, fate) = (letter.reason.code.as_str(), plan.fate(id));
        // A crash in a delivery is an attempt, and may be the last one.
        let is_crash = letter.reason.kind == FailureKind::HostCrash && self.crashes > 0;
        if fate.ends_with() != Some(code) && !is_crash {
            return Err(format!("its dead letter says {}", letter.reason));
        }
        let attempts = letter.attempts.len();
        let expected = if fate == Fate::Bad { 1 } else { plan.attempts as usize };
        if attempts != expected && self.crashes == 0 {
            return Err(format!("its dead letter has {attempts} attempts, not {expected}"));
        }
        Ok(())
    }

    /// Of the events that the order binds, none took effect whose elder is still to come, unless somebody redrove it.
    fn check_order(
        &self,
        standing: &Standing,
        topic: &'static str,
        place: Place,
        known: &Known,
    ) -> Result<(), String> {
        use tidegate::config::Order;
        let plan = standing.plan;
        let (list, binds): (_, fn(&Known, &Known) -> bool) = match plan.order {
            Order::Key => (key_list(known.event.key()), |a, b| a.event.key() == b.event.key()),
            Order::Partition => (ALL.to_vec(), |_, _| true),
            _ => return Ok(()),
        };
        let lane = &standing.lanes[place.0 as usize];
        let listed = standing.lists[place.0 as usize].get(&list);
        let at = |id: &str| listed.and_then(|list| list.iter().position(|listed| listed == id));
        let own = at(known.event.id());
        let was_redriven = |event: &Event| self.redriven.contains(&(plan.name, event.id().to_owned()));
        if was_redriven(&known.event) {
            return Ok(());
        }
        for other_topic in plan.topics {
            let partition = self.known.get(other_topic).into_iter().flatten();
            for (other_place, other) in partition.filter(|(other, _)| other.0 == place.0) {
                let is_elder =
                    if *other_topic == topic { other_place.1 < place.1 } else { other.commit < known.commit };
                if !is_elder || !binds(other, known) || was_redriven(&other.event) {
                    continue;
                }
                let held = lane.held.get(&((*other_topic).to_owned(), other_place.1));
                let is_to_come = match (held, plan.on_dead_letter) {
                    (Some(held), OnDeadLetter::Continue) => !held.is_letter,
                    (Some(_), _) => true,
                    (None, _) => lane.next.get(*other_topic).is_none_or(|next| *next <= other_place.1),
                };
                let is_behind = at(other.event.id()).is_some_and(|other| Some(other) > own);
                if is_to_come || is_behind {
                    return Err(format!("it took effect before {}, which is older", other.event.id()));
                }
            }
        }
        Ok(())
    }
}

/// Nothing where the consumer isn't registered.
fn standing(bus: &Bus, plan: &'static Plan) -> Result<Option<Standing>, String> {
    if !bus.consumers().map_err(text)?.iter().any(|consumer| consumer.name == plan.name) {
        return Ok(None);
    }
    let letters = bus.dead_letters(plan.name, 0, LETTERS).map_err(text)?;
    let (mut lanes, mut lists) = (Vec::new(), Vec::new());
    for partition in 0..plan.partitions {
        lanes.push(bus.durable_lane(plan.name, partition).map_err(text)?);
        let state = bus.state(plan.name, partition).map_err(text)?;
        let entries = state.scan(b"", None, usize::MAX).map_err(text)?;
        let list = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(ToOwned::to_owned).collect();
        lists.push(entries.into_iter().map(|entry| (entry.0, list(&entry.1))).collect());
    }
    let timers = bus.timers(plan.name, None, None, usize::MAX).map_err(text)?;
    Ok(Some(Standing { plan, lanes, letters, lists, timers }))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
