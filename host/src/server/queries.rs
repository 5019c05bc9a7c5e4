//! Questions to projections, and their rebuilds, on their way over the control socket.

use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Answer;
use super::execute::{Ended, Failed, Outlet};
use crate::bus::{Bus, EventPlace, LanePosition, Query, QueryAnswer, Rebuild};
use crate::event::Data;
use crate::handler::ProgramVersion;

/// Data that travels as `{"json": …}`, to the byte, as `{"text": "…"}`, or as `{"base64": "…"}`. Only JSON carries it.
///
/// ```
/// use tidegate::Data;
/// use tidegate::server::DataJson;
///
/// let data: DataJson = serde_json::from_str(r#"{"json": {"limit": 5}}"#).unwrap();
/// assert_eq!(data.0, Data::Json(r#"{"limit": 5}"#.into()));
/// let bytes = DataJson(Data::Binary(vec![0, 255]));
/// assert_eq!(serde_json::to_string(&bytes).unwrap(), r#"{"base64":"AP8="}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct DataJson(pub Data);

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    Json(Box<RawValue>),
    Text(String),
    Base64(String),
}

impl From<DataJson> for Form {
    fn from(DataJson(data): DataJson) -> Self {
        match data {
            Data::Json(text) => match RawValue::from_string(text) {
                Ok(json) => Self::Json(json),
                // What a bus accepts and answers is JSON where it says so.
                Err(_) => Self::Json(RawValue::NULL.to_owned()),
            },
            Data::Text(text) => Self::Text(text),
            Data::Binary(bytes) => Self::Base64(BASE64.encode(&bytes)),
        }
    }
}

impl TryFrom<Form> for DataJson {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        Ok(Self(match form {
            Form::Json(json) => Data::Json(json.get().to_owned()),
            Form::Text(text) => Data::Text(text),
            Form::Base64(text) => {
                Data::Binary(BASE64.decode(text.as_bytes()).map_err(|error| error.to_string())?)
            }
        }))
    }
}

/// A question to a projection, see [`Query`].
///
/// ```
/// use tidegate::server::QueryLine;
///
/// let asked = r#"{"question": "strongest", "parameters": {"json": {"limit": 5}}}"#;
/// let asked: QueryLine = serde_json::from_str(asked).unwrap();
/// assert!(asked.key.is_none() && asked.at_least.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryLine {
    /// Which question.
    pub question: String,
    /// What goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<DataJson>,
    /// The key whose lane is asked; otherwise all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the answer has to reflect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_least: Vec<EventPlace>,
    /// How long to wait for that; `None` for as long as a query does by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

impl From<QueryLine> for Query {
    fn from(line: QueryLine) -> Self {
        let mut query = Self::new(line.question);
        if let Some(DataJson(parameters)) = line.parameters {
            query = query.parameters(parameters);
        }
        if let Some(key) = line.key {
            query = query.key(key);
        }
        if let Some(wait) = line.wait_ms {
            query = query.wait(Duration::from_millis(wait));
        }
        line.at_least.into_iter().fold(query, Query::at_least_place)
    }
}

/// An answer of a projection, see [`QueryAnswer`].
///
/// ```
/// use tidegate::server::AnswerLine;
///
/// let line = r#"{"data": {"json": 17}, "positions": [], "generation": 0,
///     "version": {"name": "quake-board", "version": "0.1.0", "hash": ""}}"#;
/// let line: AnswerLine = serde_json::from_str(line).unwrap();
/// assert_eq!(line.data.unwrap().0, tidegate::Data::Json("17".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnswerLine {
    /// What the projection says.
    pub data: Option<DataJson>,
    /// What it reflects.
    pub positions: Vec<LanePosition>,
    /// How often its state had been made anew.
    pub generation: u64,
    /// The version that has answered.
    pub version: ProgramVersion,
}

impl From<QueryAnswer> for AnswerLine {
    fn from(answer: QueryAnswer) -> Self {
        Self {
            data: answer.data.map(DataJson),
            positions: answer.positions,
            generation: answer.generation,
            version: answer.version,
        }
    }
}

pub(super) async fn query(
    bus: &Bus,
    projection: &str,
    asked: QueryLine,
    outlet: &Outlet,
) -> Result<(), Ended> {
    let answer = bus.query(projection, asked.into()).await.map_err(Failed)?;
    outlet.answer(Answer::Query(Box::new(answer.into()))).await
}

pub(super) async fn projections(bus: &Bus, outlet: &Outlet) -> Result<(), Ended> {
    let projections = bus.projections().map_err(Failed)?;
    outlet.answer(Answer::Projections(projections)).await
}

/// How a projection is to be made anew, see [`Rebuild`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub partial: bool,
    pub allow_dead_letters: bool,
    pub wait: bool,
}

pub(super) async fn rebuild(bus: &Bus, projection: &str, asked: Asked, outlet: &Outlet) -> Result<(), Ended> {
    let mut rebuild = Rebuild::new();
    if asked.partial {
        rebuild = rebuild.partial();
    }
    if asked.allow_dead_letters {
        rebuild = rebuild.allow_dead_letters();
    }
    bus.rebuild(projection, rebuild).await.map_err(Failed)?;
    if asked.wait {
        let outcome = bus.rebuilt(projection).await.map_err(Failed)?;
        outlet.answer(Answer::Rebuilt(outcome)).await?;
    }
    Ok(())
}
