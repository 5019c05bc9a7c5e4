//! The configuration file: its bus, topics, consumers, plugins, relays and outboxes.

use std::path::Path;

use tidegate::config::Config;

use super::Target;

pub struct Configs;

const FULL: &str = r#"
[bus]
commit = "one-phase"
event_bytes_max = "2MiB"
cache_bytes = 1048576
free_bytes_min = "0"
[schemas]
folder = "schemas"
compatibility = "full"
subjects = { A = "none" }
[topics.orders]
partitions = 12
sequence = true
retention = { age = "7d", bytes = "1GiB", force = true }
dedup = { age = "24h", count = 1000 }
[topics."two"]
partitions = 12
[consumers.alerts]
plugin = "plugins/alerts.wasm"
topics = ["orders", "two"]
order = "partition"
start = "2018-01-31T00:00:00Z"
held_max = 5
on_dead_letter = "park"
retry = { attempts = 8, base = "200ms", max = "5m", age = "24h" }
grants = { publish = ["two"], state = true, log = true }
limits = { memory = "64MiB", deadline = "5s" }
settings = { a = 1, b = [1.5, "x", { c = true }], when = 2018-01-31T00:00:00Z }
paused = true
[consumers.webhook]
topics = ["orders"]
http = { url = "https://example.com/events", mode = "binary", headers = { a = "b", secret = { env = "NAME" } }, timeout = "10s", connections = 16 }
[consumers.stream]
topics = ["orders"]
nats = { servers = ["nats://localhost:4222"], subject = "a.{topic}.{key}", mode = "structured", timeout = "10s" }
[outboxes.shop]
sqlite = "shop.db"
source = "/shop"
topic = "orders"
after = "keep"
keep_for = "7d"
poll = "100ms"
[outboxes.other]
postgres = { file = "path" }
source = "/other"
topics = ["orders"]
"#;

impl Target for Configs {
    fn seeds(&self) -> Vec<Vec<u8>> {
        // The template with all of its settings, and as it is.
        let template = Config::template();
        let all: String = template
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n"
            })
            .collect();
        vec![FULL.into(), template.into(), all.into(), "[topics.a]\n".into()]
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"[",
            b"]",
            b"[[",
            b"]]",
            b"{ ",
            b" }",
            b" = ",
            b"\n",
            b"\"\"\"",
            b"'''",
            b"# ",
            b"inf",
            b"nan",
            b"true",
            b"0x7fff_ffff",
            b"-1",
            b"1e400",
            b"\"999999999999999999999d\"",
            b"\"18446744073709551615\"",
            b"\"1.5GiB\"",
            b"18446744073709551616",
            b"9223372036854775807",
            b"[topics.a]\n",
            b"[consumers.a]\n",
            b"[outboxes.a]\n",
            b"plugin = \"a\"\n",
            b"topics = []\n",
            b"settings.",
            b".a.b.c",
            b"\"\\u0000\"",
            b"\"\\U0010ffff\"",
            b"\xff",
            b"\xc3\xa9",
            b"1979-05-27T07:32:00Z",
            b"{topic}",
            b"{",
            b"}}",
            b"http = { url = \"http://[::1]:99999/\" }\n",
            b"env = \"A\"",
            b"file = \"a\"",
            b"$",
            b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let Ok(text) = std::str::from_utf8(input) else { return Ok("no text".to_owned()) };
        let lines = text.lines().count().max(1);
        match Config::from_toml(text, Path::new("t.toml")) {
            Ok(config) => {
                config.validate().map_err(|error| format!("it is read and then refused: {error}"))?;
                for (_, program) in config.consumers.values() {
                    program
                        .validate()
                        .map_err(|error| format!("a program is read and then refused: {error}"))?;
                }
                Ok(format!(
                    "{:?} {} {} {}",
                    config.bus.commit,
                    "t".repeat(config.topics.len()),
                    "c".repeat(config.consumers.len()),
                    "o".repeat(config.outboxes.len())
                ))
            }
            Err(error) => {
                let said = error.to_string();
                // An error names the line, and the line is there.
                let line = said
                    .strip_prefix("t.toml:")
                    .and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
                match line {
                    Some(line) if (1..=lines + 1).contains(&line) => Ok(said),
                    _ => Err(format!("the error names no line of the file: {said}")),
                }
            }
        }
    }
}
