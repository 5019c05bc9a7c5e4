//! From what wasmtime reports to why a delivery failed.

use std::fmt::Write;

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::host::Host;
use super::limiter::Refusal;
use crate::handler::{Failure, FailureKind};
use crate::limits::PLUGIN_TABLE_ELEMENTS;

/// The failure that ended a call into a guest.
pub(super) fn failure(error: &wasmtime::Error, host: &Host) -> Failure {
    let failure = if let Some(unavailable) = &host.unavailable {
        Failure::transient("state-unavailable", unavailable.to_string())
    } else if host.deadline.has_passed() {
        timeout()
    } else if let Some(refused) = host.limiter.refused() {
        memory(refused, host.limiter.memory_bytes_max())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        Failure::new(FailureKind::Trap, trap_code(*trap), message(error))
    } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
        Failure::new(FailureKind::Trap, "exit", format!("the plugin ended itself with exit code {}", exit.0))
    } else {
        Failure::new(FailureKind::Trap, "invalid-call", message(error))
    };
    match error.downcast_ref::<WasmBacktrace>() {
        Some(backtrace) if !backtrace.frames().is_empty() => failure.with_backtrace(frames(backtrace)),
        _ => failure,
    }
}

/// The failure of a delivery that is out of time.
pub(super) fn timeout() -> Failure {
    Failure::new(
        FailureKind::Timeout,
        "deadline",
        "the plugin ran past its deadline: raise `deadline` in its limits if the work needs so long",
    )
}

fn memory(refused: Refusal, memory_bytes_max: usize) -> Failure {
    match refused {
        Refusal::Memory(wanted) => Failure::new(
            FailureKind::Memory,
            "memory",
            format!(
                "the plugin wanted {wanted} bytes of memory and may have {memory_bytes_max}: raise `memory` in \
                 its limits if the work needs so much"
            ),
        ),
        Refusal::Table(wanted) => Failure::new(
            FailureKind::Memory,
            "table",
            format!(
                "the plugin wanted a table of {wanted} elements; a table has at most {PLUGIN_TABLE_ELEMENTS}"
            ),
        ),
    }
}

/// What went wrong, from the outermost cause to the innermost, without the backtrace.
fn message(error: &wasmtime::Error) -> String {
    let mut message = String::new();
    let causes = error
        .chain()
        .map(ToString::to_string)
        // The backtrace is among the causes, as text.
        .filter(|text| !text.starts_with("error while executing at wasm backtrace"));
    for cause in causes {
        let separator = if message.is_empty() { "" } else { ": " };
        // Writing to a string can't fail.
        let _ = write!(message, "{separator}{cause}");
    }
    message
}

/// The frames, innermost first, with demangled names.
fn frames(backtrace: &WasmBacktrace) -> String {
    let text = backtrace.to_string();
    let frames = text.lines().skip(1).map(str::trim_end);
    frames.collect::<Vec<_>>().join("\n")
}

/// A word for each trap: stable, whatever wasmtime's messages say.
fn trap_code(trap: Trap) -> &'static str {
    match trap {
        Trap::StackOverflow => "stack-overflow",
        Trap::MemoryOutOfBounds => "out-of-bounds-memory",
        Trap::TableOutOfBounds => "out-of-bounds-table",
        Trap::IndirectCallToNull => "indirect-call-to-null",
        Trap::BadSignature => "indirect-call-type",
        Trap::IntegerOverflow => "integer-overflow",
        Trap::IntegerDivisionByZero => "division-by-zero",
        Trap::BadConversionToInteger => "invalid-conversion-to-integer",
        Trap::UnreachableCodeReached => "unreachable",
        Trap::NullReference => "null-reference",
        Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::UnalignedPointer
        | Trap::InvalidDiscriminant
        | Trap::InvalidChar => "invalid-value",
        Trap::CannotEnterComponent | Trap::CannotLeaveComponent => "reentrance",
        _ => "trap",
    }
}
