use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Event, Failure, Level, Outgoing, Raw, SettingsError, Timestamp};

/// An aggregate: what it decides on commands, and what its events come to, as two pure functions.
/// [`export_aggregate!`](crate::export_aggregate!) makes it a plugin.
///
/// Commands and events are enums whose variants are the event types, written as `#[serde(tag = "type", content =
/// "data")]`. The bus keeps the events of each aggregate, and hands the state in each time; `type State` is kept as
/// JSON.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidegate_plugin::{Aggregate, CommandContext, Rejection, testing::given};
///
/// /// Sells the seats of a show.
/// struct Show;
///
/// #[derive(Deserialize)]
/// #[serde(tag = "type", content = "data")]
/// enum Command {
///     #[serde(rename = "SellSeat.v1")]
///     SellSeat { to: String },
/// }
///
/// #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// #[serde(tag = "type", content = "data")]
/// enum Event {
///     #[serde(rename = "SeatSold.v1")]
///     SeatSold { to: String },
/// }
///
/// impl Aggregate for Show {
///     const NAME: &'static str = "show";
///     type State = Vec<String>;
///     type Command = Command;
///     type Event = Event;
///
///     fn decide(
///         sold: &Vec<String>,
///         command: &Command,
///         _: &CommandContext<'_>,
///     ) -> Result<Vec<Event>, Rejection> {
///         let Command::SellSeat { to } = command;
///         if sold.len() == 2 {
///             return Err(Rejection::new("sold-out", "both seats are sold"));
///         }
///         Ok(vec![Event::SeatSold { to: to.clone() }])
///     }
///
///     fn evolve(mut sold: Vec<String>, event: &Event) -> Vec<String> {
///         let Event::SeatSold { to } = event;
///         sold.push(to.clone());
///         sold
///     }
/// }
///
/// let sold = |to: &str| Event::SeatSold { to: to.to_owned() };
/// let sell = |to: &str| Command::SellSeat { to: to.to_owned() };
/// given::<Show>([sold("ann")]).when(&sell("bob")).then([sold("bob")]);
/// given::<Show>([sold("ann"), sold("bob")]).when(&sell("cat")).then_rejected("sold-out");
/// ```
pub trait Aggregate: 'static {
    /// The plugin's name.
    const NAME: &'static str;

    /// The version of the state's layout. What the host has kept of states of another version, it makes anew from the
    /// events.
    const STATE_VERSION: u32 = 1;

    /// What decisions depend on: at most 1 MiB as JSON. The default is that of an aggregate that nothing has happened
    /// to.
    type State: Default + Serialize + DeserializeOwned;

    /// The commands by their types. One that is none of them, or whose data has another shape, is rejected with code
    /// `bad-command`.
    type Command: DeserializeOwned;

    /// The events by their types: those that are decided, and those that others append to the stream.
    type Event: Serialize + DeserializeOwned;

    /// Decides on a command. The events become durable together, or none of them; none at all says that nothing has to
    /// happen.
    ///
    /// # Errors
    ///
    /// A [`Rejection`]: the command's answer, which changes nothing.
    fn decide(
        state: &Self::State,
        command: &Self::Command,
        context: &CommandContext<'_>,
    ) -> Result<Vec<Self::Event>, Rejection>;

    /// The state after an event, whatever one thinks of it: it has happened.
    fn evolve(state: Self::State, event: &Self::Event) -> Self::State;
}

/// Why a command is turned down, for whoever has given it.
///
/// ```
/// use tidegate_plugin::Rejection;
///
/// let overdrawn = Rejection::new("overdrawn", "the balance is 5 cents").data(&serde_json::json!({"cents": 5}));
/// assert_eq!(overdrawn.to_string(), "overdrawn: the balance is 5 cents");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A short word that stays the same for the same cause. The host cuts what is over 64 bytes.
    pub code: String,
    /// For people. The host cuts what is over 4 KiB.
    pub message: String,
    /// JSON for programs, of at most 4 KiB.
    pub data: Option<String>,
}

impl Rejection {
    /// A rejection without data.
    pub fn new(code: &str, message: impl fmt::Display) -> Self {
        Self { code: code.to_owned(), message: message.to_string(), data: None }
    }

    /// The same rejection with something for programs. What JSON can't have is left out.
    #[must_use]
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.data = serde_json::to_string(data).ok();
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Rejection {}

/// What surrounds a command. The same on every run of the same attempt at it.
///
/// ```
/// use tidegate_plugin::{CommandContext, Rejection};
///
/// fn check_hours(context: &CommandContext<'_>) -> Result<(), Rejection> {
///     let hour = context.now.as_micros() / 3_600_000_000 % 24;
///     if (8..18).contains(&hour) { Ok(()) } else { Err(Rejection::new("closed", "come between 8 and 18")) }
/// }
/// ```
pub struct CommandContext<'a> {
    /// The aggregate's id: the command's key.
    pub aggregate: &'a str,
    /// The command's time: when the log accepted it at the first attempt, the recorded due time afterwards.
    pub now: Timestamp,
    /// The command's attributes.
    pub command: &'a Event<()>,
    pub(crate) host: &'a dyn DecisionHost,
}

/// What a decision can ask of the host.
pub(crate) trait DecisionHost {
    fn settings_json(&self) -> String;
    fn random(&self, len: u32) -> Vec<u8>;
    fn log(&self, level: Level, message: &str);
}

impl CommandContext<'_> {
    /// The consumer's settings, see [`Host::settings`](crate::Host#method.settings).
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        serde_json::from_str(&self.host.settings_json()).map_err(|source| SettingsError { source })
    }

    /// A random number, each equally likely. The same on every run of the same attempt.
    pub fn random_u64(&self) -> u64 {
        self.host.random(8).iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    /// Writes a line to the host's log, if the consumer is granted that.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }
}

/// Why there is no decision.
pub(crate) enum Undecided {
    Rejected(Rejection),
    Failed(Failure),
}

/// Decides as the host asks for it.
pub(crate) fn decide<A: Aggregate>(
    state: Option<&[u8]>,
    command: Event,
    now: Timestamp,
    host: &dyn DecisionHost,
) -> Result<Vec<Outgoing>, Undecided> {
    let state = read_state::<A>(state).map_err(Undecided::Failed)?;
    let (attributes, data) = command.split_data();
    let typed = tagged(&attributes.event_type, &data).and_then(|text| read(&text));
    let command: A::Command = typed.map_err(|why| {
        Undecided::Rejected(Rejection::new("bad-command", format_args!("`{}`: {why}", attributes.event_type)))
    })?;
    let key = attributes.key();
    let context = CommandContext { aggregate: key, now, command: &attributes, host };
    let events = A::decide(&state, &command, &context).map_err(Undecided::Rejected)?;
    events.iter().map(|event| fact(event).map_err(Undecided::Failed)).collect()
}

/// Evolves as the host asks for it.
pub(crate) fn evolve<A: Aggregate>(
    state: Option<&[u8]>,
    events: impl IntoIterator<Item = Event>,
) -> Result<Vec<u8>, Failure> {
    let mut state = read_state::<A>(state)?;
    for event in events {
        let typed = tagged(&event.event_type, &event.data).and_then(|text| read(&text));
        let event: A::Event = typed.map_err(|why| {
            Failure::permanent(
                "bad-event",
                format_args!("event `{}`, `{}`: {why}", event.id, event.event_type),
            )
        })?;
        state = A::evolve(state, &event);
    }
    Ok(serde_json::to_vec(&state)?)
}

fn read_state<A: Aggregate>(state: Option<&[u8]>) -> Result<A::State, Failure> {
    let Some(state) = state else { return Ok(A::State::default()) };
    serde_json::from_slice(state).map_err(|error| {
        let version = A::STATE_VERSION;
        let message = format_args!(
            "a state of version {version} has another layout ({error}): raise `STATE_VERSION` with each change of it"
        );
        Failure::permanent("bad-state", message)
    })
}

/// An event as serde reads an enum that is tagged with its type.
fn tagged(event_type: &str, data: &Raw) -> Result<String, String> {
    let event_type = serde_json::to_string(event_type).map_err(|error| error.to_string())?;
    match data {
        Raw::Empty => Ok(format!(r#"{{"type":{event_type}}}"#)),
        Raw::Json(json) => Ok(format!(r#"{{"type":{event_type},"data":{json}}}"#)),
        Raw::Text(_) | Raw::Binary(_) => Err("its data is no JSON".to_owned()),
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // The place is one in a text that nobody has seen.
        message.split(" at line ").next().unwrap_or_default().to_owned()
    })
}

/// What comes of an enum that is tagged with its type.
#[derive(Deserialize)]
struct Tagged {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

pub(crate) fn fact<E: Serialize>(event: &E) -> Result<Outgoing, Failure> {
    let Tagged { event_type, data } =
        serde_json::from_str(&serde_json::to_string(event)?).map_err(|error| {
            let how = r#"its enum needs `#[serde(tag = "type", content = "data")]`"#;
            Failure::permanent(
                "bad-event",
                format_args!("a decided event has no type and data, {how}: {error}"),
            )
        })?;
    let mut outgoing = Outgoing::new(event_type);
    if let Some(data) = data {
        outgoing.data = Raw::Json(data.get().to_owned());
        outgoing.datacontenttype = Some("application/json".to_owned());
    }
    Ok(outgoing)
}
