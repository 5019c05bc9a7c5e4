//! A PostgreSQL server of the tests' own, on a Unix socket in a temporary folder. It ends with the tests.

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Error, NoTls, Row};

/// The server's owner within it.
const SUPERUSER: &str = "tidegate";

/// Why tests are skipped.
const NOT_INSTALLED: &str = "PostgreSQL isn't installed (Debian: `apt-get install postgresql`)";

/// A server that runs.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    databases: AtomicU32,
    /// Ends the server and removes the folder once this process is gone.
    _keeper: Child,
}

/// The server of this test binary; `None`, with the reason on standard error, where PostgreSQL isn't installed.
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    is_installed().then(|| SERVER.get_or_init(Server::start).as_ref().unwrap())
}

/// Whether there is a server to start. Says on standard error that a test is skipped where there isn't.
pub fn is_installed() -> bool {
    let is_installed = programs().is_some();
    if !is_installed {
        // Past what captures the tests' own output: a test that is skipped is to be seen.
        drop(writeln!(std::io::stderr(), "skipped: {NOT_INSTALLED}"));
    }
    is_installed
}

/// Where the server's programs are: Debian keeps them out of the search path.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.reverse();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// The number that `id` prints of a user.
fn id(option: &str, user: &str) -> Option<u32> {
    let output = Command::new("id").args([option, user]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

impl Server {
    /// Starts one. It ends with this value, at the latest with this process.
    ///
    /// # Errors
    ///
    /// PostgreSQL isn't installed, or can't be run.
    pub fn start() -> Result<Self, String> {
        let programs =
            programs().ok_or("PostgreSQL isn't installed (Debian: `apt-get install postgresql`)")?;
        let folder =
            tempfile::TempDir::with_prefix("tidegate-postgres").map_err(|error| error.to_string())?.keep();
        // The server refuses to run as root.
        let wrapped = if rustix::process::geteuid().is_root() {
            let user =
                ["postgres", "nobody"].into_iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)));
            let (user, group) =
                user.ok_or("there is no unprivileged user `postgres` or `nobody` to run it as")?;
            chown(&folder, Some(user), Some(group)).map_err(|error| error.to_string())?;
            vec![
                "setpriv".to_owned(),
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ]
        } else {
            Vec::new()
        };
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(|error| error.to_string())?;
        let run = |program: &Path, arguments: &[&str]| {
            let mut all = wrapped.clone();
            all.push(program.display().to_string());
            all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            let mut command = Command::new(&all[0]);
            command.args(&all[1..]).current_dir(&folder).env("LC_ALL", "C.UTF-8");
            command
        };
        let data = folder.join("data").display().to_string();
        let made = run(
            &programs.join("initdb"),
            &["-D", &data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-sync"],
        )
        .output()
        .map_err(|error| format!("initdb can't be run: {error}"))?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        // Closing the keeper's standard input, which this process's end does, ends the server.
        let script = r#"
            "$0" -D data -k "$PWD" -c listen_addresses= -c fsync=off -c max_connections=200 >log 2>&1 &
            server=$!
            cat >/dev/null
            kill -QUIT $server
            wait $server
            cd / && rm -rf "$1"
        "#;
        let arguments =
            ["-c", script, &programs.join("postgres").display().to_string(), &folder.display().to_string()];
        let keeper = run(Path::new("/bin/sh"), &arguments)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the server can't be started: {error}"))?;
        let server = Self { folder, programs, databases: AtomicU32::new(0), _keeper: keeper };
        // Nobody unparks this thread, so this is the pause between two looks at another process.
        for _ in 0..3000 {
            if Session::try_open(&server.url("postgres")).is_ok() {
                return Ok(server);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
        Err(format!("the server doesn't come up: {log}"))
    }

    /// How to reach a database.
    pub fn url(&self, database: &str) -> String {
        format!("host={} user={SUPERUSER} dbname={database}", self.folder.display())
    }

    /// A new database, empty or as a copy of another one that nobody is connected to.
    pub fn database(&self, template: &str) -> String {
        let name = format!("shop{}", self.databases.fetch_add(1, Ordering::SeqCst));
        Session::open(&self.url("postgres")).run(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
        name
    }

    /// Runs PostgreSQL's own command line with this on its standard input.
    pub fn psql(&self, database: &str, command: &str, input: &[u8]) {
        let mut child = Command::new(self.programs.join("psql"))
            .args([
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                "--command",
                command,
                &self.url(database),
            ])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
        assert!(child.wait().unwrap().success(), "{command}");
    }
}

/// A connection of the application.
pub struct Session {
    client: RefCell<Client>,
    runtime: Runtime,
}

impl Session {
    pub fn open(url: &str) -> Self {
        Self::try_open(url).unwrap()
    }

    pub fn try_open(url: &str) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
        runtime.spawn(async move { drop(connection.await) });
        Ok(Self { client: RefCell::new(client), runtime })
    }

    /// Runs statements; several are one transaction, unless they say otherwise.
    pub fn run(&self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", error.as_db_error()));
    }

    pub fn try_run(&self, sql: &str) -> Result<(), Error> {
        self.runtime.block_on(self.client.borrow().batch_execute(sql))
    }

    /// The message with which the server refuses statements.
    pub fn refused(&self, sql: &str) -> String {
        let error = self.try_run(sql).expect_err(sql);
        error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
    }

    /// The rows of a query.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>, Error> {
        self.runtime.block_on(self.client.borrow().query(sql, &[]))
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.query(sql).unwrap()[0].get(0)
    }

    pub fn text(&self, sql: &str) -> String {
        self.query(sql).unwrap()[0].get(0)
    }
}
