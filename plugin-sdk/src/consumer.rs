use crate::{Attribute, Data, Delivery, Failure, Host};

/// A consumer of events. [`export!`](crate::export!) makes it a plugin.
///
/// The struct itself is a cache: it starts as its default, is thrown away after a failed delivery, and may be at any
/// other time. What must stay belongs into the state.
///
/// ```
/// use tidegate_plugin::testing::{FakeHost, delivery};
/// use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing};
///
/// /// Counts the events of each key.
/// #[derive(Default)]
/// struct Counter;
///
/// impl Consumer for Counter {
///     const NAME: &'static str = "counter";
///     const USES_STATE: bool = true;
///     type Data = Option<String>;
///
///     fn handle(&mut self, delivery: &Delivery<Option<String>>, host: &mut dyn Host) -> Result<(), Failure> {
///         let count: u64 = host.get_json(delivery.event.key())?.unwrap_or_default();
///         host.set_json(delivery.event.key(), &(count + 1))?;
///         Ok(())
///     }
/// }
///
/// let mut host = FakeHost::new::<Counter>();
/// host.deliver(&mut Counter, delivery(Outgoing::new("Greeting.v1").subject("world")))?;
/// assert_eq!(host.state_json::<u64>("world"), Some(1));
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
pub trait Consumer: Default + 'static {
    /// The plugin's name.
    const NAME: &'static str;

    /// The types of the events to handle; all, if empty. Events of other types are done without a look at their data.
    const EVENT_TYPES: &'static [&'static str] = &[];

    /// The topics to publish to. The host refuses to load the plugin unless all are granted.
    const PUBLISHES: &'static [&'static str] = &[];

    /// Whether the plugin keeps state. The host refuses to load it unless state is granted.
    const USES_STATE: bool = false;

    /// The version of the state's layout. A plugin with another one doesn't replace the running plugin.
    const STATE_VERSION: u32 = 1;

    /// What an event's data is read as: a type that `serde` deserializes, or [`Raw`](crate::Raw). Data of another
    /// shape is a permanent failure with code `bad-data`.
    type Data: Data;

    /// Handles one delivery. Its effects commit together when this returns `Ok`; a failure, a panic or a missed
    /// deadline leaves none of them behind.
    ///
    /// # Errors
    ///
    /// A [`Failure`], which says whether another attempt makes sense.
    fn handle(&mut self, delivery: &Delivery<Self::Data>, host: &mut dyn Host) -> Result<(), Failure>;

    /// Handles a timer that has come: `name` is what it was set under, and the event's key that of the delivery that has set
    /// it. All that holds for [`handle`](Self::handle) holds here; `EVENT_TYPES` says nothing of timers. Unless it is written,
    /// a timer is a permanent failure with code `unexpected-timer`: a plugin that sets none gets one only where the version
    /// before it did.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate_plugin::testing::{FakeHost, delivery};
    /// use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, Raw};
    ///
    /// /// Reminds of orders that aren't paid for a day.
    /// #[derive(Default)]
    /// struct Reminder;
    ///
    /// impl Consumer for Reminder {
    ///     const NAME: &'static str = "reminder";
    ///     const PUBLISHES: &'static [&'static str] = &["reminders"];
    ///     const USES_STATE: bool = true;
    ///     type Data = Raw;
    ///
    ///     fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
    ///         match delivery.event.event_type.as_str() {
    ///             "OrderPlaced.v1" => {
    ///                 let tomorrow = host.now().after(Duration::from_secs(24 * 60 * 60));
    ///                 Ok(host.set_timer("unpaid", tomorrow, Raw::Empty)?)
    ///             }
    ///             _ => Ok(host.cancel_timer("unpaid")?),
    ///         }
    ///     }
    ///
    ///     fn timer(&mut self, _name: &str, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
    ///         Ok(host.publish("reminders", Outgoing::new("Unpaid.v1").key(delivery.event.key()))?)
    ///     }
    /// }
    ///
    /// let mut host = FakeHost::new::<Reminder>();
    /// for order in ["17", "18"] {
    ///     host.deliver(&mut Reminder, delivery(Outgoing::new("OrderPlaced.v1").key(order)))?;
    /// }
    /// host.deliver(&mut Reminder, delivery(Outgoing::new("OrderPaid.v1").key("17")))?;
    /// host.advance(&mut Reminder, Duration::from_secs(24 * 60 * 60))?;
    /// assert_eq!(host.published.len(), 1, "order 18 isn't paid");
    /// # Ok::<(), tidegate_plugin::Failure>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Failure`], which says whether another attempt makes sense.
    fn timer(&mut self, name: &str, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let _ = (delivery, host);
        Err(Failure::permanent(
            "unexpected-timer",
            format_args!("this version sets no timers, and `{name}` has come"),
        ))
    }
}

/// The type of the event that a timer comes as.
pub(crate) const TIMER_TYPE: &str = "tidegate.timer";
/// What its topic is called.
pub(crate) const TIMER_TOPIC: &str = "$timers";
/// The attribute that has its name.
pub(crate) const TIMER_NAME: &str = "timername";

/// Whether a delivery is that of a timer. An event of a topic is none, whatever its type.
pub(crate) fn is_timer<T>(delivery: &Delivery<T>) -> bool {
    delivery.event.event_type == TIMER_TYPE && delivery.topic == TIMER_TOPIC
}

/// Handles a timer that has come, in a component and in a test alike.
pub(crate) fn handle_timer<C: Consumer>(
    consumer: &mut C,
    delivery: &Delivery,
    host: &mut dyn Host,
) -> Result<(), Failure> {
    let name = delivery.event.extension(TIMER_NAME).and_then(Attribute::as_str).unwrap_or_default();
    let outcome = consumer.timer(name, delivery, host);
    if outcome.is_err() {
        // It may have remembered what never came to be.
        *consumer = C::default();
    }
    outcome
}

type HandleFn<C> = fn(&mut C, &Delivery<<C as Consumer>::Data>, &mut dyn Host) -> Result<(), Failure>;

/// Whether a consumer handles events of a type. It is done with others as they are.
pub(crate) fn wants<C: Consumer>(event_type: &str) -> bool {
    C::EVENT_TYPES.is_empty() || C::EVENT_TYPES.contains(&event_type)
}

/// Handles a delivery whose data was read, or could not be, in a component and in a test alike.
pub(crate) fn handle<C: Consumer>(
    consumer: &mut C,
    delivery: Result<&Delivery<C::Data>, Failure>,
    host: &mut dyn Host,
) -> Result<(), Failure> {
    // Called where the compiler can't see what: a trap's backtrace names it then, and not only the loop around it.
    let handle = std::hint::black_box(C::handle as HandleFn<C>);
    let outcome = delivery.and_then(|delivery| handle(consumer, delivery, host));
    if outcome.is_err() {
        // It may have remembered what never came to be.
        *consumer = C::default();
    }
    outcome
}
