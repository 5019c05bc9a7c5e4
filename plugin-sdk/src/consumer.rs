use crate::{Data, Delivery, Failure, Host};

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
