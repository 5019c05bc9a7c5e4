//! What runs a consumer, read from its table.

use std::path::{Path, PathBuf};

use super::super::{
    AggregateConfig, ContentMode, Grants, HttpRelayConfig, NatsAuth, NatsRelayConfig, PluginConfig,
    PluginLimits, ProgramConfig, RetryPolicy, Secret, TlsConfig,
};
use super::ConfigFileError;
use super::model::set;
use super::table::{Entry, Table};

/// The settings of a consumer that say what runs it. The first three are the kinds; the others are a plugin's.
pub(super) const PROGRAM_SETTINGS: [&str; 7] =
    ["plugin", "http", "nats", "grants", "limits", "settings", "aggregate"];

const PLUGIN: &str = "the path of a WebAssembly component, relative to the configuration file";

/// Reads what runs a consumer. Paths are relative to `folder`.
pub(super) fn read_program(table: &Table<'_>, folder: &Path) -> Result<ProgramConfig, ConfigFileError> {
    let kinds = ["plugin", "http", "nats"].map(|kind| table.get(kind).map(|entry| (kind, entry)));
    let mut kinds = kinds.into_iter().flatten();
    let Some((kind, entry)) = kinds.next() else {
        let allowed = format!("{PLUGIN}; a consumer may have `http` or `nats` instead, for a relay");
        return Err(table.missing("plugin", &allowed));
    };
    if let Some((other, entry)) = kinds.next() {
        let why =
            format!("`{kind}` runs the consumer already: make a consumer for each of `{kind}` and `{other}`");
        return Err(entry.refuse_presence(&why));
    }
    if kind == "plugin" {
        return read_plugin(table, &entry, folder).map(ProgramConfig::Plugin);
    }
    for setting in ["grants", "limits", "settings", "aggregate"] {
        if let Some(entry) = table.get(setting) {
            return Err(entry.refuse_presence(&format!("it is a plugin's, and `{kind}` runs the consumer")));
        }
    }
    match kind {
        "http" => read_http(entry, folder).map(ProgramConfig::Http),
        _ => read_nats(entry, folder).map(ProgramConfig::Nats),
    }
}

/// The retries of a consumer whose table says nothing of them: another system is down for longer than a plugin is.
pub(super) fn default_retry(program: &ProgramConfig) -> RetryPolicy {
    match program {
        ProgramConfig::Plugin(_) => RetryPolicy::default(),
        ProgramConfig::Http(_) | ProgramConfig::Nats(_) => RetryPolicy::patient(),
    }
}

fn read_plugin(
    table: &Table<'_>,
    component: &Entry<'_>,
    folder: &Path,
) -> Result<PluginConfig, ConfigFileError> {
    let mut plugin = PluginConfig::new(resolve(folder, component.string()?));
    if let Some(entry) = table.get("grants") {
        plugin.grants = read_grants(entry)?;
    }
    if let Some(entry) = table.get("limits") {
        plugin.limits = read_limits(entry)?;
    }
    if let Some(settings) = table.get("settings") {
        plugin.settings = settings.json_object()?.to_string();
    }
    if let Some(entry) = table.get("aggregate") {
        plugin.aggregate = Some(read_aggregate(entry)?);
    }
    Ok(plugin)
}

fn read_aggregate(entry: Entry<'_>) -> Result<AggregateConfig, ConfigFileError> {
    let table = entry.table(&["stream", "rejections", "snapshot_every", "cache_count", "cache_bytes"])?;
    let stream = table.require("stream", "the topic of the aggregate's events")?;
    let mut aggregate = AggregateConfig::new(stream.string()?);
    if let Some(rejections) = table.get("rejections") {
        aggregate.rejections = Some(rejections.string()?.to_owned());
    }
    set(&mut aggregate.snapshot_every, table.get("snapshot_every"), Entry::number)?;
    set(&mut aggregate.cache_count, table.get("cache_count"), Entry::number)?;
    set(&mut aggregate.cache_bytes, table.get("cache_bytes"), Entry::memory_bytes)?;
    Ok(aggregate)
}

fn read_grants(entry: Entry<'_>) -> Result<Grants, ConfigFileError> {
    let table = entry.table(&["publish", "state", "log"])?;
    let mut grants = Grants::nothing();
    set(&mut grants.publish, table.get("publish"), Entry::strings)?;
    set(&mut grants.state, table.get("state"), Entry::boolean)?;
    set(&mut grants.log, table.get("log"), Entry::boolean)?;
    Ok(grants)
}

pub(super) fn read_limits(entry: Entry<'_>) -> Result<PluginLimits, ConfigFileError> {
    let table = entry.table(&["memory", "deadline"])?;
    let mut limits = PluginLimits::default();
    set(&mut limits.memory_bytes, table.get("memory"), Entry::memory_bytes)?;
    set(&mut limits.deadline, table.get("deadline"), Entry::duration)?;
    Ok(limits)
}

fn read_http(entry: Entry<'_>, folder: &Path) -> Result<HttpRelayConfig, ConfigFileError> {
    let table = entry.table(&["url", "mode", "headers", "timeout", "connections", "tls"])?;
    let mut relay = HttpRelayConfig::new(table.require("url", "the URL of an HTTP endpoint")?.secret_text()?);
    set(&mut relay.mode, table.get("mode"), Entry::word::<ContentMode>)?;
    set(&mut relay.timeout, table.get("timeout"), Entry::duration)?;
    set(&mut relay.connections, table.get("connections"), Entry::number)?;
    if let Some(headers) = table.get("headers") {
        for (name, value) in headers.free_table()?.entries() {
            relay.headers.insert(name.to_owned(), read_secret(value, folder)?);
        }
    }
    if let Some(tls) = table.get("tls") {
        relay.tls = read_tls(tls, folder)?;
    }
    Ok(relay)
}

fn read_nats(entry: Entry<'_>, folder: &Path) -> Result<NatsRelayConfig, ConfigFileError> {
    let table = entry.table(&[
        "servers",
        "subject",
        "stream",
        "mode",
        "timeout",
        "user",
        "password",
        "token",
        "credentials",
        "tls",
    ])?;
    let servers = table.require("servers", "a list of URLs such as `nats://localhost:4222`")?;
    let mut relay = NatsRelayConfig::new(servers.secret_texts()?);
    set(&mut relay.subject, table.get("subject"), |entry| entry.string().map(str::to_owned))?;
    set(&mut relay.stream, table.get("stream"), |entry| entry.string().map(|name| Some(name.to_owned())))?;
    set(&mut relay.mode, table.get("mode"), Entry::word::<ContentMode>)?;
    set(&mut relay.timeout, table.get("timeout"), Entry::duration)?;
    relay.auth = read_auth(&table, folder)?;
    relay.tls = table.get("tls").map(|tls| read_tls(tls, folder)).transpose()?;
    Ok(relay)
}

/// At most one of a user with a password, a token, and credentials.
fn read_auth(table: &Table<'_>, folder: &Path) -> Result<Option<NatsAuth>, ConfigFileError> {
    const ONE: &str = "there is another of `user` with `password`, `token` and `credentials` already";
    let user = table.get("user").map(|user| user.string().map(str::to_owned)).transpose()?;
    let mut auths = Vec::new();
    if let Some(user) = user {
        let password = read_secret(table.require("password", "the user's password")?, folder)?;
        auths.push(("user", NatsAuth::Password { user, password }));
    } else if table.get("password").is_some() {
        return Err(table.missing("user", "the name of the user whose password stands there"));
    }
    if let Some(token) = table.get("token") {
        auths.push(("token", NatsAuth::Token(read_secret(token, folder)?)));
    }
    if let Some(credentials) = table.get("credentials") {
        // What they hold stands in a file by its nature: a text is its path.
        let credentials = match credentials.string() {
            Ok(path) => Secret::File(resolve(folder, path)),
            Err(_) => read_secret(credentials, folder)?,
        };
        auths.push(("credentials", NatsAuth::Credentials(credentials)));
    }
    if auths.len() > 1
        && let Some(entry) = auths.last().and_then(|(setting, _)| table.get(setting))
    {
        return Err(entry.refuse_presence(ONE));
    }
    Ok(auths.pop().map(|(_, auth)| auth))
}

/// A text, or a table that says where the text is. What is wrong with it is told without showing it.
pub(super) fn read_secret(entry: Entry<'_>, folder: &Path) -> Result<Secret, ConfigFileError> {
    const ALLOWED: &str = "a string, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";
    if let Some(text) = entry.text() {
        return Ok(Secret::Value(text.to_owned()));
    }
    if !entry.is_table() {
        return Err(entry.refuse_unseen(ALLOWED));
    }
    let table = entry.table(&["env", "file"])?;
    match (table.get("env"), table.get("file")) {
        (Some(name), None) => Ok(Secret::Env(name.string()?.to_owned())),
        (None, Some(path)) => Ok(Secret::File(resolve(folder, path.string()?))),
        (Some(_), Some(file)) => Err(file.refuse_presence("`env` says where the secret is")),
        (None, None) => Err(table.missing("env", ALLOWED)),
    }
}

fn read_tls(entry: Entry<'_>, folder: &Path) -> Result<TlsConfig, ConfigFileError> {
    let table = entry.table(&["ca", "certificate", "key"])?;
    let file = |name| {
        let path = table.get(name).map(|path| path.string().map(|path| resolve(folder, path)));
        path.transpose()
    };
    Ok(TlsConfig { ca: file("ca")?, certificate: file("certificate")?, key: file("key")? })
}

/// An empty path stays empty, to be refused, where joining would make it the folder.
pub(super) fn resolve(folder: &Path, component: &str) -> PathBuf {
    if component.is_empty() { PathBuf::new() } else { folder.join(component) }
}
