//! The control socket: frames with requests as the server reads them, with answers as a client does, and now and then the
//! real server at the other end of a real socket. The first byte says which side; frames whose length is 0xffffffff get
//! the right one.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::TopicConfig;
use tidegate::server::{ControlServer, serve_control};
use tidegate::testing::{MemoryMedium, probe};
use tidegate::{Blocking, Bus, Options};

use super::Target;
use super::mutate::Chance;
use super::record::full_event;

/// One input in so many goes to the real server.
const REAL_EVERY: u64 = 16;

/// Inputs of a real server, after which there is a new one: some make topics, and some many.
const SERVER_INPUTS_MAX: u64 = 500;

/// Time that the server has for an answer, or for hanging up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer after which the client hangs up.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

const REQUESTS: [&str; 19] = [
    r#""topics""#,
    r#"{"create-topic":{"name":"b","config":{"partitions":2}}}"#,
    r#"{"publish":{"topic":"a","events":[{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a": 1.0}}]}}"#,
    r#"{"publish":{"topic":"a","events":[{"specversion":"1.0","id":"2","source":"/s","type":"t","data_base64":"AA=="}],"expected":1}}"#,
    r#"{"read":{"topic":"a","partition":null,"from":"earliest","limit":3,"follow":false}}"#,
    r#"{"read":{"topic":"a","partition":0,"from":{"offset":1},"limit":null,"follow":true}}"#,
    r#"{"read":{"topic":"a","partition":0,"from":{"time":"2018-01-31T00:00:00Z"},"limit":null,"follow":false}}"#,
    r#"{"read-key":{"topic":"a","key":"1","after":0,"limit":null}}"#,
    r#""consumers""#,
    r#"{"pause":{"consumer":"c"}}"#,
    r#"{"seek":{"consumer":"c","topic":null,"partition":0,"to":"latest"}}"#,
    r#"{"state":{"consumer":"c","partition":null,"prefix":""}}"#,
    r#""plugins""#,
    r#"{"dead-letters":{"consumer":"c","after":0,"limit":10}}"#,
    r#"{"redrive":{"consumer":"c","letters":[1,2]}}"#,
    r#"{"discard":{"consumer":"c","letters":[]}}"#,
    r#"{"forget":{"consumer":"c"}}"#,
    r#""outboxes""#,
    r#"{"failed-rows":{"outbox":"o","limit":1}}"#,
];

const ANSWERS: [&str; 9] = [
    r#""done""#,
    r#"{"refused":{"message":"no","actual":3}}"#,
    r#"{"answer":{"topics":[{"name":"a","created":"2018-01-31T00:00:00Z","config":{"partitions":1},"partitions":[{"first_offset":0,"next_offset":1,"bytes":10}]}]}}"#,
    r#"{"answer":{"published":[{"partition":0,"offset":0,"duplicate":false}]}}"#,
    r#"{"answer":{"record":{"partition":0,"offset":1,"appended":"2018-01-31T00:00:00Z","commit":2,"event":{"specversion":"1.0","id":"1","source":"/s","type":"t"}}}}"#,
    r#"{"answer":{"damaged":{"reason":"x"}}}"#,
    r#"{"answer":{"state":{"partition":3,"key":"bGFzdA==","value":"MTc="}}}"#,
    r#"{"answer":{"letter":{"id":1,"at":"2018-01-31T00:00:00Z","topic":"a","partition":0,"offset":0,"offset_last":0,"appended":"2018-01-31T00:00:00Z","reason":{"kind":"permanent","code":"c","message":"m"},"attempts":[],"first_attempt":"2018-01-31T00:00:00Z","version":{"name":"n","version":"1.0.0","hash":""},"redriven":false,"event":null}}}"#,
    r#"{"answer":{"consumers":[]}}"#,
];

pub struct Sockets {
    real: Real,
    runs: u64,
}

struct Real {
    folder: TempDir,
    bus: Blocking,
    _server: ControlServer,
    inputs: u64,
}

impl Sockets {
    pub fn new() -> Result<Self, String> {
        Ok(Self { real: Real::new()?, runs: 0 })
    }
}

fn frame(text: &str) -> Vec<u8> {
    [&u32::MAX.to_le_bytes(), text.as_bytes()].concat()
}

/// Writes the length of each frame that leaves it open: it goes to the next such frame.
fn close_frames(bytes: &mut [u8]) {
    let open = u32::MAX.to_le_bytes();
    let starts: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes.get(*at..at + 4).is_some_and(|length| length == open)).collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(bytes.len());
        let length = u32::try_from(end.saturating_sub(start + 4)).unwrap_or(0);
        bytes[*start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

impl Target for Sockets {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let hello = frame(r#"{"protocol":3,"version":"0.1.0"}"#);
        let welcome =
            frame(r#"{"Ok":{"protocol":3,"version":"0.1.0","process":1,"event_bytes_max":1048576}}"#);
        let asked = REQUESTS.iter().map(|text| [vec![0], hello.clone(), frame(text)].concat());
        let answered =
            ANSWERS.iter().map(|text| [vec![1], welcome.clone(), frame(text), frame("\"done\"")].concat());
        let refused = [vec![1], frame(r#"{"Err":{"message":"no"}}"#)].concat();
        asked.chain(answered).chain([refused, full_event().to_json().into_bytes()]).collect()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\xff\xff\xff\xff",
            b"null",
            b"\"",
            b"{",
            b"}",
            b":",
            b",",
            b"\"topic\":",
            b"\"limit\":",
            b"\"follow\":true",
            b"\"earliest\"",
            b"\"latest\"",
            b"{\"offset\":",
            b"18446744073709551615",
            b"-1",
            b"4294967296",
            b"\"letters\":[",
            b"\"after\":",
            b"\xff\xff\xff\xff\"topics\"",
            b"\xff\xff\xff\xff\"consumers\"",
            b"[[[[[[[[[[[[[[[[[[[[[[",
            b"\\u0000",
            b"\"partitions\":4096",
            b"9999-12-31T23:59:59Z",
            b"-9999-01-01T00:00:00Z",
            b"1e308",
            b"\"a/b\"",
            b"\"$a\"",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let Some((side, bytes)) = input.split_first() else { return Ok("nothing".to_owned()) };
        let mut bytes = bytes.to_vec();
        close_frames(&mut bytes);
        if side % 2 == 1 {
            return Ok(probe::answers(&bytes));
        }
        let outcome = probe::requests(&bytes)?;
        self.runs += 1;
        if self.runs.is_multiple_of(REAL_EVERY) {
            if self.real.inputs >= SERVER_INPUTS_MAX {
                self.real = Real::new()?;
            }
            self.real.ask(&bytes)?;
        }
        Ok(outcome)
    }

    fn change(&self, chance: &Chance, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        chance.change(input, self.words(), pool, self.bytes_max());
    }
}

impl Real {
    fn new() -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let options = Options::new(folder.path()).medium(MemoryMedium::new());
        let bus = Bus::open_with(options).map_err(|error| error.to_string())?.blocking();
        bus.create_topic("a", TopicConfig::new(1).sequence(true)).map_err(|error| error.to_string())?;
        bus.publish("a", full_event()).map_err(|error| error.to_string())?;
        let server = serve_control(bus.bus()).map_err(|error| error.to_string())?;
        Ok(Self { folder, bus, _server: server, inputs: 0 })
    }

    /// Sends bytes and no more. The server answers what it can, and hangs up; and serves the next one.
    fn ask(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inputs += 1;
        let answered =
            self.exchange(bytes).map_err(|error| format!("the server doesn't hang up: {error}"))?;
        if answered.is_empty() && bytes.starts_with(b"\x20\0\0\0{\"protocol\":2,\"version\":\"0.1.0\"}") {
            return Err("a right hello has no answer".to_owned());
        }
        let topics = self.bus.bus().topics();
        if topics.iter().any(|topic| topic.name == "a") {
            Ok(())
        } else {
            Err("topic `a` is gone".to_owned())
        }
    }

    fn exchange(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(self.folder.path().join("control.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Who has read enough to hang up doesn't read the rest.
        match stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)) {
            Err(error) if !is_hung_up(&error) => return Err(error),
            _ => {}
        }
        let mut answer = Vec::new();
        match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
            Err(error) if !is_hung_up(&error) => Err(error),
            _ => Ok(answer),
        }
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
