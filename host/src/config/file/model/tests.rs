use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::config::{
    AfterPublish, AggregateConfig, CommitMode, ContentMode, Grants, HttpRelayConfig, NatsAuth,
    NatsRelayConfig, OnDeadLetter, Order, OutboxDatabase, PluginConfig, PluginLimits, Secret, Start,
    TlsConfig,
};
use crate::schema::Compatibility;

const FULL: &str = r#"
[bus]
commit = "one-phase"
event_bytes_max = "2MiB"
cache_bytes = 33554432
journal_bytes = "1MiB"
free_bytes_min = "1GB"
blobs_bytes_max = "2GB"
[topics.quakes]
partitions = 4
retention = { age = "7d", bytes = "1GiB", force = true }
dedup = { age = "1h", count = 5 }
claim_check_over = "256KiB"
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
dataref_over = "8MiB"
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
[schemas]
folder = "schemas"
compatibility = "full"
subjects = { Quake = "backward-transitive", "eu.Quake" = "none" }
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
    assert_eq!(config.bus.journal_bytes, 1 << 20);
    assert_eq!(config.bus.free_bytes_min, 1_000_000_000);
    assert_eq!(config.bus.blobs_bytes_max, 2_000_000_000);
    let schemas = SchemasConfig::new("etc/schemas")
        .compatibility(Compatibility::Full)
        .subject("Quake", Compatibility::BackwardTransitive)
        .subject("eu.Quake", Compatibility::None);
    assert_eq!(config.schemas, Some(schemas));
    let retention = Retention::keep_for(Duration::from_hours(7 * 24)).bytes(1 << 30).force(true);
    let dedup = Dedup::new(Duration::from_hours(1), 5);
    let quakes = TopicConfig::new(4).retention(retention).dedup(dedup).claim_check_over(256 << 10);
    assert_eq!(config.topics["quakes"], quakes);
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
        .paused(true)
        .dataref_over(8 << 20);
    let settings =
        r#"{"areas":["ak","us"],"nested":{"n":16,"on":true},"since":"2018-01-31","threshold":5.0}"#;
    let plugin = PluginConfig::new("etc/plugins/quake_alerts.wasm")
        .grants(Grants::nothing().publish("alerts").state().log())
        .limits(PluginLimits::default().memory_bytes(32 << 20).deadline(Duration::from_millis(250)))
        .settings(settings);
    assert_eq!(config.consumers["alerts"], (consumer, plugin.into()));
    let outbox = OutboxConfig::sqlite("etc/shop.db", "/shop")
        .topic("quakes")
        .topics(["alerts"])
        .after(AfterPublish::Keep)
        .keep_for(Duration::from_hours(7 * 24))
        .poll(Duration::from_millis(20));
    assert_eq!(config.outboxes["shop"], outbox);
    let url = Secret::Env("TILL_URL".to_owned());
    assert_eq!(config.outboxes["till"], OutboxConfig::new(OutboxDatabase::Postgres(url), "/till"));
}

#[test]
fn what_is_left_out_has_its_default_and_no_grant() {
    assert_eq!(read("").unwrap(), Config::default());
    let config = read("[topics.a]\n[consumers.c]\nplugin='/p.wasm'\ntopics=['a']").unwrap();
    assert_eq!(config.topics["a"], TopicConfig::default());
    assert_eq!(config.consumers["c"], (ConsumerConfig::new(["a"]), PluginConfig::new("/p.wasm").into()));
    assert_eq!(config.consumers["c"].1.plugin().unwrap().grants, Grants::nothing());
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
    assert_eq!(full.schemas, Some(SchemasConfig::new("schemas").compatibility(Compatibility::default())));
    assert_eq!(full.topics["events"].dedup, Dedup::default());
    let (consumer, program) = &full.consumers["example"];
    assert_eq!(*consumer, ConsumerConfig::new(["events"]).dataref_over(8 << 20));
    assert_eq!(*program, PluginConfig::new("plugins/example.wasm").into());
    let aggregate = AggregateConfig::new("accounts").rejections("account-rejections");
    let accounts = PluginConfig::new("plugins/accounts.wasm").aggregate(aggregate);
    assert_eq!(full.consumers["accounts"].1, accounts.into());
    assert_eq!(full.consumers["webhook"].1, HttpRelayConfig::new("https://example.com/events").into());
    assert_eq!(full.consumers["stream"].1, NatsRelayConfig::new(["nats://localhost:4222"]).into());
    assert_eq!(full.outboxes["example"], OutboxConfig::sqlite("shop.db", "/shop").topic("events"));
}

#[test]
fn what_is_wrong_about_schemas_is_refused_with_its_line() {
    let modes = "`none`, `backward`, `forward` or `full`, the last three also with `-transitive`, as in `full-transitive`";
    for (settings, line, words) in [
        (
            "",
            1,
            "`schemas.folder` is missing; it is the folder with the files of schemas, relative to this file",
        ),
        (
            "folder = ''",
            2,
            "`schemas.folder` is empty; allowed is the path of a folder with the files of schemas",
        ),
        ("folder = 7", 2, "`schemas.folder` is `7`; allowed is a string"),
        (
            "folder = 's'\ncompatibility = 'sideways'",
            3,
            &format!("`schemas.compatibility` is `'sideways'`; allowed is {modes}"),
        ),
        (
            "folder = 's'\nsubjects.A = true",
            3,
            &format!("`schemas.subjects.A` is `true`; allowed is {modes}"),
        ),
        (
            "folder = 's'\n[schemas.subjects]\n'A.v1' = 'full'",
            4,
            "`schemas.subjects.\"A.v1\"` is of \"A.v1\"; allowed is an event type without its version",
        ),
        ("folder = 's'\nfolders = 's'", 3, "there is no setting `schemas.folders`; did you mean `folder`?"),
    ] {
        let told = refusal(&format!("[schemas]\n{settings}"));
        assert!(told.starts_with(&format!("etc/tidegate.toml:{line}: {words}")), "{told}");
    }
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
            "etc/tidegate.toml:2: there is no setting `topics.\"a.b\".colour`; known here are `partitions`, `retention`, `dedup`, `sequence`, `schemas`, `claim_check_over`",
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
            "etc/tidegate.toml:23: `consumers.alerts.retry.attempts` is 0; allowed is 1 to 100",
        ),
        (
            ("attempts = 3", "attempts = -3"),
            "`consumers.alerts.retry.attempts` is `-3`; allowed is a whole number, zero or more",
        ),
        (("base = \"1s\"", "base = \"2m\""), "`consumers.alerts.retry.base` is 2m; allowed is 1ms to 1m"),
        (("max = \"1m\"", "max = \"2d\""), "`consumers.alerts.retry.max` is 2d; allowed is 1ms to 1d"),
        (
            ("age = \"7d\"", "age = 7"),
            "etc/tidegate.toml:11: `topics.quakes.retention.age` is `7`; allowed is a duration",
        ),
        (("partitions = 4", "partitions = 5000"), "`topics.quakes.partitions` is 5000; allowed is 1 to 4096"),
        (
            ("\"2MiB\"", "\"1KiB\""),
            "etc/tidegate.toml:4: `bus.event_bytes_max` is 1KiB; allowed is 64KiB to 64MiB",
        ),
        (("33554432", "3.5"), "`bus.cache_bytes` is `3.5`; allowed is a size"),
        (("\"1MiB\"", "\"2GiB\""), "`bus.journal_bytes` is 2GiB; allowed is 0 to 1GiB"),
        (("33554432", "0"), "`bus.cache_bytes` is 0; allowed is 1MiB or more"),
        (("\"256KiB\"", "\"1KiB\""), "`topics.quakes.claim_check_over` is 1KiB; allowed is 16KiB to 64MiB"),
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
            "etc/tidegate.toml:16: `consumers.alerts.topics` is missing; it is a list",
        ),
        (
            ("\"plugins/quake_alerts.wasm\"", "\"\""),
            "etc/tidegate.toml:17: `consumers.alerts.plugin` is empty; allowed is the path",
        ),
        (
            ("source = \"/till\"", "sqlite = \"till.db\""),
            "`outboxes.till.postgres` is set; allowed is nothing, as `sqlite` says",
        ),
        (("source = \"/till\"", ""), "`outboxes.till.source` is missing; it is the `source` of the events"),
        (("sqlite = \"shop.db\"", ""), "`outboxes.shop.sqlite` is missing; it is the path"),
        (("{ env = \"TILL_URL\" }", "7"), "`outboxes.till.postgres` is of another kind; allowed is a string"),
        (("{ env = \"TILL_URL\" }", "''"), "`outboxes.till.postgres` is empty; allowed is a URL"),
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
            "etc/tidegate.toml:14: `topics.\"a b\"` is \"a b\"; allowed is a name of",
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
            "etc/tidegate.toml:18: consumer `alerts` reads topic `quakes` with 8 partitions and topic `alerts` with 4"
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
    assert_eq!(
        config.consumers["alerts"].1.plugin().unwrap().component,
        folder.path().join("plugins/quake_alerts.wasm")
    );
    std::fs::write(&path, "#".repeat(usize::try_from(CONFIG_BYTES_MAX).unwrap() + 1)).unwrap();
    assert!(matches!(Config::from_file(&path), Err(ConfigFileError::TooLarge { .. })));
}

const RELAYS: &str = r#"
[consumers.webhook]
topics = ["orders"]
retry = { attempts = 5 }
[consumers.webhook.http]
url = "https://example.com/events?a=b"
mode = "structured"
headers = { Authorization = { env = "TOKEN" }, X-Shop = "7", X-Key = { file = "secrets/key" } }
timeout = "3s"
connections = 4
tls = { ca = "ca.pem", certificate = "/c.pem", key = "k.pem" }
[consumers.stream]
topics = ["orders"]
[consumers.stream.nats]
servers = ["nats://a:4222", "tls://b"]
subject = "shop.{topic}.{key}"
stream = "SHOP"
mode = "binary"
timeout = "2s"
user = "relay"
password = { file = "secrets/password" }
tls = {}
"#;

#[test]
fn every_setting_of_relays_is_read() {
    let config = read(RELAYS).unwrap();
    let http = HttpRelayConfig::new("https://example.com/events?a=b")
        .mode(ContentMode::Structured)
        .header("Authorization", Secret::Env("TOKEN".to_owned()))
        .header("X-Shop", "7")
        .header("X-Key", Secret::File("etc/secrets/key".into()))
        .timeout(Duration::from_secs(3))
        .connections(4)
        .tls(TlsConfig::default().ca("etc/ca.pem").identity("/c.pem", "etc/k.pem"));
    let patient = ConsumerConfig::new(["orders"]).retry(RetryPolicy::patient());
    let retry = RetryPolicy::patient().attempts(5);
    assert_eq!(config.consumers["webhook"], (patient.clone().retry(retry), http.into()));
    let password = Secret::File("etc/secrets/password".into());
    let nats = NatsRelayConfig::new(["nats://a:4222", "tls://b"])
        .subject("shop.{topic}.{key}")
        .stream("SHOP")
        .mode(ContentMode::Binary)
        .timeout(Duration::from_secs(2))
        .auth(NatsAuth::Password { user: "relay".to_owned(), password })
        .tls(TlsConfig::default());
    assert_eq!(config.consumers["stream"], (patient, nats.into()));
    let files: Vec<_> = config.consumers["webhook"].1.files();
    assert_eq!(files, ["etc/secrets/key", "etc/ca.pem", "/c.pem", "etc/k.pem"].map(Path::new));
    assert_eq!(config.consumers["stream"].1.files(), [Path::new("etc/secrets/password")]);
}

#[test]
fn other_ways_to_be_known_to_nats_are_read() {
    let auth = |settings: &str| {
        let text =
            format!("[consumers.c]\ntopics=['a']\n[consumers.c.nats]\nservers=['nats://h']\n{settings}");
        match read(&text).unwrap().consumers.remove("c").unwrap().1 {
            ProgramConfig::Nats(relay) => relay.auth,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(auth(""), None);
    assert_eq!(auth("token = 't'"), Some(NatsAuth::Token("t".into())));
    let file = NatsAuth::Credentials(Secret::File("etc/relay.creds".into()));
    assert_eq!(auth("credentials = 'relay.creds'"), Some(file));
    let env = NatsAuth::Credentials(Secret::Env("CREDS".to_owned()));
    assert_eq!(auth("credentials = { env = 'CREDS' }"), Some(env));
}

#[test]
fn a_consumer_is_run_by_one_thing_with_the_settings_of_that() {
    let http = "http = { url = 'http://h/' }";
    for (settings, message) in [
        ("", "etc/tidegate.toml:1: `consumers.c.plugin` is missing"),
        (
            "plugin = 'p'\nhttp = { url = 'http://h/' }",
            "etc/tidegate.toml:4: `consumers.c.http` is set; allowed is nothing",
        ),
        (
            "http = { url = 'http://h/' }\ngrants = { state = true }",
            "etc/tidegate.toml:4: `consumers.c.grants` is set",
        ),
        ("http = {}", "`consumers.c.http.url` is missing"),
        ("http = { url = 'ftp://h/' }", "a URL that begins with `http://` or `https://`"),
        (
            "http = { url = 'http://h/', headers = { ce-id = '1' } }",
            "`consumers.c.http.headers` is \"ce-id\"",
        ),
        ("http = { url = 'http://h/', mode = 'batch' }", "allowed is `binary` or `structured`"),
        ("nats = { servers = [] }", "`consumers.c.nats.servers` is a list of 0"),
        ("nats = { servers = ['nats://h'], user = 'u' }", "`consumers.c.nats.password` is missing"),
        ("nats = { servers = ['nats://h'], password = 'p' }", "`consumers.c.nats.user` is missing"),
        (
            "nats = { servers = ['nats://h'], token = 't', credentials = 'c' }",
            "`consumers.c.nats.credentials` is set",
        ),
        (
            "nats = { servers = ['nats://h'], subject = '{topics}' }",
            "`consumers.c.nats.subject` is \"{topics}\"",
        ),
    ] {
        let told = refusal(&format!("[consumers.c]\ntopics = ['a']\n{settings}"));
        assert!(told.contains(message), "{told}");
    }
    assert!(read(&format!("[consumers.c]\ntopics = ['a']\n{http}")).is_ok());
}

#[test]
fn no_secret_is_repeated_by_a_refusal() {
    for settings in [
        "http = { url = 'http://u:hunter2@h/' }",
        "http = { url = ['http://h/?hunter2'] }",
        "http = { url = 'http://h/?hunter2 ' }",
        "http = { url = 'http://h/', headers = { Authorization = ['hunter2'] } }",
        "http = { url = 'http://h/', headers = { Authorization = 'hunter2', authorization = 'x' } }",
        "nats = { servers = ['nats://u:hunter2@h'] }",
        "nats = { servers = 'nats://u:hunter2@h' }",
        "nats = { servers = ['nats://h'], token = ['hunter2'] }",
        "nats = { servers = ['nats://h'], token = 'hunter2', credentials = 'c' }",
    ] {
        let told = refusal(&format!("[consumers.c]\ntopics = ['a']\n{settings}"));
        assert!(!told.contains("hunter2"), "{told}");
    }
}
