//! What is said to people. `println!` would panic when they don't read on, as after `ledger history alice | head -1`.

use std::io::{self, ErrorKind, Write as _};

/// Prints a line. Returns whether somebody reads it: `false` once the pipe is closed.
pub fn print(line: &str) -> io::Result<bool> {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tells what went wrong. Where that can't be told either, the exit code still says it.
pub fn complain(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}
