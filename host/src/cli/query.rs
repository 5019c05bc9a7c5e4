//! `tidegate query`.

use data_encoding::BASE64;
use tidegate::Data;
use tidegate::server::{Answer, AnswerLine, DataJson, QueryLine, Request};

use super::access::Access;
use super::arguments::Global;
use super::error::{CliError, Exit};
use super::output::Output;
use super::projection_arguments::Query;

/// Asks a projection.
pub fn query(global: &Global, query: Query, output: &mut Output) -> Result<Exit, CliError> {
    let line = QueryLine {
        question: query.question,
        parameters: query.parameters.as_deref().map(parameters).transpose()?,
        key: query.key,
        at_least: query.at_least,
        wait_ms: Some(u64::try_from(query.wait.as_millis()).unwrap_or(u64::MAX)),
    };
    let mut access = Access::open(global)?;
    let request = Request::Query { projection: query.projection, query: line };
    let answer = access.one(request, |answer| match answer {
        Answer::Query(answer) => Some(*answer),
        _ => None,
    })?;
    if output.is_json() {
        output.json(&answer)?;
    } else {
        print(answer, output)?;
    }
    access.close();
    Ok(Exit::Done)
}

fn parameters(text: &str) -> Result<DataJson, CliError> {
    let json: &serde_json::value::RawValue = serde_json::from_str(text)
        .map_err(|error| CliError::Usage(format!("the parameters are no JSON: {error}")))?;
    Ok(DataJson(Data::Json(json.get().to_owned())))
}

fn print(answer: AnswerLine, output: &mut Output) -> Result<(), CliError> {
    match answer.data {
        Some(DataJson(Data::Json(text) | Data::Text(text))) => output.line(text),
        Some(DataJson(Data::Binary(bytes))) => output.line(format_args!("base64:{}", BASE64.encode(&bytes))),
        None => Ok(()),
    }
}
