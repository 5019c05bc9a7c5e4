//! What a lane does for a plugin: a context on state that the test holds, and deliveries.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::guest::Guest;
use crate::clock::{BoxFuture, Clock, Timestamp};
use crate::config::{Grants, PluginLimits};
use crate::effects::{
    Authority, Context, ContextOwner, Effects, StateEntry, StateRead, StateUnavailable, TopicDirectory,
};
use crate::event::Event;
use crate::handler::{Batch, Delivery, Failure, Instance, LaneName, Lent, Program};
use crate::ids::TopicId;
use crate::limits::EVENT_BYTES_MAX;
use crate::plugin::{LoadError, LoadOptions, Plugin, Runtime, RuntimeOptions};
use crate::schema::SchemaRefusal;
use crate::timer::TimerCounts;

/// A clock that stands still until it is moved.
#[derive(Default)]
pub struct StillClock(pub Mutex<Timestamp>);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn not_before(&self, _: Timestamp) {}

    fn is_slewing(&self) -> bool {
        false
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// Durable state; `None` can't be read.
#[derive(Clone, Default)]
pub struct State(pub Option<BTreeMap<Vec<u8>, Vec<u8>>>);

impl StateRead for State {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateUnavailable> {
        let state = self.0.as_ref().ok_or_else(|| StateUnavailable("the disk is gone".to_owned()))?;
        Ok(state.get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<StateEntry>, StateUnavailable> {
        let state = self.0.as_ref().ok_or_else(|| StateUnavailable("the disk is gone".to_owned()))?;
        let entries =
            state.range(start.to_vec()..).take_while(|(key, _)| end.is_none_or(|end| key.as_slice() < end));
        Ok(entries.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

struct Topics;

impl TopicDirectory for Topics {
    fn topic_id(&self, name: &str) -> Option<TopicId> {
        (name == "alerts").then_some(TopicId(1))
    }

    fn is_sequenced(&self, _topic: TopicId) -> bool {
        false
    }

    fn event_bytes_max(&self, _: TopicId, _: &Event) -> usize {
        EVENT_BYTES_MAX
    }

    fn check_schema(&self, _: TopicId, _: &Event) -> Result<(), SchemaRefusal> {
        Ok(())
    }
}

pub fn runtime(cache: Option<&Path>) -> Runtime {
    Runtime::new(RuntimeOptions { cache: cache.map(Path::to_owned), clock: Arc::new(StillClock::default()) })
        .unwrap()
}

pub fn options(grants: Grants) -> LoadOptions {
    let limits = PluginLimits::default().memory_bytes(1 << 20).deadline(Duration::from_millis(100));
    LoadOptions {
        consumer: "counter".into(),
        grants,
        limits,
        settings: r#"{"a":1}"#.into(),
        is_aggregate: false,
    }
}

/// All grants that there are.
pub fn all() -> Grants {
    Grants::nothing().publish("alerts").state().log()
}

pub async fn load(guest: &Guest, grants: Grants) -> Result<Arc<Plugin>, LoadError> {
    runtime(None).load(guest.component().into(), options(grants)).await
}

/// Deliveries one after the other, on one context.
pub struct Deliveries {
    pub context: Context,
    /// The one under way, and those behind it.
    left: VecDeque<Delivery>,
}

impl Deliveries {
    /// The delivery under way.
    pub fn under_way(&self) -> &Delivery {
        &self.left[0]
    }
}

impl Batch for Deliveries {
    fn delivery(&self) -> &Delivery {
        self.under_way()
    }

    fn context(&self) -> &Context {
        &self.context
    }

    fn parts(&mut self) -> (&Delivery, &mut Context) {
        (&self.left[0], &mut self.context)
    }

    fn proceed(&mut self) -> bool {
        self.context.keep();
        self.left.pop_front();
        if let Some(next) = self.left.front() {
            self.context.begin(next);
        }
        !self.left.is_empty()
    }
}

/// One lane, with a plugin's instance and a context.
pub struct Lane {
    pub instance: Box<dyn Instance>,
    pub batch: Lent<Deliveries>,
    /// Without it, nothing cuts execution into slices.
    _plugin: Arc<Plugin>,
}

impl Lane {
    pub async fn new(plugin: &Arc<Plugin>, grants: Grants, state: State) -> Self {
        let lane = LaneName { consumer: "counter".into(), partition: 3 };
        let instance = plugin.instantiate(&lane).await.unwrap();
        let batch = Deliveries { context: context(grants, state), left: VecDeque::new() };
        Self { instance, batch: Lent::new(batch), _plugin: Arc::clone(plugin) }
    }

    /// Has these be the next deliveries.
    pub fn begin(&mut self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.batch.left = deliveries.into_iter().collect();
        let first = self.batch.left[0].clone();
        self.batch.context.begin(&first);
    }

    /// Has the instance make them. Which failed is still under way then; what those before it did is kept.
    pub async fn make(&mut self) -> Result<(), Failure> {
        let outcome = self.instance.deliver(&mut self.batch).await;
        if outcome.is_err() {
            self.batch.context.discard();
        }
        assert_eq!(outcome.is_ok(), self.batch.left.is_empty(), "{outcome:?}");
        outcome
    }

    pub async fn deliver(&mut self, delivery: &Delivery) -> Result<Effects, Failure> {
        self.begin([delivery.clone()]);
        self.make().await?;
        Ok(self.batch.context.take())
    }
}

/// Loads a component with all grants and hands one delivery to it.
pub async fn run(guest: &Guest) -> Result<Effects, Failure> {
    run_with(guest, all(), State(Some(BTreeMap::new()))).await
}

pub async fn run_with(guest: &Guest, grants: Grants, state: State) -> Result<Effects, Failure> {
    let plugin = load(guest, grants.clone()).await.unwrap();
    Lane::new(&plugin, grants, state).await.deliver(&delivery(1)).await
}

fn context(grants: Grants, state: State) -> Context {
    let owner = ContextOwner {
        consumer: "counter".into(),
        authority: Arc::new(Authority::Granted(grants)),
        topics: Arc::new(Topics),
        seed: 7,
    };
    Context::new(owner, "1.2.3".into(), Box::new(state), TimerCounts::default())
}

pub fn delivery(attempt: u32) -> Delivery {
    let event =
        Event::new("e1", "/sensors/7", "com.example.reading").json_text(r#"{"a":1}"#).build().unwrap();
    Delivery {
        topic: "readings".into(),
        partition: 3,
        offset: 41,
        appended: Timestamp(1_700_000_000_000_000),
        attempt,
        first_attempt: Timestamp(1_700_000_000_000_000),
        now: Timestamp(1_700_000_000_000_000),
        redriven: false,
        event: Arc::new(event),
    }
}
