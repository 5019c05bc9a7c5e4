use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Data, Event, Raw, Refusal, SettingsError};

/// An upcaster: it lifts events of older versions of their type to later ones, so that consumers see one version.
/// [`export_upcaster!`](crate::export_upcaster!) makes it a plugin.
///
/// What it makes of an event depends on that event and the settings alone: there is no state, no time and no randomness. It
/// makes the data; the host sets the type and keeps all else of the event.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidegate_plugin::{Lifts, Outgoing, Refusal, Settings, Upcaster, testing};
///
/// #[derive(Serialize, Deserialize)]
/// struct GreetedV1 {
///     name: String,
/// }
///
/// #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// struct GreetedV2 {
///     first: String,
///     last: String,
/// }
///
/// struct Greetings;
///
/// impl Upcaster for Greetings {
///     const NAME: &'static str = "greetings";
///
///     fn lifts(_: &Settings) -> Result<Lifts, Refusal> {
///         Ok(Lifts::new().lift("Greeted.v1", "Greeted.v2", |event: tidegate_plugin::Event<GreetedV1>| {
///             let name = event.data.name;
///             let (first, last) =
///                 name.split_once(' ').ok_or_else(|| Refusal::new("one-name", "there is no last name"))?;
///             Ok(GreetedV2 { first: first.into(), last: last.into() })
///         }))
///     }
/// }
///
/// let event = Outgoing::new("Greeted.v1").json(&GreetedV1 { name: "Ada Lovelace".into() })?;
/// let lifted = testing::lift::<Greetings>(event)?.decode::<GreetedV2>()?;
/// assert_eq!(lifted.event_type, "Greeted.v2");
/// assert_eq!(lifted.data, GreetedV2 { first: "Ada".into(), last: "Lovelace".into() });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Upcaster: 'static {
    /// The plugin's name.
    const NAME: &'static str;

    /// What it lifts. Called once when the plugin is loaded and once for each of its instances.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] keeps it from being loaded: settings that make no sense, with `?` those of another shape.
    fn lifts(settings: &Settings) -> Result<Lifts, Refusal>;
}

/// The settings of an upcaster, from the configuration: a JSON object, `{}` where there are none.
///
/// ```
/// use tidegate_plugin::{Refusal, Settings};
///
/// /// `settings = { currency = "EUR" }` in the upcaster's configuration.
/// fn currency(settings: &Settings) -> Result<String, Refusal> {
///     let settings: std::collections::BTreeMap<String, String> = settings.read()?;
///     Ok(settings.get("currency").cloned().unwrap_or_else(|| "EUR".to_owned()))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Settings(String);

impl Settings {
    #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "tests make them as well"))]
    pub(crate) fn new(json: String) -> Self {
        Self(json)
    }

    /// The settings as a type that `serde` reads from JSON.
    ///
    /// # Errors
    ///
    /// They are of another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        serde_json::from_str(&self.0).map_err(|source| SettingsError { source })
    }
}

type LiftFn = Box<dyn Fn(Event) -> Result<Lifted, Refusal>>;

struct Lift {
    from: String,
    to: String,
    function: LiftFn,
}

/// What an upcaster lifts: each event type once, to a later version of it.
///
/// Where one lift leads to the type that another one lifts, the host has the event go through both.
///
/// ```
/// use tidegate_plugin::{Event, Lifts, Raw, Refusal};
///
/// let lifts = Lifts::new()
///     .lift("Label.v1", "Label.v2", |event: Event<String>| Ok(vec![event.data]))
///     .lift("Label.v2", "Label.v3", |event: Event<Vec<String>>| Ok(event.data.join(" ")));
/// assert_eq!(lifts.len(), 2);
/// ```
#[derive(Default)]
pub struct Lifts(Vec<Lift>);

impl Lifts {
    /// No lift yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a lift: how the data of an event of type `from` becomes that of type `to`. The data come as a type that `serde`
    /// reads, or as [`Raw`]; data of another shape are refused with code `bad-data` and their path. They go as a type that
    /// `serde` writes as JSON, or as [`Lifted`].
    #[must_use]
    pub fn lift<T: Data, U: IntoLifted>(
        mut self,
        from: impl Into<String>,
        to: impl Into<String>,
        lift: impl Fn(Event<T>) -> Result<U, Refusal> + 'static,
    ) -> Self {
        let lift = move |event: Event| lift(event.decode().map_err(Refusal::from)?)?.into_lifted();
        self.0.push(Lift { from: from.into(), to: to.into(), function: Box::new(lift) });
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The event types that are lifted and those that come of it.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|lift| (lift.from.as_str(), lift.to.as_str()))
    }

    /// Lifts an event once.
    pub(crate) fn apply(&self, event: Event) -> Result<Lifted, Refusal> {
        match self.0.iter().find(|lift| lift.from == event.event_type) {
            Some(lift) => (lift.function)(event),
            None => {
                Err(Refusal::new("unknown-type", format_args!("{} is not lifted here", event.event_type)))
            }
        }
    }
}

impl fmt::Debug for Lifts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.steps()).finish()
    }
}

/// What a lift makes of an event, for a lift that doesn't make JSON or names a schema.
///
/// ```
/// use tidegate_plugin::{Lifted, Raw};
///
/// let lifted = Lifted {
///     datacontenttype: Some("text/csv".into()),
///     dataschema: None,
///     data: Raw::Text("place,mag\nAlaska,7.1\n".into()),
/// };
/// assert!(matches!(lifted.data, Raw::Text(_)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    /// The media type of the data.
    pub datacontenttype: Option<String>,
    /// The schema of the data, a URI.
    pub dataschema: Option<String>,
    /// The data.
    pub data: Raw,
}

impl Lifted {
    /// Data that are written as JSON, and their media type.
    ///
    /// # Errors
    ///
    /// What `serde_json` can't write, for example a map whose keys aren't text.
    pub fn json<T: Serialize + ?Sized>(data: &T) -> Result<Self, serde_json::Error> {
        let data = Raw::Json(serde_json::to_string(data)?);
        Ok(Self { datacontenttype: Some("application/json".to_owned()), dataschema: None, data })
    }
}

/// What a lift may return: a type that `serde` writes as JSON, or [`Lifted`].
///
/// ```
/// use tidegate_plugin::{IntoLifted, Raw};
///
/// let lifted = ["teapot"].into_lifted()?;
/// assert_eq!(lifted.data, Raw::Json(r#"["teapot"]"#.into()));
/// # Ok::<(), tidegate_plugin::Refusal>(())
/// ```
pub trait IntoLifted {
    /// The data with what says how to read them.
    ///
    /// # Errors
    ///
    /// A refusal with code `bad-json`, for what can't be written as JSON.
    fn into_lifted(self) -> Result<Lifted, Refusal>;
}

impl IntoLifted for Lifted {
    fn into_lifted(self) -> Result<Lifted, Refusal> {
        Ok(self)
    }
}

impl<T: Serialize> IntoLifted for T {
    fn into_lifted(self) -> Result<Lifted, Refusal> {
        Ok(Lifted::json(&self)?)
    }
}
