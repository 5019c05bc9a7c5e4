//! SIGINT and SIGTERM.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

use super::error::CliError;

/// The exit code of a process that a signal ended, as shells have it: 128 and the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// Ends with the first signal to end. The second one ends the process at once.
pub fn first() -> Result<oneshot::Receiver<()>, CliError> {
    let failed = |error| CliError::Failed(format!("signals can't be received: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (first, received) = oneshot::channel();
    let listen = move || {
        let mut first = Some(first);
        for signal in signals.forever() {
            match first.take() {
                Some(first) => drop(first.send(())),
                None => std::process::exit(ENDED_BY_SIGNAL + signal),
            }
        }
    };
    std::thread::Builder::new().name("tidegate-signals".to_owned()).spawn(listen).map_err(failed)?;
    Ok(received)
}
