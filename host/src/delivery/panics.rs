//! Panics of a program, made failures.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use crate::handler::{Failure, FailureKind};

/// Drives a delivery to its end; a panic in it is a failed attempt like a plugin's trap.
///
/// Where it panicked is known to the panic hook alone, and the hook belongs to the application.
pub(super) async fn caught<T>(delivery: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut delivery = pin!(delivery);
    poll_fn(|cx| {
        // What it leaves half done is thrown away: the instance and the effects of the delivery.
        catch_unwind(AssertUnwindSafe(|| delivery.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Err(failure(&*panic)).into())
    })
    .await
}

fn failure(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::new(FailureKind::Trap, "panic", message.unwrap_or("a panic without a message"))
}
