//! Panics, made errors.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

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
            .unwrap_or_else(|panic| Err(of_panic(message(&*panic))).into())
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("a panic without a message")
}
