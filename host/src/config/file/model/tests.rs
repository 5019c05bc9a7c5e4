use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::config::{AfterPublish, CommitMode, OnDeadLetter, Order, OutboxDatabase, PostgresUrl, Start};

const FULL: &str = r#"
[bus]
commit = "one-phase"
event_bytes_max = "2MiB"
cache_bytes = 33554432
free_bytes_min = "1GB"
[topics.quakes]
partitions = 4
retention = { age = "7d", bytes = "1GiB", force = true }
dedup = { age = "1h", count = 5 }
[topics.alerts]
partitions = 4
[consumers.alerts]
plugin = "plugins/quake_alerts.wasm"
topics = ["quakes", "alerts"]
order = "partition"
start = 2018-01-31T00:00:00Z
held_max = 10
on_dead_letter = "park"
retry = { attempts = 3, base = "1s", max = "1m", age = "1h" }
grants = { publish = ["alerts"], state = true, log = true }
limits = { memory = "32MiB", deadline = "250ms" }
settings = { threshold = 5.0, since = 2018-01-31, areas = ["ak", "us"], nested = { on = true, n = 0x10 } }
paused = true
[outboxes.shop]
sqlite = "shop.db"
source = "/shop"
topic = "quakes"
topics = ["alerts"]
after = "keep"
keep_for = "7d"
poll = "20ms"
[outboxes.till]
postgres = { env = "TILL_URL" }
source = "/till"
"#;

fn read(text: &str) -> Result<Config, ConfigFileError> {
    Config::from_toml(text, Path::new("etc/tidegate.toml"))
}

fn refusal(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn every_setting_is_read() {
    let config = read(FULL).unwrap();
    assert_eq!(config.bus.commit, CommitMode::OnePhase);
    assert_eq!(config.bus.event_bytes_max, 2 << 20);
    assert_eq!(config.bus.cache_bytes, 32 << 20);
    assert_eq!(config.bus.free_bytes_min, 1_000_000_000);
    let retention = Retention::keep_for(Duration::from_hours(7 * 24)).bytes(1 << 30).force(true);
    let dedup = Dedup::new(Duration::from_hours(1), 5);
    assert_eq!(config.topics["quakes"], TopicConfig::new(4).retention(retention).dedup(dedup));
    let retry = RetryPolicy::default()
        .attempts(3)
        .backoff(Duration::from_secs(1), Duration::from_mins(1))
        .age(Duration::from_hours(1));
    let consumer = ConsumerConfig::new(["quakes", "alerts"])
        .order(Order::Partition)
        .start(Start::Time(Timestamp(1_517_356_800_000_000)))
        .held_max(10)
        .on_dead_letter(OnDeadLetter::Park)
        .retry(retry)
        .paused(true);
    let settings =
        r#"{"areas":["ak","us"],"nested":{"n":16,"on":true},"since":"2018-01-31","threshold":5.0}"#;
    let plugin = PluginConfig::new("etc/plugins/quake_alerts.wasm")
        .grants(Grants::nothing().publish("alerts").state().log())
        .limits(PluginLimits::default().memory_bytes(32 << 20).deadline(Duration::from_millis(250)))
        .settings(settings);
    assert_eq!(config.consumers["alerts"], (consumer, plugin));
    let outbox = OutboxConfig::sqlite("etc/shop.db", "/shop")
        .topic("quakes")
        .topics(["alerts"])
        .after(AfterPublish::Keep)
        .keep_for(Duration::from_hours(7 * 24))
        .poll(Duration::from_millis(20));
    assert_eq!(config.outboxes["shop"], outbox);
    let url = PostgresUrl::Env("TILL_URL".to_owned());
    assert_eq!(config.outboxes["till"], OutboxConfig::new(OutboxDatabase::Postgres(url), "/till"));
}

#[test]
fn what_is_left_out_has_its_default_and_no_grant() {
    assert_eq!(read("").unwrap(), Config::default());
    let config = read("[topics.a]\n[consumers.c]\nplugin='/p.wasm'\ntopics=['a']").unwrap();
    assert_eq!(config.topics["a"], TopicConfig::default());
    assert_eq!(config.consumers["c"], (ConsumerConfig::new(["a"]), PluginConfig::new("/p.wasm")));
    assert_eq!(config.consumers["c"].1.grants, Grants::nothing());
}

#[test]
fn the_template_is_read_as_it_is_and_with_all_its_settings() {
    let config = Config::from_toml(Config::template(), Path::new("tidegate.toml")).unwrap();
    assert_eq!(config.topics.keys().collect::<Vec<_>>(), ["events"]);
    assert_eq!(config.topics["events"], TopicConfig::default());
    assert!(config.consumers.is_empty());

    let uncommented: String = Config::template()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let full = Config::from_toml(&uncommented, Path::new("tidegate.toml")).unwrap();
    assert_eq!(full.bus, BusConfig::default());
    assert_eq!(full.topics["events"].dedup, Dedup::default());
    let (consumer, plugin) = &full.consumers["example"];
    assert_eq!(*consumer, ConsumerConfig::new(["events"]));
    assert_eq!(*plugin, PluginConfig::new("plugins/example.wasm"));
    assert_eq!(full.outboxes["example"], OutboxConfig::sqlite("shop.db", "/shop").topic("events"));
}

#[test]
fn an_unknown_setting_is_refused_with_its_line_and_the_nearest_one() {
    for (text, message) in [
        ("[buss]", "etc/tidegate.toml:1: there is no setting `buss`; did you mean `bus`?"),
        (
            "\n[topics.a]\npartition = 1",
            "etc/tidegate.toml:3: there is no setting `topics.a.partition`; did you mean `partitions`?",
        ),
        (
            "[consumers.c]\nplugin = 'p'\ntopics = ['a']\nretry = { attemps = 3 }",
            "etc/tidegate.toml:4: there is no setting `consumers.c.retry.attemps`; did you mean `attempts`?",
        ),
        (
            "[topics.\"a.b\"]\ncolour = 1",
            "etc/tidegate.toml:2: there is no setting `topics.\"a.b\".colour`; known here are `partitions`, `retention`, `dedup`",
        ),
    ] {
        assert_eq!(refusal(text), message);
    }
}

#[test]
fn a_value_out_of_its_bounds_is_refused_with_its_line_its_path_and_the_bounds() {
    for (change, message) in [
        (
            ("attempts = 3", "attempts = 0"),
            "etc/tidegate.toml:20: `consumers.alerts.retry.attempts` is 0; allowed is 1 to 100",
        ),
        (
            ("attempts = 3", "attempts = -3"),
            "`consumers.alerts.retry.attempts` is `-3`; allowed is a whole number, zero or more",
        ),
        (("base = \"1s\"", "base = \"2m\""), "`consumers.alerts.retry.base` is 2m; allowed is 1ms to 1m"),
        (("max = \"1m\"", "max = \"2d\""), "`consumers.alerts.retry.max` is 2d; allowed is 1ms to 1d"),
        (
            ("age = \"7d\"", "age = 7"),
            "etc/tidegate.toml:9: `topics.quakes.retention.age` is `7`; allowed is a duration",
        ),
        (("partitions = 4", "partitions = 5000"), "`topics.quakes.partitions` is 5000; allowed is 1 to 4096"),
        (
            ("\"2MiB\"", "\"1KiB\""),
            "etc/tidegate.toml:4: `bus.event_bytes_max` is 1KiB; allowed is 64KiB to 64MiB",
        ),
        (("33554432", "3.5"), "`bus.cache_bytes` is `3.5`; allowed is a size"),
        (("33554432", "0"), "`bus.cache_bytes` is 0; allowed is 1MiB or more"),
        (("one-phase", "fast"), "`bus.commit` is `\"fast\"`; allowed is `quick-repair` or `one-phase`"),
        (
            ("2018-01-31T00:00:00Z", "2018-01-31"),
            "`consumers.alerts.start` is `2018-01-31`; allowed is `earliest`",
        ),
        (("held_max = 10", "held_max = 0"), "`consumers.alerts.held_max` is 0; allowed is 1 to 1000000"),
        (("paused = true", "paused = 1"), "`consumers.alerts.paused` is `1`; allowed is `true` or `false`"),
        (
            ("state = true", "state = 'yes'"),
            "`consumers.alerts.grants.state` is `'yes'`; allowed is `true` or `false`",
        ),
        (("[\"alerts\"]", "[\"$a\"]"), "`consumers.alerts.grants.publish` is \"$a\"; allowed is a name of"),
        (("32MiB", "1GiB"), "`consumers.alerts.limits.memory` is 1GiB; allowed is 1MiB to 512MiB"),
        (("threshold = 5.0", "threshold = nan"), "`consumers.alerts.settings` is `{ threshold = nan"),
        (
            ("\"quakes\", \"alerts\"", "\"quakes\", \"quakes\""),
            "`consumers.alerts.topics` is \"quakes\" twice; allowed is each topic once",
        ),
        (
            ("topics = [\"quakes\", \"alerts\"]", "topics = []"),
            "`consumers.alerts.topics` is a list of 0; allowed is 1 to 64",
        ),
        (
            ("topics = [\"quakes\", \"alerts\"]\n", ""),
            "etc/tidegate.toml:13: `consumers.alerts.topics` is missing; it is a list",
        ),
        (
            ("\"plugins/quake_alerts.wasm\"", "\"\""),
            "etc/tidegate.toml:14: `consumers.alerts.plugin` is empty; allowed is the path",
        ),
        (
            ("source = \"/till\"", "sqlite = \"till.db\""),
            "`outboxes.till.postgres` is something else; allowed is either `sqlite` or `postgres`",
        ),
        (("source = \"/till\"", ""), "`outboxes.till.source` is missing; it is the `source` of the events"),
        (("sqlite = \"shop.db\"", ""), "`outboxes.shop.sqlite` is missing; it is the path"),
        (("{ env = \"TILL_URL\" }", "7"), "`outboxes.till.postgres` is something else; allowed is a URL"),
        (("{ env = \"TILL_URL\" }", "{}"), "`outboxes.till.postgres` is something else; allowed is a URL"),
        (("\"TILL_URL\"", "\"\""), "`outboxes.till.postgres` is empty or no name; allowed is the name of an"),
        (
            ("after = \"keep\"", "after = \"burn\""),
            "`outboxes.shop.after` is `\"burn\"`; allowed is `delete` or `keep`",
        ),
        (
            ("after = \"keep\"\n", ""),
            "`outboxes.shop.keep_for` is set; allowed is only beside `after = \"keep\"`",
        ),
        (("poll = \"20ms\"", "poll = \"2h\""), "`outboxes.shop.poll` is 2h; allowed is 1ms to 1h"),
        (("\"/till\"", "\"no URI\""), "`outboxes.till.source` is \"no URI\"; allowed is a URI-reference"),
        (
            ("[topics.alerts]", "[topics.\"a b\"]"),
            "etc/tidegate.toml:11: `topics.\"a b\"` is \"a b\"; allowed is a name of",
        ),
    ] {
        let (from, to) = change;
        assert!(FULL.contains(from), "{from}");
        let found = refusal(&FULL.replacen(from, to, 1));
        assert!(found.contains(message), "{to}: {found}");
    }
}

#[test]
fn topics_of_one_consumer_have_equal_numbers_of_partitions() {
    let found = refusal(&FULL.replacen("partitions = 4", "partitions = 8", 1));
    assert!(
        found.starts_with(
            "etc/tidegate.toml:15: consumer `alerts` reads topic `quakes` with 8 partitions and topic `alerts` with 4"
        ),
        "{found}"
    );
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    for (text, line) in [
        ("a = ", 1),
        ("[bus]\n[bus]", 2),
        ("[bus]\ncommit = 'one-phase'\ncommit = 'one-phase'", 3),
        ("\n\n]", 3),
    ] {
        let found = refusal(text);
        assert!(found.starts_with(&format!("etc/tidegate.toml:{line}: not TOML: ")), "{found}");
    }
    let deep = format!("[bus]\ncommit = {}", "[".repeat(100_000));
    assert!(refusal(&deep).starts_with("etc/tidegate.toml:2: not TOML: "));
}

#[test]
fn a_file_is_read_up_to_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    assert!(matches!(Config::from_file(&path), Err(ConfigFileError::Read { .. })));
    std::fs::write(&path, FULL).unwrap();
    let config = Config::from_file(&path).unwrap();
    assert_eq!(config.consumers["alerts"].1.component, folder.path().join("plugins/quake_alerts.wasm"));
    std::fs::write(&path, "#".repeat(usize::try_from(CONFIG_BYTES_MAX).unwrap() + 1)).unwrap();
    assert!(matches!(Config::from_file(&path), Err(ConfigFileError::TooLarge { .. })));
}
