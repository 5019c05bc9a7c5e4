//! Events in JSON, one or a line each.

use tidegate::testing::probe;
use tidegate::{Event, EventLines};

use super::Target;
use super::record::full_event;

pub struct Events;

/// The largest event that is read: small, so that the bound is met.
const EVENT_BYTES_MAX: usize = 4 << 10;

impl Target for Events {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let texts = [
            full_event().to_json(),
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"mag": 2.30, "é":"\u0000\ud83d\ude00"}}"#.to_owned(),
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"a\nb"}"#.to_owned(),
            r#"{"specversion":"1.0","id":"1","source":"urn:a:b","type":"t","data_base64":"AP8=","time":null}"#.to_owned(),
            "\u{feff}{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}\r\n\n{oops\n{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/s\",\"type\":\"t\",\"n\":-7,\"b\":false}".to_owned(),
            r#"{"specversion":"1.0","id":"1","source":"https://user@[::1]:80/a?b#c","type":"t","dataschema":"s:x","partitionkey":"k","data":[1e400,-0,"\"",null]}"#.to_owned(),
        ];
        texts.map(String::into_bytes).into()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            br#""specversion":"1.0","#,
            br#""id":"#,
            br#""source":"#,
            br#""type":"#,
            br#""subject":"s","#,
            br#""time":"2018-04-05T17:31:00.123456789+01:00","#,
            br#""datacontenttype":"application/json","#,
            br#""datacontenttype":"text/xml; charset=\"a\\\"b\"","#,
            br#""dataschema":"http://a/","#,
            br#""data":"#,
            br#""data_base64":"AA==","#,
            b"null",
            b"true",
            b"1e999",
            b"-",
            br"\u0000",
            br"\ud800",
            br"\udc00",
            b"\xc3\xa9",
            b"\xff",
            b"\xed\xa0\x80",
            b"\xef\xbb\xbf",
            b"[[[[[[[[[[[[[[[[",
            b"{\"a\":{\"a\":",
            b"%zz",
            b"\n",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let mut outcome = match Event::from_json(input, EVENT_BYTES_MAX) {
            Ok(event) => again(&event)?,
            Err(error) => line(&error),
        };
        let mut line_before = 0;
        for (number, event) in EventLines::new(input, EVENT_BYTES_MAX) {
            if number <= line_before {
                return Err(format!("line {number} comes after line {line_before}"));
            }
            line_before = number;
            outcome += "\n";
            outcome += &match event {
                Ok(event) => again(&event)?,
                Err(error) => line(&error),
            };
        }
        Ok(outcome)
    }
}

/// An error in one line, whatever it quotes.
fn line(error: &impl ToString) -> String {
    error.to_string().replace('\n', " ")
}

/// What was read is the same when it is written, in JSON and as a record, and read again.
fn again(event: &Event) -> Result<String, String> {
    let size = event.size();
    if size > EVENT_BYTES_MAX {
        return Err(format!("an event of {size} bytes is over the bound"));
    }
    let text = event.to_json();
    let read = Event::from_json(&text, EVENT_BYTES_MAX).map_err(|error| format!("{text}: {error}"))?;
    // In JSON, every attribute that is no boolean and no number is a string.
    if read.to_json() != text || read.data() != event.data() || read.key() != event.key() {
        return Err(format!("{text} is {} when it is read and written", read.to_json()));
    }
    let line = event.to_json_line();
    if line.contains(['\n', '\r']) {
        return Err(format!("{line:?} is more than a line"));
    }
    Event::from_json(&line, EVENT_BYTES_MAX).map_err(|error| format!("{line}: {error}"))?;
    let stored = probe::record(&probe::record_of(event, None))?;
    if stored != *event {
        return Err(format!("{event:?} is {stored:?} once it is stored"));
    }
    Ok(format!(
        "event with {} extensions, {:?}",
        "e".repeat(event.extensions().len().min(9)),
        event.data().map(std::mem::discriminant)
    ))
}
