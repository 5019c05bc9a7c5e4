//! The binary as a process, on a data directory of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A data directory, and commands on it.
pub struct Directory {
    folder: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A process whose output is read while it runs. It ends with this.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// The binary: built beside this test.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().and_then(Path::parent).unwrap().join("tidegate");
    assert!(binary.is_file(), "{} is missing: `cargo build --package tidegate` builds it", binary.display());
    binary
}

/// An example: built beside this test.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(program.is_file(), "{} is missing: `cargo build --examples` builds it", program.display());
    program
}

/// An event as a line of JSON.
pub fn line(id: &str, key: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/t","type":"Test.v1","partitionkey":"{key}","data":{data}}}"#
    )
}

impl Directory {
    /// A directory with this configuration.
    pub fn new(configuration: &str) -> Self {
        let directory = Self { folder: TempDir::new().unwrap() };
        directory.configure(configuration);
        directory
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the configuration, by renaming as editors do.
    pub fn configure(&self, configuration: &str) {
        self.put("tidegate.toml", configuration.as_bytes());
    }

    /// Puts a file into the directory, whole.
    pub fn put(&self, name: &str, content: &[u8]) {
        let unfinished = self.path().join("unfinished");
        fs::write(&unfinished, content).unwrap();
        fs::rename(unfinished, self.path().join(name)).unwrap();
    }

    /// Puts a component that was built for the tests into the directory.
    pub fn put_guest(&self, guest: &str, name: &str) {
        self.put(name, &fs::read(crate::house::guest_file(guest)).unwrap());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.path())
            .env("TIDEGATE_DIR", self.path())
            .env_remove("RUST_LOG");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, "")
    }

    /// Runs a command with this on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Outcome {
        Outcome::of(self.command(arguments), input)
    }

    /// Runs a command that has to succeed, and returns what it prints.
    pub fn done(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        outcome.out
    }

    /// Runs a command that has to succeed, and returns its lines of JSON.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.done(&[arguments, &["--json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Publishes events of these ids and keys, all with this data.
    pub fn publish(&self, topic: &str, events: &[(&str, &str)], data: &str) {
        let lines: Vec<String> = events.iter().map(|(id, key)| line(id, key, data)).collect();
        let outcome = self.run_with(&["publish", topic, "-"], &lines.join("\n"));
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }

    /// Starts a command that goes on.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null());
        self.start_command(command)
    }

    /// Starts the bus as a process that may have so many files open, and waits until it says that it is ready.
    pub fn serve_with_files(&self, files_max: u32) -> Running {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {files_max} && exec \"$0\" run")).arg(binary());
        command.current_dir(self.path()).env("TIDEGATE_DIR", self.path()).env_remove("RUST_LOG");
        command.stdin(Stdio::null());
        let mut running = self.start_command(command);
        let ready = running.line();
        assert!(ready.starts_with("ready: "), "{ready:?}: {}", self.log());
        running
    }

    /// Starts a program that goes on; what it writes to its standard error goes to the log.
    pub fn start_command(&self, mut command: Command) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// Starts the bus, and waits until it says that it is ready.
    pub fn serve(&self) -> Running {
        let mut running = self.start(&["run"]);
        let ready = running.line();
        assert!(ready.starts_with("ready: "), "{ready:?}: {}", self.log());
        running
    }

    /// What processes that go on have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Looks again and again until this is so.
    ///
    /// # Panics
    ///
    /// It is not so after many looks, which take half a minute.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..3000 {
            if is_so() {
                return;
            }
            // Nobody unparks this thread, so this is the pause between two looks at another process.
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("{what} doesn't come: {}", self.log());
    }

    /// A consumer, as `consumers show` has it.
    pub fn consumer(&self, name: &str) -> Value {
        self.json(&["consumers", "show", name]).remove(0)
    }

    /// Waits until a consumer has handled so many events.
    pub fn until_handled(&self, consumer: &str, events: u64) {
        let handled = || self.consumer(consumer)["counts"]["handled"].as_u64().unwrap();
        self.until(&format!("{consumer} having handled {events}"), || handled() >= events);
        assert_eq!(handled(), events);
    }
}

impl Outcome {
    /// Runs a program to its end, with this on its standard input.
    pub fn of(mut command: Command, input: &str) -> Self {
        let piped = || Stdio::piped();
        let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Running {
    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Writes to its standard input, which has to be a pipe.
    pub fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends its standard input, waits until it has ended by itself, and returns its exit code and what else it has printed.
    pub fn finish(mut self) -> (i32, String) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }

    /// Tells it to end in good order, and returns its exit code and what else it has printed.
    pub fn end(mut self) -> (i32, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or the test has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
