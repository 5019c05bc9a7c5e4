//! Panics, made errors.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use crate::handler::panic_message;

/// Drives a future to its end; a panic in it becomes the error that `of_panic` makes of its message. What the future
/// leaves half done then is the caller's to throw away.
///
/// Where it panicked is known to the panic hook alone, and the hook belongs to the application.
pub(super) async fn caught<T, E>(
    future: impl Future<Output = Result<T, E>>,
    of_panic: impl Fn(&str) -> E,
) -> Result<T, E> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Err(of_panic(panic_message(&*panic))).into())
    })
    .await
}
