//! `tidegate consumers state`.

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;
use tidegate::server::{Answer, Request, StateLine};

use super::access::Access;
use super::error::CliError;
use super::output::{Output, one_line};

/// Characters of a value that its line shows.
const VALUE_CHARS: usize = 200;

/// An entry as JSON. Of the two forms of the key and the three of the value there is one each.
#[derive(Serialize)]
struct Entry<'a> {
    partition: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// Where the value is a JSON text: that.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// Prints the entries that are asked for.
pub fn print(access: &mut Access, request: Request, output: &mut Output) -> Result<(), CliError> {
    let mut any = false;
    access.ask(request, |answer| {
        let Answer::State(line) = answer else { return Ok(()) };
        any = true;
        if output.is_json() {
            return output.json(&entry(&line));
        }
        output.line(format_args!("{}  {}  {}", line.partition, text(&line.key), text(&line.value)))
    })?;
    if !any && !output.is_json() {
        output.line("no state there")?;
    }
    Ok(())
}

fn entry(line: &StateLine) -> Entry<'_> {
    let key = std::str::from_utf8(&line.key).ok();
    let text = std::str::from_utf8(&line.value).ok();
    // On one line, as all that is printed: JSON with line breaks is shown as text.
    let json = text.filter(|text| !text.contains('\n')).and_then(|text| serde_json::from_str(text).ok());
    Entry {
        partition: line.partition,
        key,
        key_base64: key.is_none().then(|| BASE64.encode(&line.key)),
        value: json,
        value_text: text.filter(|_| json.is_none()),
        value_base64: text.is_none().then(|| BASE64.encode(&line.value)),
    }
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => one_line(text, VALUE_CHARS),
        Err(_) => format!("base64:{}", one_line(&BASE64.encode(bytes), VALUE_CHARS)),
    }
}
