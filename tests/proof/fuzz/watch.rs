//! Who looks on while an input is read: it is noted before, so that it is there whatever becomes of the process, and a
//! thread ends the process when it takes too long or too much memory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest time for one input: hundreds of times what any takes, on a machine that does much else.
const TIME_MAX: Duration = Duration::from_mins(2);

/// Most memory of the whole process. The database takes up to 4 GiB for a page whose number is damaged, before it sees that
/// the file ends earlier; everything else stays under a tenth of that.
const MEMORY_KIB_MAX: u64 = 5 << 20;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Panics of any thread while one input is read that are remembered: some are caught where the bus expects them.
const PANICS_MAX: usize = 8;

/// The panics since the input was noted.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether the database works on a commit, or may.
static COMMITS: AtomicBool = AtomicBool::new(false);

/// How a process ends that was held up while the database worked on a commit.
pub const HELD_UP: i32 = 3;

/// Says whether the database works on a commit from here on, or may.
pub fn commits(commits: bool) {
    COMMITS.store(commits, Ordering::Relaxed);
}

/// Where inputs are noted.
fn folder() -> PathBuf {
    Path::new("target").join("fuzz")
}

fn panics_file(process: u32) -> PathBuf {
    folder().join(format!("{process}.panics"))
}

/// What a process that was ended has left: its last panics, and the file with the input.
pub fn left_by(name: &str, process: u32) -> (String, PathBuf) {
    let panics = fs::read_to_string(panics_file(process)).unwrap_or_default();
    drop(fs::remove_file(panics_file(process)));
    (panics, folder().join(format!("{name}-{process}.under-way")))
}

/// What the panics said, and where.
pub fn panics() -> String {
    lock(&PANICS).join("\n")
}

/// See the module.
pub struct Watch {
    name: &'static str,
    under_way: PathBuf,
    file: File,
    noted: usize,
    since: Arc<Mutex<Option<Instant>>>,
    /// The thread ends when this is gone.
    _end: SyncSender<()>,
}

impl Watch {
    /// Begins to look on.
    pub fn begin(name: &'static str) -> io::Result<Self> {
        std::panic::set_hook(Box::new(|panic| {
            let mut panics = lock(&PANICS);
            if panics.len() < PANICS_MAX {
                panics.push(panic.to_string());
                // For who finds that the process was ended: a panic within a panic does that.
                drop(fs::write(panics_file(std::process::id()), panics.join("\n")));
            }
        }));
        fs::create_dir_all(folder())?;
        let under_way = folder().join(format!("{name}-{}.under-way", std::process::id()));
        let file = File::create(&under_way)?;
        let since = Arc::new(Mutex::new(None));
        let (end, ended) = sync_channel(1);
        let watched = (Arc::clone(&since), under_way.clone());
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            look_on(name, &watched.0, &watched.1, &ended);
        })?;
        Ok(Self { name, under_way, file, noted: 0, since, _end: end })
    }

    /// Notes the input that is read next.
    #[expect(clippy::disallowed_methods, reason = "a hang is one in real time")]
    pub fn note(&mut self, input: &[u8]) -> io::Result<()> {
        self.file.write_all_at(input, 0)?;
        if input.len() != self.noted {
            self.file.set_len(input.len() as u64)?;
            self.noted = input.len();
        }
        lock(&PANICS).clear();
        *lock(&self.since) = Some(Instant::now());
        Ok(())
    }

    /// It was read.
    pub fn done(&self) {
        *lock(&self.since) = None;
    }

    /// Keeps an input that broke a promise, and says how to repeat it.
    pub fn broken(&self, input: &[u8], promise: &str) -> String {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let path = folder().join(format!("{}-{:016x}", self.name, hasher.finish()));
        let kept = match fs::write(&path, input) {
            Ok(()) => format!("repeat it: {}", repeat(self.name, &path)),
            Err(error) => format!("the input can't be kept in {}: {error}", path.display()),
        };
        format!("{}: {promise}\n{kept}", self.name)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It tells of an input that ended the process: this process has come to its end.
        drop(fs::remove_file(&self.under_way));
        drop(fs::remove_file(panics_file(std::process::id())));
    }
}

pub fn repeat(name: &str, path: &Path) -> String {
    format!("cargo xtask fuzz --target {name} --input {}", path.display())
}

fn look_on(name: &str, since: &Mutex<Option<Instant>>, under_way: &Path, ended: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_EVERY) {
        let time = lock(since).map(|since| since.elapsed()).unwrap_or_default();
        let memory = memory_kib();
        let wrong = if time > TIME_MAX {
            format!("it takes longer than {} s", TIME_MAX.as_secs())
        } else if memory > MEMORY_KIB_MAX {
            format!("the process takes {memory} KiB, more than {MEMORY_KIB_MAX}")
        } else {
            continue;
        };
        eprintln!("{name}: {wrong}\nrepeat it: {}", repeat(name, under_way));
        let is_held_up = time > TIME_MAX && COMMITS.load(Ordering::Relaxed);
        std::process::exit(if is_held_up { HELD_UP } else { 1 });
    }
}

/// The memory that the process takes; 0 where the system doesn't say.
pub fn memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
