//! The layer rules of ARCHITECTURE.md, and the order of the house, read from the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines: one that is longer is two rooms in one.
const LINES_MAX: usize = 800;

/// A source file.
struct Source {
    /// Its path from the project's root.
    path: String,
    text: String,
}

impl Source {
    /// Lines of code with their number, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        lines.map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
    }

    /// Where these words stand in the code, as `path:line`.
    fn mentions(&self, words: &[&str]) -> Vec<String> {
        let found = self.code().filter(|(_, code)| words.iter().any(|word| has_word(code, word)));
        found.map(|(at, code)| format!("{}:{at}: {}", self.path, code.trim())).collect()
    }

    /// The modules of the crate that it names with `crate::`, in `use` groups too, with the line.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut imports = Vec::new();
        for (at, code) in self.code() {
            for rest in code.split("crate::").skip(1) {
                let name: String =
                    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                imports.push((at, name));
            }
        }
        imports
    }
}

/// Whether `word` stands in `code` on its own, and not as a part of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(is_part)
            && !code[at + word.len()..].chars().next().is_some_and(is_part)
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All sources below a folder of the project, or the one file.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), folder, "rs", &mut found);
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

fn collect(at: &Path, path: &str, extension: &str, found: &mut Vec<Source>) {
    if at.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap()).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "target" && !name.starts_with('.') {
                collect(&entry.path(), &format!("{path}/{name}"), extension, found);
            }
        }
    } else if path.ends_with(&format!(".{extension}")) {
        found.push(Source { path: path.to_owned(), text: fs::read_to_string(at).unwrap() });
    }
}

const CRATES: [&str; 7] = ["benches", "host/src", "host/examples", "plugin-sdk", "plugins", "tests", "xtask"];

fn all_sources() -> Vec<Source> {
    CRATES.iter().flat_map(|folder| sources(folder)).collect()
}

#[track_caller]
fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

/// Sources outside these folders.
fn outside(folders: &[&str]) -> impl Iterator<Item = Source> {
    all_sources()
        .into_iter()
        .filter(move |source| !folders.iter().any(|folder| source.path.starts_with(folder)))
}

/// What the modules at these places import of these modules.
fn imported(places: &[&str], forbidden: &[&str]) -> Vec<String> {
    let is_at = |source: &Source, place: &str| {
        source.path == format!("host/src/{place}.rs")
            || source.path.starts_with(&format!("host/src/{place}/"))
    };
    let mut found = Vec::new();
    for source in sources("host/src") {
        if !places.iter().any(|place| is_at(&source, place)) {
            continue;
        }
        for (at, module) in source.imports() {
            if forbidden.contains(&module.as_str()) {
                found.push(format!("{}:{at}: crate::{module}", source.path));
            }
        }
    }
    found
}

#[test]
fn only_the_log_names_redb() {
    // One test of bad input writes a database of a newer format, which no tidegate can, the benchmarks hold a bus
    // against the bare database, and a mutant of the log is text.
    let allowed = [
        "host/src/log/",
        "benches/",
        "tests/system/tidy.rs",
        "tests/system/cli_bad_input.rs",
        "xtask/src/mutants.rs",
    ];
    // An application's own tables are made of what the library hands on.
    let is_handed_on = |line: &str| {
        line.contains("tidegate::redb::")
            || line.contains("crate::log::redb::")
            || line.starts_with("host/src/lib.rs:")
    };
    let found: Vec<_> = outside(&allowed)
        .flat_map(|source| source.mentions(&["redb"]))
        .filter(|line| !is_handed_on(line))
        .collect();
    assert_none(&found, "redb lives in host/src/log alone");
    assert!(sources("host/src/log").iter().any(|source| !source.mentions(&["redb"]).is_empty()));
}

#[test]
fn only_the_plugin_runtime_names_wasmtime() {
    let words = ["wasmtime", "wasmtime_wasi"];
    let found: Vec<_> = outside(&["host/src/plugin/", "tests/system/tidy.rs", "xtask/"])
        .flat_map(|source| source.mentions(&words))
        .collect();
    assert_none(&found, "wasmtime lives in host/src/plugin alone");
    assert!(sources("host/src/plugin").iter().any(|source| !source.mentions(&words).is_empty()));
}

#[test]
fn only_the_outboxes_name_the_databases_of_applications() {
    for (word, folder) in
        [("rusqlite", "host/src/outbox/sqlite/"), ("tokio_postgres", "host/src/outbox/postgres/")]
    {
        // The naive shop, which tidegate is held against, is an application with a database of its own.
        let found: Vec<_> = outside(&[folder, "tests/", "host/examples/shop/"])
            .flat_map(|source| source.mentions(&[word]))
            .collect();
        assert_none(&found, &format!("{word} lives in {folder} alone"));
        assert!(sources(folder).iter().any(|source| !source.mentions(&[word]).is_empty()));
    }
}

#[test]
fn only_the_relays_name_their_clients() {
    let words = ["async_nats", "hyper", "hyper_rustls", "hyper_util", "rustls"];
    let found: Vec<_> = sources("host/src")
        .iter()
        .filter(|source| !source.path.starts_with("host/src/relay/"))
        .flat_map(|source| source.mentions(&words))
        .collect();
    assert_none(&found, "clients of other systems live in host/src/relay alone");
    assert!(sources("host/src/relay").iter().any(|source| !source.mentions(&words).is_empty()));
}

#[test]
fn imports_point_down_only() {
    let above_delivery = ["bus", "server", "cli"];
    assert_none(
        &imported(&["delivery"], &[&above_delivery[..], &["plugin", "relay"]].concat()),
        "delivery is below these",
    );
    let above_log = [&above_delivery[..], &["delivery", "plugin", "relay"]].concat();
    assert_none(&imported(&["log"], &above_log), "the log is below these, and knows no plugin");
    let above_plugin = [&above_delivery[..], &["delivery", "log", "relay"]].concat();
    assert_none(&imported(&["plugin"], &above_plugin), "the plugin runtime is below these, and knows no log");
    let above_outbox = [&above_delivery[..], &["delivery", "plugin"]].concat();
    assert_none(&imported(&["outbox"], &above_outbox), "outboxes are below these, and know no consumer");
    assert_none(&imported(&["bus"], &["server", "cli"]), "the bus is below these");
    assert_none(&imported(&["server"], &["cli"]), "the server is below the command line");
    let above_relay = [&above_delivery[..], &["delivery", "log", "plugin"]].concat();
    assert_none(
        &imported(&["relay"], &above_relay),
        "a relay is a handler, and knows no more than another one",
    );
    let words = ["event", "error", "limits", "clock", "config", "ids", "handler", "effects", "upcast"];
    let above_words = [&above_log[..], &["log", "relay"]].concat();
    assert_none(&imported(&words, &above_words), "the words import nothing from above");
}

#[test]
fn the_binary_speaks_to_the_public_api_alone() {
    // It is a crate of its own beside the library: what it names of itself is the command line.
    let binary = sources("host/src").into_iter().filter(|source| is_binary(&source.path));
    let found: Vec<_> = binary
        .flat_map(|source| {
            let imports = source.imports().into_iter().filter(|(_, module)| module != "cli");
            imports.map(|(at, module)| format!("{}:{at}: crate::{module}", source.path)).collect::<Vec<_>>()
        })
        .collect();
    assert_none(&found, "the command line uses what an embedder can use");
    let library = fs::read_to_string(root().join("host/src/lib.rs")).unwrap();
    assert!(!library.contains("mod cli"), "the library is without the command line");
}

fn is_binary(path: &str) -> bool {
    path == "host/src/main.rs" || path.starts_with("host/src/cli/")
}

#[test]
fn every_file_belongs_to_a_module() {
    let mut dead = Vec::new();
    for krate in ["benches", "host", "plugin-sdk", "xtask", "tests/guests"] {
        let folder = format!("{krate}/src");
        let mut live: BTreeSet<String> = BTreeSet::new();
        for top in ["lib.rs", "main.rs"] {
            follow(&format!("{folder}/{top}"), &folder, &mut live);
        }
        dead.extend(
            sources(&folder).into_iter().map(|source| source.path).filter(|path| !live.contains(path)),
        );
    }
    let mut programs: Vec<_> = ["tests/system", "tests/crash", "tests/proof"].map(str::to_owned).into();
    for example in fs::read_dir(root().join("host/examples")).unwrap() {
        programs.push(format!("host/examples/{}", example.unwrap().file_name().to_string_lossy()));
    }
    for folder in programs {
        let mut live = BTreeSet::new();
        follow(&format!("{folder}/main.rs"), &folder, &mut live);
        dead.extend(
            sources(&folder).into_iter().map(|source| source.path).filter(|path| !live.contains(path)),
        );
    }
    assert_none(&dead, "no `mod` names these files");
}

/// Adds a file, whose modules lie in `folder`, and what it names with `mod`.
fn follow(path: &str, folder: &str, live: &mut BTreeSet<String>) {
    let Ok(text) = fs::read_to_string(root().join(path)) else {
        return;
    };
    live.insert(path.to_owned());
    for line in text.lines().map(str::trim) {
        let Some((before, rest)) = line.split_once("mod ") else {
            continue;
        };
        let is_declaration = before.is_empty() || before.starts_with("pub");
        if let Some(name) = rest.strip_suffix(';').filter(|_| is_declaration) {
            let below = format!("{folder}/{name}");
            follow(&format!("{below}.rs"), &below, live);
            follow(&format!("{below}/mod.rs"), &below, live);
        }
    }
}

#[test]
fn no_file_is_longer_than_two_rooms() {
    let long = all_sources().into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        let is_generated = source.text.starts_with("// Generated");
        (lines > LINES_MAX && !is_generated).then(|| format!("{}: {lines} lines", source.path))
    });
    assert_none(&long.collect::<Vec<_>>(), "a file has at most 800 lines");
}

#[test]
fn nothing_is_left_to_do_and_nothing_tells_of_a_machine() {
    let mut texts = all_sources();
    for extension in ["toml", "md", "wit"] {
        for folder in
            CRATES.iter().copied().chain(["wit", "docs", "Cargo.toml", "README.md", "ARCHITECTURE.md"])
        {
            let at = root().join(folder);
            if at.exists() {
                collect(&at, folder, extension, &mut texts);
            }
        }
    }
    let mut found = Vec::new();
    for source in texts.iter().filter(|source| source.path != "tests/system/tidy.rs") {
        for (at, line) in (1..).zip(source.text.lines()) {
            let unfinished =
                ["TODO", "FIXME", "XXX", "todo!", "unimplemented!"].iter().any(|word| has_word(line, word));
            let machine = ["/work/", "/root/", "/home/"].iter().any(|path| line.contains(path));
            let merge =
                ["<<<<<<< ", ">>>>>>> "].iter().any(|marker| line.starts_with(marker)) || line == "=======";
            if unfinished || machine || merge {
                found.push(format!("{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&found, "finish it, or leave it out");
}

#[test]
fn time_and_chance_are_read_in_one_place() {
    let words = ["SystemTime::now", "Instant::now", "Timestamp::now"];
    let found: Vec<_> = sources("host/src")
        .into_iter()
        .filter(|source| source.path != "host/src/clock.rs" && !is_binary(&source.path))
        .flat_map(|source| source.mentions(&words))
        .collect();
    assert_none(&found, "the clock is handed in");
}

/// Sources of the libraries: of the host without the binary, and of the plugin SDK without what runs in a guest alone,
/// which is a process of its own.
fn library_sources() -> impl Iterator<Item = Source> {
    let host = sources("host/src").into_iter().filter(|source| !is_binary(&source.path));
    let sdk = sources("plugin-sdk/src").into_iter();
    host.chain(sdk.filter(|source| source.path != "plugin-sdk/src/wasm.rs"))
}

/// Where these words stand in the libraries.
fn in_libraries(words: &[&str]) -> Vec<String> {
    library_sources().flat_map(|source| source.mentions(words)).collect()
}

#[test]
fn the_library_sets_no_logging_up_and_prints_nothing() {
    assert_none(&in_libraries(&["tracing_subscriber", "set_global_default"]), "the log is the application's");
    let words =
        ["println!", "eprintln!", "print!", "eprint!", "dbg!", "io::stdout", "io::stderr", "stdout()"];
    assert_none(&in_libraries(&words), "a library speaks by `tracing`, and by what it returns");
    let cli = sources("host/src/cli");
    assert!(cli.iter().any(|source| !source.mentions(&["tracing_subscriber"]).is_empty()));
}

#[test]
fn the_library_leaves_the_process_alone() {
    let words = [
        "env::var",
        "env::var_os",
        "env::set_var",
        "env::remove_var",
        "env::set_current_dir",
        "process::exit",
        "process::abort",
        "set_hook",
        "take_hook",
        "signal_hook",
        "sigaction",
        "signal::ctrl_c",
        "setrlimit",
        "umask",
    ];
    let mut found = in_libraries(&words);
    // A secret may be where a configuration says, and that may be the environment.
    found.retain(|line| !line.starts_with("host/src/config/secret.rs:") || !line.contains("env::var(name)"));
    assert_none(&found, "environment, signals, panic hooks and the end of the process are the application's");
}

#[test]
fn the_library_has_no_global_state() {
    let mut found = Vec::new();
    // In which bus's transaction a thread is: a thing of the thread, and of no bus but the one that it names.
    let of_a_thread = "host/src/log/transaction.rs";
    let host = |source: &Source| source.path.starts_with("host/") && source.path != of_a_thread;
    for source in library_sources().filter(host) {
        found.extend(source.mentions(&["lazy_static!", "thread_local!", "LazyLock", "static mut"]));
        for (at, code) in source.code() {
            // What doesn't change is a `const`.
            let before = code.split_once("static ").map(|(before, _)| before.trim());
            if before.is_some_and(|before| ["", "pub", "pub(crate)", "pub(super)"].contains(&before)) {
                found.push(format!("{}:{at}: {}", source.path, code.trim()));
            }
        }
    }
    assert_none(&found, "two buses in one process share nothing");
}
