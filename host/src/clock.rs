//! Time and chance: handed in, and read nowhere else.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment: microseconds since 1970-01-01T00:00:00Z.
///
/// Its serde form is RFC 3339 in formats that people read, such as JSON, and the number in all others.
///
/// ```
/// use std::time::Duration;
/// use tidegate::Timestamp;
///
/// let noon: Timestamp = "2018-01-31T12:00:00Z".parse()?;
/// let later = noon.after(Duration::from_secs(90));
/// assert_eq!(later.to_string(), "2018-01-31T12:01:30Z");
/// assert_eq!(later.since(noon), Duration::from_secs(90));
/// assert_eq!(noon.since(later), Duration::ZERO);
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment so much later; the last one there is, where that is later still.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment so much earlier; the first one there is, where that is earlier still.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to this moment; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC. A moment outside the years -9999 to 9999 is written as its number.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339, with any offset; what is finer than a microsecond is cut off. It also reads what
    /// [`Display`](fmt::Display) writes where RFC 3339 ends.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TimestampError(text.chars().take(64).collect());
        if let Some(number) = text.strip_suffix("us") {
            return number.parse().map(Self).map_err(|_| wrong());
        }
        let moment: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        Ok(Self(moment.as_microsecond()))
    }
}

/// Durations as seconds with their fraction, for statuses: exact to a microsecond over a hundred years.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A text that is no moment.
///
/// ```
/// let wrong = "yesterday".parse::<tidegate::Timestamp>().unwrap_err();
/// assert!(wrong.to_string().contains("RFC 3339"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no moment: write RFC 3339, such as `2018-01-31T00:00:00Z`")]
pub struct TimestampError(String);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// A future in a box, as object-safe traits need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The bus's clock.
///
/// It never goes back, in one process or over a restart: the log tells it the last moment it recorded, see
/// [`not_before`](Self::not_before).
///
/// ```
/// use std::sync::Arc;
/// use tidegate::{Clock, Timestamp};
///
/// /// Stands still: for a test that no time passes in.
/// struct Still(Timestamp);
///
/// impl Clock for Still {
///     fn now(&self) -> Timestamp {
///         self.0
///     }
///     fn not_before(&self, _: Timestamp) {}
///     fn is_slewing(&self) -> bool {
///         false
///     }
///     fn sleep_until(&self, _: Timestamp) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
///         Box::pin(std::future::pending())
///     }
/// }
///
/// let options = tidegate::Options::new("data").clock(Arc::new(Still(Timestamp(0))));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The moment now.
    fn now(&self) -> Timestamp;

    /// From here on, [`now`](Self::now) answers `floor` or later.
    fn not_before(&self, floor: Timestamp);

    /// Whether the clock is still on its way to the machine's, after that jumped. Retention by age waits meanwhile.
    fn is_slewing(&self) -> bool;

    /// Ends at `moment`, or at once if that has passed.
    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'_, ()>;
}

/// The bus's source of chance: jitter, keys of hashes, identities.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// /// The same numbers in every run: for a test.
/// struct Counting(AtomicU64);
///
/// impl tidegate::Random for Counting {
///     fn next_u64(&self) -> u64 {
///         self.0.fetch_add(1, Ordering::Relaxed)
///     }
/// }
///
/// let options = tidegate::Options::new("data").random(Arc::new(Counting(AtomicU64::new(0))));
/// ```
pub trait Random: Send + Sync + 'static {
    /// The next number, each as likely as any other.
    fn next_u64(&self) -> u64;
}

/// How far the clock may be from the machine's before that counts as a jump.
const JUMP: Duration = Duration::from_secs(5);

/// A part of the elapsed time by which the clock is corrected: one tenth, so that time neither stops nor doubles.
const SLEW_DIVISOR: i64 = 10;

/// The machine's clock, made steady: it runs with the time since boot (suspension included) and follows jumps of the
/// wall clock by running a tenth faster or slower until it is there.
///
/// ```
/// use tidegate::{Clock, SystemClock, Timestamp};
///
/// let clock = SystemClock::new();
/// assert!(clock.now() > Timestamp(0));
/// ```
#[derive(Debug)]
pub struct SystemClock {
    shown: Mutex<Shown>,
}

/// What a clock has shown, and the reading that this followed from.
#[derive(Clone, Copy, Debug)]
struct Shown {
    reading: Reading,
    latest: Timestamp,
}

/// Time after which the wall clock is looked at again: lanes ask for the time at each delivery, and a look at one clock
/// costs half as much as one at two.
const LOOK_EVERY: i64 = 1000;

/// What the clock shows, and what it was read from: microseconds of the time since boot and of the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    boot: i64,
    ours: i64,
    drift: i64,
}

impl SystemClock {
    /// A clock that starts at the machine's time.
    #[must_use]
    pub fn new() -> Self {
        let reading = Reading::first(since_boot(), wall());
        Self { shown: Mutex::new(Shown { reading, latest: reading.now() }) }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// Shows the time.
    fn advance(&mut self, boot: i64, wall: impl FnOnce() -> i64) {
        let now = self.reading.shortly_after(boot).unwrap_or_else(|| {
            self.reading = self.reading.advanced(boot, wall());
            self.reading.now()
        });
        // A reading that is slowed comes to lie before what was shown while it was carried on.
        self.latest = self.latest.max(now);
    }
}

impl Reading {
    /// The first one.
    pub(crate) fn first(boot: i64, wall: i64) -> Self {
        Self { boot, ours: wall, drift: 0 }
    }

    /// What is shown.
    pub(crate) fn now(self) -> Timestamp {
        Timestamp(self.ours)
    }

    /// The same, but not before `floor`.
    pub(crate) fn not_before(self, floor: Timestamp) -> Self {
        Self { ours: self.ours.max(floor.0), ..self }
    }

    /// Whether it is far from the wall clock.
    pub(crate) fn is_slewing(self) -> bool {
        u128::from(self.drift.unsigned_abs()) > JUMP.as_micros()
    }

    /// What is shown so shortly after it that the wall clock need not be looked at.
    fn shortly_after(self, boot: i64) -> Option<Timestamp> {
        let elapsed = boot.saturating_sub(self.boot);
        (0..LOOK_EVERY).contains(&elapsed).then(|| Timestamp(self.ours.saturating_add(elapsed)))
    }

    /// The next one.
    pub(crate) fn advanced(self, boot: i64, wall: i64) -> Self {
        let elapsed = boot.saturating_sub(self.boot).max(0);
        let steady = self.ours.saturating_add(elapsed);
        let correction = wall.saturating_sub(steady).clamp(-(elapsed / SLEW_DIVISOR), elapsed / SLEW_DIVISOR);
        let ours = steady.saturating_add(correction);
        Self { boot: boot.max(self.boot), ours, drift: wall.saturating_sub(ours) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut shown = self.shown();
        shown.advance(since_boot(), wall);
        shown.latest
    }

    fn not_before(&self, floor: Timestamp) {
        let mut shown = self.shown();
        shown.reading = shown.reading.not_before(floor);
        shown.latest = shown.latest.max(floor);
    }

    fn is_slewing(&self) -> bool {
        let mut shown = self.shown();
        shown.advance(since_boot(), wall);
        shown.reading.is_slewing()
    }

    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let wait = moment.since(self.now());
                if wait.is_zero() {
                    return;
                }
                #[expect(clippy::disallowed_methods, reason = "this is the clock")]
                tokio::time::sleep(wait).await;
            }
        })
    }
}

fn wall() -> i64 {
    micros(rustix::time::clock_gettime(rustix::time::ClockId::Realtime))
}

#[cfg(target_os = "linux")]
fn since_boot() -> i64 {
    micros(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> i64 {
    micros(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
}

#[allow(
    clippy::unnecessary_fallible_conversions,
    clippy::useless_conversion,
    reason = "the fields' widths vary by platform"
)]
fn micros(time: rustix::time::Timespec) -> i64 {
    let seconds = i64::try_from(time.tv_sec).unwrap_or(i64::MAX / 1_000_000);
    let nanos = i64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000)
}

/// Chance from the operating system.
///
/// ```
/// use tidegate::{Random, SystemRandom};
///
/// assert_ne!(SystemRandom.next_u64(), SystemRandom.next_u64(), "but once in 2^64 times");
/// ```
#[derive(Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        // The two halves of a random UUID's 122 random bits, folded so that the fixed bits don't show.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        high ^ low.rotate_left(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_wall_clock_set_back_by_an_hour_slows_the_clock_and_never_turns_it_back() {
        let mut reading = Reading { boot: 0, ours: 7200 * SECOND, drift: 0 };
        for second in 1..=100 {
            let next = reading.advanced(second * SECOND, 3600 * SECOND + second * SECOND);
            assert_eq!(next.ours - reading.ours, SECOND * 9 / 10, "nine tenths of the elapsed second");
            reading = next;
        }
        assert!(reading.drift.unsigned_abs() > 5 * SECOND.unsigned_abs());
    }

    #[test]
    fn a_wall_clock_set_forward_is_reached_and_then_followed() {
        let mut reading = Reading { boot: 0, ours: 0, drift: 0 };
        for second in 1..=1000 {
            reading = reading.advanced(second * SECOND, 60 * SECOND + second * SECOND);
        }
        assert_eq!(reading.drift, 0);
        assert_eq!(reading.ours, 1060 * SECOND);
    }

    #[test]
    fn between_two_looks_at_a_wall_clock_that_was_set_back_the_clock_never_turns_back() {
        let reading = Reading { boot: 0, ours: 7200 * SECOND, drift: 0 };
        let mut shown = Shown { reading, latest: reading.now() };
        let mut before = shown.latest;
        for boot in (0..100 * LOOK_EVERY).step_by(50) {
            shown.advance(boot, || 3600 * SECOND + boot);
            assert!(shown.latest >= before);
            before = shown.latest;
        }
        let elapsed = shown.latest.0 - 7200 * SECOND;
        assert!((89 * LOOK_EVERY..=91 * LOOK_EVERY).contains(&elapsed), "nine tenths of the time: {elapsed}");
    }

    #[test]
    fn timestamps_print_as_rfc_3339_and_saturate() {
        assert_eq!(Timestamp(1_518_000_000_040_000).to_string(), "2018-02-07T10:40:00.04Z");
        assert_eq!(Timestamp(i64::MAX).after(Duration::from_secs(1)), Timestamp(i64::MAX));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }
}
