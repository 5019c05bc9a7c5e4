//! The upcasters of a bus: adding, changing and removing them, and lifting events by them.

mod accepted;
mod blocking;
#[cfg(feature = "server")]
mod changes;
mod error;
mod registry;
mod starting;
mod status;

use std::sync::Arc;

pub use error::UpcasterError;
pub(super) use registry::Upcasters;
pub use status::UpcasterStatus;

use self::registry::Running;
use super::Bus;
use super::status::ReloadOutcome;
use crate::config::{UpcasterConfig, check_name};
use crate::event::Event;
use crate::handler::Failure;
use crate::upcast::{Lift, Lifted, Lifter, NativeUpcaster};

impl Bus {
    /// Adds an upcaster: a function that lifts events of one version of their type to a later one. From then on consumers see
    /// the later one, whenever the event was published: fresh, retried, redriven, after a seek; and aggregates are folded of it. The
    /// log keeps events as they were published.
    ///
    /// The function makes the data of the later version; identity, key, time and extension attributes stay. It depends on the
    /// event alone, and is called anew for each attempt at a delivery. It has no deadline: one that blocks holds its lane, and the
    /// thread that this runs on. A failure of it is a failure of the delivery, whose dead
    /// letter has the event as it was published. Where a lift leads to a version that another one lifts, the event goes through
    /// both. If its topic requires schemas, what comes of it is held against that of its type.
    ///
    /// Upcasters of functions and those of plugins live in this process: add them before the consumers that need them.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use serde_json::{Value, json};
    /// use tidegate::Event;
    /// use tidegate::upcast::Lifted;
    ///
    /// bus.add_upcaster("orders", "OrderPlaced.v1", "OrderPlaced.v2", |event| {
    ///     let before: Value = event.data_as()?;
    ///     Lifted::json(&json!({"order": before["order"], "lines": [before["line"]]}))
    /// })
    /// .await?;
    ///
    /// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1)).await?;
    /// let placed = Event::new("1", "/shop", "OrderPlaced.v1").json_text(r#"{"order": 17, "line": "teapot"}"#).build()?;
    /// let lifted = bus.lift("orders", &placed.into()).await?;
    /// assert_eq!(lifted.kind(), "OrderPlaced.v2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`UpcasterError`].
    pub async fn add_upcaster(
        &self,
        name: &str,
        from: &str,
        to: &str,
        lift: impl Fn(&Event) -> Result<Lifted, Failure> + Send + Sync + 'static,
    ) -> Result<(), UpcasterError> {
        let _turn = self.turn().await?;
        self.inner.upcasters.check_new(name)?;
        let lift = NativeUpcaster::new(lift_of(name, from, to)?, lift);
        self.inner.upcasters.put(name, Running::new(Arc::new(lift), None))?;
        self.tell_lifts();
        Ok(())
    }

    /// Adds an upcaster that a plugin is: a component of the world `tidegate:plugin/upcaster`, which names what it lifts. See
    /// [`add_upcaster`](Self::add_upcaster).
    ///
    /// Where what the file holds now is refused, the version that was accepted last under this name runs, if there is one, so that
    /// a restart changes nothing: see [`UpcasterStatus::refused`].
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), tidegate::UpcasterError> {
    /// use tidegate::config::UpcasterConfig;
    ///
    /// bus.add_upcaster_plugin("orders", UpcasterConfig::new("plugins/order_upcaster.wasm")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`UpcasterError`].
    pub async fn add_upcaster_plugin(&self, name: &str, config: UpcasterConfig) -> Result<(), UpcasterError> {
        let _turn = self.turn().await?;
        self.inner.upcasters.check_new(name)?;
        config.validate()?;
        self.start_upcaster(name, &config).await?;
        self.tell_lifts();
        Ok(())
    }

    /// Gives an upcaster's plugin another configuration. What is wrong with it shows before anything changes.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), tidegate::UpcasterError> {
    /// use tidegate::config::UpcasterConfig;
    ///
    /// let config = UpcasterConfig::new("plugins/order_upcaster.wasm").settings(r#"{"currency": "CHF"}"#);
    /// bus.reconfigure_upcaster("orders", config).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`UpcasterError`].
    pub async fn reconfigure_upcaster(
        &self,
        name: &str,
        config: UpcasterConfig,
    ) -> Result<(), UpcasterError> {
        let _turn = self.turn().await?;
        config.validate()?;
        self.inner.upcasters.config(name)?;
        let candidate = self.candidate_upcaster(name, &config).await?;
        self.inner.upcasters.check(name, candidate.upcaster())?;
        self.put_upcaster(name, candidate)?;
        self.tell_lifts();
        Ok(())
    }

    /// Takes what the file of an upcaster's plugin holds now as the next version. Lanes go over to it between two batches of
    /// deliveries. A candidate that is refused leaves all as it is.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), tidegate::UpcasterError> {
    /// use tidegate::ReloadOutcome;
    ///
    /// if let ReloadOutcome::Switched { to, .. } = bus.reload_upcaster("orders").await? {
    ///     println!("{} {} lifts orders now", to.name, to.version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`UpcasterError`].
    pub async fn reload_upcaster(&self, name: &str) -> Result<ReloadOutcome, UpcasterError> {
        let _turn = self.turn().await?;
        let config = self.inner.upcasters.config(name)?;
        let outcome = self.switch_upcaster(name, &config).await;
        self.inner.upcasters.note_outcome(name, &outcome);
        outcome
    }

    /// Removes an upcaster. Consumers see the events that it lifted as they were published, or as other upcasters lift them.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::upcast::Lifted;
    /// bus.add_upcaster("orders", "OrderPlaced.v1", "OrderPlaced.v2", |_| Ok(Lifted::default())).await?;
    /// bus.remove_upcaster("orders").await?;
    /// assert!(bus.upcasters().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is none of this name, or what is kept of it can't be removed.
    pub async fn remove_upcaster(&self, name: &str) -> Result<(), UpcasterError> {
        let _turn = self.turn().await?;
        self.inner.upcasters.remove(name)?;
        self.tell_lifts();
        self.forget_upcaster(name)
    }

    /// The upcasters that run, by name.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// for upcaster in bus.upcasters() {
    ///     println!("{} {}: {:?}", upcaster.name, upcaster.version.version, upcaster.lifts);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn upcasters(&self) -> Vec<UpcasterStatus> {
        self.inner.upcasters.status()
    }

    /// An event of a topic as its consumers see it: lifted to the latest version of its type, or itself where nothing lifts it.
    /// Readers give events as they were published; this is for who wants the other.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::{Event, Position};
    /// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1)).await?;
    /// # bus.publish("orders", Event::new("1", "/shop", "OrderPlaced.v1").build()?).await?;
    /// let mut orders = bus.read("orders", None, Position::Earliest)?;
    /// while let Some(record) = orders.try_next()? {
    ///     match bus.lift("orders", &record.event).await {
    ///         Ok(event) => println!("{} {}", event.kind(), event.id()),
    ///         Err(failure) => eprintln!("offset {}: {failure}", record.offset),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// It can't be lifted: what a delivery would fail with.
    pub async fn lift(&self, topic: &str, event: &Arc<Event>) -> Result<Arc<Event>, Failure> {
        let lifted = self.lift_all(topic, std::slice::from_ref(event)).await.pop();
        lifted.unwrap_or_else(|| Ok(Arc::clone(event)))
    }

    /// Events of a topic as its consumers see them, each with its own outcome, in their order: see [`lift`](Self::lift). It
    /// costs less for each than one after the other; all are in memory meanwhile, with what the blob store has of them.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::Event;
    /// # let events = vec![Event::new("1", "/shop", "OrderPlaced.v1").build()?.into()];
    /// let lifted = bus.lift_all("orders", &events).await;
    /// assert_eq!(lifted.len(), events.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn lift_all(&self, topic: &str, events: &[Arc<Event>]) -> Vec<Result<Arc<Event>, Failure>> {
        let lifter = self.lifter();
        let fetched: Vec<Result<Arc<Event>, Failure>> =
            events.iter().map(|event| self.with_data(event).map_err(Failure::from)).collect();
        if !lifter.lifts_any(events) {
            return fetched;
        }
        let topic = topic.to_owned();
        let all: Vec<_> = fetched.iter().flatten().cloned().collect();
        let lifting = async move { lifter.lift_each(&topic, &all).await };
        // A plugin's instance needs the bus's own threads, wherever this is called.
        let lifted = self.run_in_place(self.inner.upcasters.places(), lifting).await.unwrap_or_default();
        let shutting_down = || Err(Failure::transient("shutdown", "the bus is shutting down"));
        let mut lifted = lifted.into_iter();
        let outcome =
            |fetched: Result<_, _>| fetched.and_then(|_| lifted.next().unwrap_or_else(shutting_down));
        fetched.into_iter().map(outcome).collect()
    }

    /// What lifts the events of a topic by the upcasters that run when it is asked.
    pub(super) fn lifter(&self) -> Lifter {
        Lifter::new(self.inner.upcasters.current(), self.inner.log.directory())
    }

    /// The upcasters that run what a configuration says, with that.
    #[cfg(feature = "server")]
    pub(crate) fn upcaster_configs(&self) -> std::collections::BTreeMap<String, UpcasterConfig> {
        self.inner.upcasters.configs()
    }

    fn tell_lifts(&self) {
        let lifts = self.inner.upcasters.lifts();
        self.inner.roster.each(|running| running.consumer.lift_by(&lifts));
    }
}

fn lift_of(name: &str, from: &str, to: &str) -> Result<Lift, UpcasterError> {
    Lift::new(from, to).map_err(|source| UpcasterError::Lift { upcaster: name.to_owned(), source })
}
