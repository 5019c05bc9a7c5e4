//! The chapters of `docs/patterns`: the example of each runs as a reader would run it, and shows what the chapter says.
//!
//! What runs are the `sh` blocks under `## An example`. Where one ends with `tidegate run`, those behind it are for
//! another terminal: they run once the bus has said that it is ready. `cargo xtask plugins` isn't run: the tests need it
//! anyway.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::cli_process::binary;

/// The only chapter without a script of its own: its example is `cargo xtask shop`, which the tests of the shop play.
const PLAYED_ELSEWHERE: &str = "shop";

/// Looks at a script or at the bus that runs, of 10 ms each, before it counts as one that doesn't come to its end.
const LOOKS: usize = 12_000;

/// A test for each chapter: what it is called, the chapter's file, and what has to be in the output of its example.
macro_rules! chapters {
    ($($test:ident: $chapter:literal shows $shown:expr;)*) => {
        const CHAPTERS: &[&str] = &[$($chapter),*];

        $(#[test]
        fn $test() {
            play($chapter, &$shown);
        })*
    };
}

chapters! {
    a_trace_has_what_an_order_has_caused: "causation" shows [
        "OrderPlaced.v1  orders ",
        "timer unpaid of order-reminder, which has come",
        "OrderUnpaid.v1  reminders ",
    ];
    large_data_is_kept_beside_the_log: "claim-check" shows [
        "tidegate:blob/sha256/",
        "1 blobs were read, 0 of them are missing or damaged",
    ];
    commands_are_decided_on_and_repeated_ones_are_not: "event-sourcing" shows [
        "accepted: version 1, 1 new",
        "accepted: version 2, 1 new\naccepted: version 2, 1 new\n",
        "rejected: overdrawn: account `account-9` has 450 cents, and 500 are asked for",
        "exit code 6",
        r#"{"owner":"ann","cents":450}"#,
        "AccountOpened.v1",
    ];
    a_model_answers_from_all_events: "read-models" shows ["\n1707\n", r#""mag":6.4"#, "generation 1 answers"];
    a_payment_that_is_refused_gives_the_stock_back: "sagas" shows [
        "ReserveStock.v1",
        "TakePayment.v1",
        "ReleaseStock.v1",
        "OrderRejected.v1",
        "saga 17 of consumer order-saga: compensated",
    ];
    data_that_breaks_its_schema_is_refused: "schemas" shows [
        "OrderPlaced.v1: ok",
        "is no `OrderPlaced.v1`, at `/price`",
        "exit code 1",
        "OrderShipped.v1: registered ",
        "  6 bytes",
    ];
    an_order_that_is_not_paid_in_time_gets_a_reminder: "timers" shows ["  unpaid  ", "OrderUnpaid.v1"];
    an_event_of_the_old_version_is_read_as_one_of_the_new: "upcasters" shows [
        "order-upcaster",
        "OrderPlaced.v1",
        "OrderPlaced.v2",
        r#""cents":1250"#,
    ];
}

#[test]
fn no_chapter_is_left_out() {
    let mut found: Vec<String> = fs::read_dir(patterns())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut known = [CHAPTERS, &[PLAYED_ELSEWHERE]].concat();
    known.sort_unstable();
    assert_eq!(found, known, "each chapter of docs/patterns has its test here");
}

#[test]
fn each_chapter_names_tests_of_what_it_says_and_they_are_there() {
    for chapter in CHAPTERS.iter().chain([&PLAYED_ELSEWHERE]) {
        let text = fs::read_to_string(patterns().join(chapter).with_extension("md")).unwrap();
        let (_, tests) =
            text.split_once("\n## Tests\n").unwrap_or_else(|| panic!("{chapter}.md has no `## Tests`"));
        // Each link to a file is followed by the names of tests in it.
        let links: Vec<&str> = tests.split("](../../").skip(1).collect();
        assert!(!links.is_empty(), "{chapter}.md names no tests");
        for link in links {
            let (file, rest) = link.split_once(')').unwrap();
            let source = fs::read_to_string(workspace().join(file))
                .unwrap_or_else(|error| panic!("{chapter}.md: {file}: {error}"));
            let names = rest.split(['[', '|']).next().unwrap().split('`').skip(1).step_by(2);
            for name in names {
                // As a function, or as one of those that a table makes.
                let forms = [format!("fn {name}("), format!(" {name}: \"")];
                let is_there = forms.iter().any(|form| source.contains(form));
                assert!(is_there, "{chapter}.md: there is no test {name} in {file}");
            }
        }
    }
}

/// What a chapter's example comes to.
struct Example {
    /// What is done before the bus runs; everything, where it doesn't.
    before: String,
    /// What is done in another terminal, once it runs.
    meanwhile: Option<String>,
}

/// A clone as its reader has it, with the components built, and the binary on the path.
struct Checkout {
    folder: TempDir,
}

/// A process that ends with this.
struct Process(Child);

/// Runs a chapter's example, and sees that its output has these texts.
fn play(chapter: &str, shown: &[&str]) {
    let text = fs::read_to_string(patterns().join(chapter).with_extension("md")).unwrap();
    let example = Example::of(&text);
    let checkout = Checkout::new();
    let mut output = checkout.run(&example.before);
    if let Some(script) = &example.meanwhile {
        let bus = checkout.serve();
        output += &checkout.run(script);
        drop(bus);
    }
    for shown in shown {
        assert!(output.contains(shown), "the example of {chapter}.md doesn't show {shown:?}, but\n{output}");
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn patterns() -> PathBuf {
    workspace().join("docs/patterns")
}

/// The `sh` blocks of the section `## An example`.
fn blocks(chapter: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut section = "";
    let mut fence = None;
    for line in chapter.lines() {
        match (line.strip_prefix("```"), fence) {
            (Some(language), None) => {
                fence = Some(language);
                if language == "sh" && section == "An example" {
                    blocks.push(String::new());
                }
            }
            (Some(_), Some(_)) => fence = None,
            (None, Some("sh")) if section == "An example" => {
                let block = blocks.last_mut().unwrap();
                *block += line;
                *block += "\n";
            }
            (None, None) => section = line.strip_prefix("## ").unwrap_or(section),
            (None, Some(_)) => {}
        }
    }
    blocks
}

/// A line of a script without the remark behind it.
fn command(line: &str) -> &str {
    line.split_once(" #").map_or(line, |(command, _)| command).trim()
}

impl Example {
    fn of(chapter: &str) -> Self {
        let mut before = String::new();
        let mut meanwhile = None;
        for block in blocks(chapter) {
            let script = meanwhile.as_mut().unwrap_or(&mut before);
            let mut lines = block.lines().peekable();
            while let Some(line) = lines.next() {
                match command(line) {
                    "cargo xtask plugins" => {}
                    "tidegate run" => {
                        assert!(lines.peek().is_none(), "the bus goes on: the rest is another block");
                        meanwhile = Some(String::new());
                        break;
                    }
                    _ => {
                        *script += line;
                        *script += "\n";
                    }
                }
            }
        }
        assert!(!before.is_empty() && meanwhile.as_deref() != Some(""), "there is nothing to run");
        Self { before, meanwhile }
    }
}

impl Checkout {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("target")).unwrap();
        for part in ["plugins", "target/plugins"] {
            symlink(workspace().join(part), folder.path().join(part)).unwrap();
        }
        Self { folder }
    }

    /// Starts a program that prints into a file: nobody has to read that, and nothing that it leaves behind holds it open.
    fn start(&self, program: &str, arguments: &[&str], output: &str) -> Process {
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(binary().parent().unwrap().to_owned()).chain(std::env::split_paths(&path));
        let output = File::create(self.folder.path().join(output)).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env_remove("TIDEGATE_DIR")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output);
        Process(command.spawn().unwrap())
    }

    fn printed(&self, output: &str) -> String {
        fs::read_to_string(self.folder.path().join(output)).unwrap()
    }

    /// Runs a script to its end, and returns all that it has printed.
    fn run(&self, script: &str) -> String {
        let mut shell = self.start("sh", &["-e", "-c", script], "printed");
        let status = until(|| shell.0.try_wait().unwrap());
        let printed = self.printed("printed");
        let ended = status.unwrap_or_else(|| panic!("the script doesn't end:\n{script}\n{printed}"));
        assert!(ended.success(), "{ended}:\n{script}\n{printed}");
        printed
    }

    /// Starts the bus, and waits until it says that it is ready, with all that the example has configured.
    fn serve(&self) -> Process {
        let bus = self.start("tidegate", &["run"], "log");
        let ready = || {
            let log = self.printed("log");
            log.lines().find(|line| line.starts_with("ready: ") && log.ends_with('\n')).map(str::to_owned)
        };
        let ready = until(ready).unwrap_or_else(|| panic!("the bus isn't ready:\n{}", self.printed("log")));
        assert!(!ready.contains("refused"), "{}", self.printed("log"));
        bus
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or has nothing to do any more.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Looks again and again until there is something.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    (0..LOOKS).find_map(|_| {
        let found = look();
        if found.is_none() {
            // Nobody unparks this thread, so this is the pause between two looks at another process.
            std::thread::park_timeout(Duration::from_millis(10));
        }
        found
    })
}
