//! `docs/configuration.md`, and the file that `tidegate init` writes: neither leaves a setting out.

use std::path::Path;

use tidegate::config::{Config, ConfigFileError};

/// A setting that there is nowhere, and that is like none.
const STRANGER: &str = "xxxxxxxxxxxxxxxx";

/// Each table of settings: the heading that its settings stand below, what stands before their names there, and a file that has
/// the stranger in that table.
const TABLES: [(&str, &str, &str); 16] = [
    ("`[bus]`", "", "[bus]\n?"),
    ("`[schemas]`", "", "[schemas]\n?"),
    ("`[topics.NAME]`", "", "[topics.t]\n?"),
    ("`[topics.NAME]`", "retention.", "[topics.t]\nretention = { ? }"),
    ("`[topics.NAME]`", "dedup.", "[topics.t]\ndedup = { ? }"),
    ("`[upcasters.NAME]`", "", "[upcasters.u]\n?"),
    ("`[upcasters.NAME]`", "limits.", "[upcasters.u]\nplugin = 'u.wasm'\nlimits = { ? }"),
    ("`[consumers.NAME]`", "", "[consumers.c]\n?"),
    ("`[consumers.NAME]`", "retry.", "[consumers.c]\ntopics = ['t']\nplugin = 'c.wasm'\nretry = { ? }"),
    ("`[consumers.NAME]`", "grants.", "[consumers.c]\ntopics = ['t']\nplugin = 'c.wasm'\ngrants = { ? }"),
    ("`[consumers.NAME]`", "limits.", "[consumers.c]\ntopics = ['t']\nplugin = 'c.wasm'\nlimits = { ? }"),
    ("`aggregate`", "", "[consumers.c]\ntopics = ['t']\nplugin = 'c.wasm'\naggregate = { ? }"),
    ("`http`", "", "[consumers.c]\ntopics = ['t']\nhttp = { ? }"),
    ("`http`", "tls.", "[consumers.c]\ntopics = ['t']\nhttp = { url = 'https://example.com', tls = { ? } }"),
    ("`nats`", "", "[consumers.c]\ntopics = ['t']\nnats = { ? }"),
    ("`[outboxes.NAME]`", "", "[outboxes.o]\n?"),
];

#[test]
fn no_setting_is_left_out_of_the_reference_and_of_the_file_that_init_writes() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    for (heading, prefix, file) in TABLES {
        let (_, section) = reference.split_once(&format!("# {heading}\n")).unwrap();
        let section = section.split("\n##").next().unwrap();
        for setting in known(file) {
            let name = format!("`{prefix}{setting}");
            let is_there = [format!("{name}`"), format!("{name}.")].iter().any(|name| section.contains(name));
            assert!(is_there, "docs/configuration.md has no {prefix}{setting} below {heading}");
            let is_there = [format!("{setting} = "), format!(".{setting}]"), format!("`{setting}`")];
            let is_there = is_there.iter().any(|setting| Config::template().contains(setting));
            assert!(is_there, "`tidegate init` says nothing of {prefix}{setting} of {heading}");
        }
    }
}

/// The settings that there are where a file has the stranger: they are told when it is refused.
fn known(file: &str) -> Vec<String> {
    let text = file.replace('?', &format!("{STRANGER} = 1"));
    match Config::from_toml(&text, Path::new("tidegate.toml")) {
        Err(ConfigFileError::UnknownKey { key, remedy, .. }) => {
            assert!(key.ends_with(STRANGER) && remedy.starts_with("known here are "), "{key}: {remedy}");
            remedy.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        }
        other => panic!("{text}: {other:?}"),
    }
}
