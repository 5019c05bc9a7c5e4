//! One simulated machine: a clock, a disk, chance, and the bus that lives on them, again and again.

mod asking;
mod ending;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tidegate::config::{BusConfig, CommitMode, Dedup, Retention, TopicConfig};
use tidegate::testing::{ManualClock, MemoryMedium, SeededRandom, Step, Stepper, probe};
use tidegate::{Bus, BusError, Clock, Event, Options, Random, ReadError, StorageEnd, Timestamp};
use tokio::sync::Notify;

use super::aggregates::{self, Setup};
use super::call::{self, Begun, Call, Done};
use super::lifts;
use super::model::{self, CHECKED_OVER, KEPT, KEPT_AT_MOST, Model, TOPICS};
use super::sagas;
use super::script::{Calls, PLANS, Script};

/// The time at which the clock starts.
const START: Timestamp = Timestamp(1_518_000_000_000_000);
/// Things that happen in one simulation, before it is brought to its end.
const DEEDS: u64 = 160;
/// Turns that tasks and the committer get between two of them, at most.
const TURNS: u64 = 16;
/// What a lane may hold: more than there ever is, but for one seed in four.
const HELD_MAX: usize = 1000;
/// Calls that are under way at once.
const CALLS_MAX: usize = 6;
/// After so many deeds all that is durable is looked at.
const CHECK_EVERY: u64 = 12;
/// Turns in which something has to come to its end that nothing holds back.
const PATIENCE: u32 = 50_000;
/// One of so many simulations ends with a file whose bits flip.
const ROTS_EVERY: u64 = 8;
/// Turns that a bus on such a file gets.
const ROTTEN_TURNS: u32 = 400;
const REFUSED: &str = "it can't be opened";
/// Free space of a disk with enough of it, and of one that is nearly full, in bytes.
const ROOM: u64 = 1 << 30;
const NO_ROOM: u64 = 1 << 10;
/// One of so many events has data for the claim check, where its topic has one.
const LARGE_EVERY: u64 = 5;
/// What the bus leaves free.
const ROOM_MIN: u64 = 1 << 20;

/// What was injected and what came of it, summed over all seeds.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    pub fn add(&mut self, what: &str, count: u64) {
        *self.0.entry(what.to_owned()).or_default() += count;
    }

    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }
}

impl FromStr for Counts {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut counts = Self::default();
        for count in text.split(", ") {
            let (number, what) = count.split_once(' ').ok_or_else(|| format!("{count:?} counts nothing"))?;
            counts.add(what, number.parse().map_err(|_| format!("{count:?} has no number"))?);
        }
        Ok(counts)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (what, count)) in self.0.iter().enumerate() {
            write!(f, "{}{count} {what}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// How a life of the bus ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// In good order.
    Shutdown,
    /// The process was killed: the operating system writes what it has.
    Killed,
    /// The power went, and with it all that was not synced.
    PowerLost,
    /// The power went while the disk was writing.
    Torn,
}

/// Whether the simulation of this seed ends with a file whose bits flip.
pub fn rots(seed: u64) -> bool {
    seed % ROTS_EVERY == ROTS_EVERY - 1
}

/// See the module.
pub struct World {
    pub seed: u64,
    directory: PathBuf,
    disk: MemoryMedium,
    clock: Arc<ManualClock>,
    chance: Arc<SeededRandom>,
    pub calls: Arc<Calls>,
    pub model: Model,
    pub counts: Counts,
    trace: DefaultHasher,
    /// Ids are never used for another event.
    pub next_id: u64,
    /// How many commands were given.
    pub commands: u64,
    /// Versions of the consumers' programs.
    pub version: u32,
    pub aggregate: Setup,
    held_max: usize,
    commit: CommitMode,
    journal_bytes: usize,
    deeds: u64,
    /// The last thing that was done, for who looks into a failure.
    pub last: String,
    verbose: bool,
}

/// A bus, for as long as its process lives.
pub struct Life<'w> {
    pub world: &'w mut World,
    pub bus: Bus,
    stepper: Stepper,
    idle: Arc<Notify>,
    calls: Vec<Begun>,
    death: Option<Death>,
    observed: Timestamp,
    /// Whether bits of its file were flipped: from then on the model only says what must not be.
    is_rotten: bool,
}

impl World {
    pub fn new(seed: u64, directory: &Path, verbose: bool) -> Self {
        let chance = Arc::new(SeededRandom::new(seed));
        let held_max = if chance.next_u64().is_multiple_of(4) { 3 } else { HELD_MAX };
        let commit =
            if chance.next_u64().is_multiple_of(4) { CommitMode::OnePhase } else { CommitMode::QuickRepair };
        let journal_bytes =
            [0, 16 << 10, 64 << 10, 256 << 10][usize::try_from(chance.next_u64() % 4).unwrap_or(0)];
        let one_of = |from: &[usize]| {
            let at = chance.next_u64() % from.len() as u64;
            usize::try_from(at).ok().and_then(|at| from.get(at)).copied().unwrap_or(0)
        };
        let snapshot_every = u32::try_from(one_of(&[1, 2, 5, 1000])).unwrap_or(1);
        let aggregate = Setup { snapshot_every, cache_count: one_of(&[0, 1, 2, 1000]) };
        Self {
            seed,
            directory: directory.to_owned(),
            disk: MemoryMedium::new(),
            clock: Arc::new(ManualClock::new(START)),
            chance,
            calls: Arc::default(),
            model: Model::new(held_max >= HELD_MAX),
            counts: Counts::default(),
            trace: DefaultHasher::new(),
            next_id: 0,
            commands: 0,
            version: 1,
            aggregate,
            held_max,
            commit,
            journal_bytes,
            deeds: 0,
            last: String::new(),
            verbose,
        }
    }

    /// The whole simulation. Returns what tells one run from another.
    pub fn play(&mut self) -> Result<u64, String> {
        let (commit, journal, held_max) = (self.commit, self.journal_bytes, self.held_max);
        self.note(format_args!(
            "commits are {commit:?}, the journal has {journal} bytes, and a lane holds at most {held_max}"
        ));
        self.disk.set_free_bytes(Some(ROOM));
        let rots = rots(self.seed);
        let mut is_new = true;
        while self.deeds < DEEDS {
            let death = self.live(async |life| {
                if is_new {
                    life.set_up().await?;
                }
                life.subscribe_all().await?;
                life.go_on().await
            })?;
            is_new = false;
            self.die(death);
            if rots && self.deeds > DEEDS / 2 {
                self.rot()?;
                return Ok(self.finish());
            }
        }
        self.live(async |life| {
            life.subscribe_all().await?;
            life.come_to_the_end().await
        })?;
        // In good order, and nothing has changed.
        self.live(async |life| {
            life.check()?;
            model::blobs::check_store(&life.bus).map(drop)
        })?;
        Ok(self.finish())
    }

    fn finish(&mut self) -> u64 {
        self.counts.add("events", self.model.events());
        self.counts.add("failed deliveries", self.calls.failures());
        self.counts.add("deliveries of timers", self.calls.timers());
        self.disk.operations().hash(&mut self.trace);
        self.trace.finish()
    }

    /// Flips bits of the file while nobody has it open. What is left may be refused, or read in part, and is never something
    /// else than what was written.
    fn rot(&mut self) -> Result<(), String> {
        let image = self.disk.image();
        // Most of a small file is room that nobody reads.
        let used: Vec<_> = (0..).zip(&image).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        for _ in 0..=self.draw(12) {
            let at = usize::try_from(self.draw(used.len().max(1) as u64)).unwrap_or(0);
            let bit = used.get(at).copied().unwrap_or(0_u64) * 8 + self.draw(8);
            self.disk.flip(bit);
            self.counts.add("flipped bits", 1);
            self.note(format_args!("bit {bit} is flipped"));
        }
        self.rot_journal();
        let damaged = self.rot_blob();
        let outcome = self.live(async |life| {
            life.is_rotten = true;
            life.death = Some(Death::Killed);
            life.add_upcasters().await?;
            for plan in &PLANS {
                let (bus, config, script) =
                    (life.bus.clone(), life.world.consumer_config(plan), life.world.script(plan));
                // One whose rows are damaged doesn't start.
                drop(life.drive(async move { bus.subscribe(plan.name, config, script).await }).await?);
            }
            for _ in 0..ROTTEN_TURNS {
                if !life.stepper.go_on() && life.stepper.commit() != Step::Worked {
                    life.world.clock.advance(Duration::from_secs(1));
                }
                life.idle().await;
            }
            // A flip may have made an attempt of a crash that never was; what was handed over still has to be the event.
            let calls = life.world.calls.take().or_else(|_| life.world.calls.take())?;
            let told = life.world.model.check_rotten(&life.bus, &calls, damaged.as_deref())?;
            life.world.counts.add("reads told as damaged", told);
            Ok(())
        });
        match outcome {
            Err(refused) if refused.starts_with(REFUSED) => {
                self.counts.add("files refused for their damage", 1);
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// Flips bits of the journal, but for its last record: without another behind it, damage is taken for a write that the
    /// power has cut short.
    fn rot_journal(&mut self) {
        let mut halves = probe::journal_records(&self.disk.journal_image(), self.journal_bytes);
        for half in &mut halves {
            half.pop();
        }
        let records = halves.concat();
        for _ in 0..self.draw(3) {
            let Some(end) = records.last().map(|record| record.end) else { return };
            let bit = self.draw(end as u64 * 8);
            if records.iter().any(|record| record.contains(&usize::try_from(bit / 8).unwrap_or(usize::MAX))) {
                self.disk.flip_journal(bit);
                self.counts.add("flipped bits of journals", 1);
                self.note(format_args!("bit {bit} of the journal is flipped"));
            }
        }
    }

    /// Flips a bit of some blob, and returns which one it is.
    fn rot_blob(&mut self) -> Option<String> {
        let (name, mut bytes) = self.model.any_blob(self.draw(u64::MAX))?;
        let at = usize::try_from(self.draw(bytes.len() as u64)).unwrap_or(0);
        bytes[at] ^= 1 << self.draw(8);
        self.disk.set_blob(&name, Some(&bytes));
        self.counts.add("damaged blobs", 1);
        self.note(format_args!("byte {at} of blob {name} is damaged"));
        Some(name)
    }

    pub fn draw(&self, below: u64) -> u64 {
        self.chance.next_u64() % below
    }

    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        self.last = what.to_string();
        self.last.hash(&mut self.trace);
        if self.verbose {
            eprintln!("{} {}", self.clock.now(), self.last);
        }
    }

    pub fn script(&self, plan: &'static super::script::Plan) -> Script {
        Script {
            plan,
            version: self.version,
            calls: Arc::clone(&self.calls),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        }
    }

    pub fn consumer_config(&self, plan: &super::script::Plan) -> tidegate::config::ConsumerConfig {
        plan.config(self.held_max)
    }

    /// One life of the bus, on one thread.
    fn live(&mut self, work: impl AsyncFnOnce(&mut Life<'_>) -> Result<(), String>) -> Result<Death, String> {
        let idle = Arc::new(Notify::new());
        let park = Arc::clone(&idle);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || park.notify_one())
            .build()
            .map_err(|error| error.to_string())?;
        self.calls.new_life(self.model.crashes);
        runtime.block_on(async {
            let chance = Arc::new(SeededRandom::new(self.chance.next_u64()));
            let stepper = Stepper::new(tokio::runtime::Handle::current(), chance);
            let bus = self.open(&stepper)?;
            let mut life = Life {
                world: self,
                bus,
                stepper,
                idle,
                calls: Vec::new(),
                death: None,
                observed: Timestamp(0),
                is_rotten: false,
            };
            let outcome = work(&mut life).await;
            let death = life.death;
            match (outcome, death) {
                (Ok(()), None) => life.shut_down().await.map(|()| Death::Shutdown),
                (Ok(()), Some(death)) => Ok(death),
                (Err(broken), _) => Err(format!("{broken}\n  after: {}", life.world.last)),
            }
        })
    }

    fn open(&mut self, stepper: &Stepper) -> Result<Bus, String> {
        let options = || {
            let mut config = BusConfig::default();
            config.commit = self.commit;
            config.journal_bytes = self.journal_bytes;
            config.free_bytes_min = ROOM_MIN;
            Options::new(&self.directory)
                .config(config)
                .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
                .random(Arc::new(SeededRandom::new(self.chance.next_u64())))
                .medium(self.disk.clone())
                .stepper(stepper.clone())
        };
        match Bus::open_with(options()) {
            Ok(bus) => Ok(bus),
            Err(error) => {
                let error: BusError = error;
                Err(format!("{REFUSED}: {error}"))
            }
        }
    }

    /// What the disk has left of the life before, and what time it is when the next one begins.
    fn die(&mut self, death: Death) {
        let chance = SeededRandom::new(self.chance.next_u64());
        match death {
            Death::Shutdown => self.counts.add("shutdowns", 1),
            Death::Killed => {
                self.counts.add("kills", 1);
                self.disk.end_process();
            }
            Death::PowerLost => {
                self.counts.add("power cuts", 1);
                self.disk.cut_power();
            }
            Death::Torn => {
                self.counts.add("power cuts with torn writes", 1);
                self.disk.cut_power_keeping(|| chance.next_u64() & 1 == 0);
            }
        }
        self.model.crashes += u32::from(death != Death::Shutdown);
        self.disk.works_again();
        self.disk.set_free_bytes(Some(ROOM));
        self.note(format_args!("the life ends: {death:?}"));
        if self.draw(4) == 0 {
            self.counts.add("clocks set back", 1);
            let back = Duration::from_secs(self.draw(7200));
            self.clock = Arc::new(ManualClock::new(self.clock.now().before(back)));
        }
    }
}

impl Life<'_> {
    async fn set_up(&mut self) -> Result<(), String> {
        for (topic, partitions) in TOPICS {
            // Longer than any seed takes: the model expects whatever was published to be known.
            let dedup = Dedup::new(Duration::from_hours(24 * 30), Dedup::default().count);
            let config = TopicConfig::new(partitions).dedup(dedup);
            let config = match topic {
                "a" => config.sequence(true),
                "b" => config.retention(Retention::keep_for(KEPT)).claim_check_over(CHECKED_OVER),
                "f" => config.retention(Retention::keep_for(KEPT_AT_MOST).force(true)),
                _ => config,
            };
            let bus = self.bus.clone();
            let made = async move { bus.create_topic(topic, config).await };
            self.drive(made).await?.map_err(|error| error.to_string())?;
        }
        for topic in [aggregates::COMMANDS, aggregates::STREAM, aggregates::REJECTIONS] {
            let dedup = Dedup::new(Duration::from_hours(24 * 30), Dedup::default().count);
            let config = TopicConfig::new(aggregates::PARTITIONS).dedup(dedup);
            let config = config.sequence(topic == aggregates::STREAM);
            let bus = self.bus.clone();
            let made = async move { bus.create_topic(topic, config).await };
            self.drive(made).await?.map_err(|error| error.to_string())?;
        }
        for topic in sagas::TOPICS {
            let bus = self.bus.clone();
            let made = async move { bus.create_topic(topic, TopicConfig::new(sagas::PARTITIONS)).await };
            self.drive(made).await?.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn add_upcasters(&mut self) -> Result<(), String> {
        let bus = self.bus.clone();
        self.drive(async move { lifts::add(&bus).await }).await?.map_err(|error| error.to_string())
    }

    /// Starts the consumers that don't run. A disk that fails may keep them from it.
    async fn subscribe_all(&mut self) -> Result<(), String> {
        self.add_upcasters().await?;
        for plan in &PLANS {
            let (bus, config, script) =
                (self.bus.clone(), self.world.consumer_config(plan), self.world.script(plan));
            let subscribed =
                self.drive(async move { bus.subscribe(plan.name, config, script).await }).await?;
            subscribed.map_err(|error| format!("{} doesn't start: {error}", plan.name))?;
        }
        let (bus, setup, version) = (self.bus.clone(), self.world.aggregate, self.world.version);
        let subscribed = self.drive(async move { aggregates::subscribe(&bus, setup, version).await });
        subscribed.await?.map_err(|error| format!("the aggregate doesn't start: {error}"))?;
        let bus = self.bus.clone();
        let subscribed = self.drive(async move {
            sagas::subscribe(&bus, sagas::SAGA.0).await?;
            sagas::subscribe(&bus, sagas::PARTICIPANT.0).await
        });
        subscribed.await?.map_err(|error| format!("the sagas don't start: {error}"))
    }

    /// Lets things happen until the bus dies.
    async fn go_on(&mut self) -> Result<(), String> {
        while self.world.deeds < DEEDS && self.death.is_none() {
            self.world.deeds += 1;
            self.deed().await?;
            for _ in 0..self.world.draw(TURNS) {
                self.turn().await?;
            }
            self.collect().await?;
            if self.death.is_some() {
                break;
            }
            if self.world.deeds.is_multiple_of(CHECK_EVERY) {
                self.check()?;
                self.check_aggregates().await?;
            }
        }
        if self.death.is_none() && self.world.draw(2) == 0 {
            self.death = Some(self.any_death());
        }
        self.abandon_if_dead();
        Ok(())
    }

    fn any_death(&mut self) -> Death {
        [Death::Killed, Death::PowerLost, Death::Torn][usize::try_from(self.world.draw(3)).unwrap_or(0)]
    }

    async fn deed(&mut self) -> Result<(), String> {
        match self.world.draw(100) {
            0..26 => self.call(call::publish),
            26..30 => self.call(call::execute),
            30..35 => self.call(call::give),
            35..40 => self.call(call::transaction),
            40..44 => self.call(call::expecting),
            44..48 => self.call(call::redrive),
            48..50 => self.call(call::discard),
            50..54 => self.call(call::reload),
            54..56 => self.call(call::pause),
            56..58 => self.call(call::resubscribe),
            58..61 => self.call(call::trim),
            61..64 => {
                let disk = &self.world.disk;
                let from = disk.operations() + self.world.draw(12);
                let how = if self.world.draw(2) == 0 { ErrorKind::Other } else { ErrorKind::StorageFull };
                let until = from + 1 + self.world.draw(4);
                disk.fail_at(from..until, how);
                self.world.counts.add("spells of failing writes and syncs", 1);
                self.world.note(format_args!("the disk fails at {from}..{until}: {how}"));
            }
            64..66 => {
                self.world.disk.set_free_bytes(Some(NO_ROOM));
                self.world.counts.add("full disks", 1);
                self.world.note(format_args!("the disk is full"));
            }
            66..69 => self.world.disk.set_free_bytes(Some(ROOM)),
            69..71 => {
                // Whatever is under way is cut off in the middle of it.
                let at = self.world.disk.operations() + self.world.draw(25);
                self.world.disk.freeze_at(at);
                let death = self.any_death();
                self.world.note(format_args!("the disk is frozen at {at}, for {death:?}"));
                for _ in 0..self.world.draw(40) {
                    self.turn().await?;
                }
                self.death = Some(death);
            }
            71 => {
                self.death = Some(self.any_death());
            }
            72 => return self.shut_down().await,
            73..78 => {
                let hours =
                    if self.world.draw(8) == 0 { self.world.draw(6) * 3600 } else { self.world.draw(90) };
                self.world.clock.advance(Duration::from_secs(hours));
                self.world.note(format_args!("{hours} seconds pass"));
            }
            78..82 => self.call(call::begin_saga),
            82 => self.call(call::tell_saga),
            83..86 => self.call(call::append),
            86..88 => self.call(call::redrive_commands),
            88 => self.call(call::rewind_commands),
            89 => self.call(call::replace_aggregate),
            90 => self.call(call::disturb_saga),
            91..94 => self.world.clock.advance(Duration::from_millis(self.world.draw(500))),
            _ => {
                for _ in 0..self.world.draw(20) {
                    self.turn().await?;
                }
            }
        }
        Ok(())
    }

    fn call(&mut self, make: fn(&mut World, &Bus) -> Option<Call>) {
        if self.calls.len() < CALLS_MAX
            && let Some(call) = make(self.world, &self.bus)
            && (call.changes.is_none() || self.calls.iter().all(|begun| begun.changes != call.changes))
        {
            self.world.note(format_args!("{}", call.what));
            self.calls.push(call.begin(&self.stepper));
        }
    }

    /// Lets a task go on up to its next await, or the committer.
    async fn turn(&mut self) -> Result<(), String> {
        if self.world.draw(4) == 0 || !self.stepper.go_on() {
            self.step()?;
        }
        self.idle().await;
        Ok(())
    }

    /// Ends when the runtime has nothing to do.
    async fn idle(&self) {
        self.idle.notified().await;
    }

    /// One commit.
    fn step(&mut self) -> Result<Step, String> {
        self.observe()?;
        Ok(self.stepper.commit())
    }

    /// Before time enough has passed for an event to be removed, it has been seen.
    fn observe(&mut self) -> Result<(), String> {
        let now = self.world.clock.now();
        let is_due = now.since(self.observed) > KEPT_AT_MOST / 2 && !self.is_rotten;
        if is_due && unless_unreadable(self.world.model.observe(&self.bus))? {
            self.observed = now;
        }
        Ok(())
    }

    /// Takes the answers of calls that have come to their end.
    async fn collect(&mut self) -> Result<(), String> {
        let (done, open): (Vec<_>, Vec<_>) = self.calls.drain(..).partition(Begun::is_done);
        self.calls = open;
        for call in done {
            let what = call.what.clone();
            let done = call.answer().await;
            self.take(&what, done)?;
        }
        Ok(())
    }

    fn take(&mut self, what: &str, done: Done) -> Result<(), String> {
        self.world.note(format_args!("{what}: {done}"));
        done.settle(self.world).map_err(|broken| format!("{what}: {broken}"))
    }

    /// Calls that will never be answered: what they wanted may be durable.
    fn abandon_if_dead(&mut self) {
        if self.death.is_some() {
            self.world.counts.add("calls cut off", self.calls.len() as u64);
            self.calls.clear();
        }
    }

    /// Looks at all that is durable, unless the storage is just being opened anew.
    fn check(&mut self) -> Result<(), String> {
        let calls = self.world.calls.take()?;
        unless_unreadable(self.world.model.check(&self.bus, &calls)).map(drop)
    }

    /// Has something come to its end, and lets time pass where nothing goes on without it.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> Result<T, String> {
        let mut work = pin!(work);
        for _ in 0..PATIENCE {
            let done = tokio::select! {
                biased;
                done = &mut work => Some(done),
                () = self.idle() => None,
            };
            if let Some(done) = done {
                return Ok(done);
            }
            let commits_first = self.world.draw(8) == 0 && self.step()? == Step::Worked;
            if !commits_first && !self.stepper.go_on() && self.step()? != Step::Worked {
                self.world.clock.advance(Duration::from_millis(10 + self.world.draw(1000)));
            }
        }
        Err("a call never ends".to_owned())
    }

    async fn finish_calls(&mut self) -> Result<(), String> {
        for call in std::mem::take(&mut self.calls) {
            let what = call.what.clone();
            let done = self.drive(call.answer()).await?;
            self.take(&what, done)?;
        }
        Ok(())
    }

    async fn shut_down(&mut self) -> Result<(), String> {
        self.world.note(format_args!("shutdown"));
        let deadline = Duration::from_secs(self.world.draw(3) * 400);
        // The last commits are made by the shutdown itself.
        self.observe()?;
        let bus = self.bus.clone();
        let drained = self.drive(async move { bus.shutdown(deadline).await }).await?;
        for call in std::mem::take(&mut self.calls) {
            let what = call.what.clone();
            let done = self.drive(call.answer()).await?;
            self.take(&what, done)?;
        }
        self.world.note(format_args!("{drained}"));
        match drained.storage {
            StorageEnd::Pending => return Err("a shutdown doesn't end".to_owned()),
            // The next start takes it as one after a crash, and what was cut off as cut off by it.
            StorageEnd::Failed { .. } => self.world.model.crashes += 1,
            _ => {}
        }
        self.death.get_or_insert(Death::Shutdown);
        Ok(())
    }
}

/// While the storage is being opened anew, or is closed, nothing can be said of it. Returns whether it could.
fn unless_unreadable(outcome: Result<(), String>) -> Result<bool, String> {
    let nothing = [ReadError::Reopening, ReadError::Closed].map(|error| error.to_string());
    match outcome {
        Err(error) if nothing.contains(&error) => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

impl World {
    /// A new event for this topic. Where there is a claim check, some have data for it, and some of those the same.
    pub fn new_event(&mut self, topic: &str) -> Event {
        self.next_id += 1;
        let data = if topic == "b" && self.draw(LARGE_EVERY) == 0 {
            self.counts.add("events with a claim check", 1);
            let content = self.draw(5).to_le_bytes()[0];
            vec![content; CHECKED_OVER + 1 + usize::from(content)]
        } else {
            let len = if self.draw(10) == 0 { 5000 } else { self.draw(120) };
            (0..len).map(|_| self.chance.next_u64().to_le_bytes()[0]).collect::<Vec<_>>()
        };
        let key = format!("k{}", self.draw(5));
        let event = Event::new(format!("{topic}{}", self.next_id), "/sim", lifts::PUBLISHED);
        let event = event.subject(key).binary("application/octet-stream", data).build();
        event.unwrap_or_else(|error| unreachable!("the event is valid: {error}"))
    }
}
