//! A web service that takes orders.
//!
//! ```text
//! cargo xtask plugins                                   # builds the plugin that writes receipts
//! cargo run --example orders -- --dir ./orders-data
//! curl -i localhost:8080/orders -H 'Idempotency-Key: a-1' -H 'Content-Type: application/json' \
//!      -d '{"customer": "c-4", "items": [{"sku": "teapot", "quantity": 2, "cents": 1250}]}'
//! curl -s localhost:8080/orders/1
//! ```
//!
//! - An order is a row in the service's own table and the event `OrderPlaced.v1`, made durable together: `shop.rs`.
//! - A plugin, `plugins/order-receipts`, issues a receipt for each order. A native consumer keeps what is known of each
//!   order: `status.rs`. Both take effect once for each event, whatever crashes.
//! - A request that is sent again, with the same `Idempotency-Key`, takes effect once and gets the same answer: `http.rs`.
//!
//! While it runs, `tidegate --dir ./orders-data consumers` and the other commands reach its bus.

mod http;
mod order;
mod shop;
mod signals;
mod status;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidegate::config::parse_duration;
use tidegate::server::{ControlError, serve_control};
use tokio::net::TcpListener;

use shop::{Shop, ShopError};
use signals::Signals;

/// Takes orders over HTTP: `POST /orders`, and `GET /orders/NUMBER`.
#[derive(Parser)]
#[command(
    name = "orders",
    after_help = "\
SIGINT and SIGTERM end it in good order: requests are answered and consumers finish their deliveries, within --grace.
A second signal ends it at once, which loses nothing that was answered."
)]
struct Arguments {
    /// The data directory; it is made where there is none
    #[arg(long, value_name = "DIR", default_value = "./orders-data")]
    dir: PathBuf,
    /// Where to listen; port 0 is a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The folder of the built plugins, as `cargo xtask plugins` makes it
    #[arg(long, value_name = "DIR", default_value = "target/plugins")]
    plugins: PathBuf,
    /// How long requests and consumers have to finish at the end, each
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = grace)]
    grace: Duration,
}

fn grace(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Why the service can't be run.
#[derive(Debug, thiserror::Error)]
enum ServiceError {
    #[error(transparent)]
    Shop(#[from] ShopError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("can't listen on {address}: {source}; choose another address with --listen")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("signals can't be received: {0}")]
    Signals(#[source] io::Error),
    #[error("the HTTP server failed: {0}")]
    Serve(#[source] io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), ServiceError> {
    let mut signals = Signals::new().map_err(ServiceError::Signals)?;
    let shop = Shop::open(&arguments.dir, &arguments.plugins).await?;
    let outcome = serve(&arguments, &shop, &mut signals).await;

    // Whatever has happened, the bus is ended in good order: what was answered is on the disk in any case.
    let drained = tokio::select! {
        drained = shop.close(arguments.grace) => drained,
        () = signals.next() => std::process::exit(130),
    };
    println!("{drained}");
    outcome
}

/// Answers requests until a signal comes, and those that are under way then.
async fn serve(arguments: &Arguments, shop: &Shop, signals: &mut Signals) -> Result<(), ServiceError> {
    let control = serve_control(shop.bus())?;
    let failed = |source| ServiceError::Listen { address: arguments.listen, source };
    let listener = TcpListener::bind(arguments.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, http::routes(shop.clone())).with_graceful_shutdown(async {
        // Told to stop, or the other end is gone: either way it is over.
        drop(stopped.await);
    });
    let mut server = tokio::spawn(server.into_future());
    println!("ready: http://{address}");

    let outcome = tokio::select! {
        ended = &mut server => ended,
        () = signals.next() => {
            drop(stop);
            tokio::select! {
                ended = tokio::time::timeout(arguments.grace, &mut server) => ended.unwrap_or_else(|_| {
                    eprintln!("a request was not answered within the grace period, and is cut off");
                    server.abort();
                    Ok(Ok(()))
                }),
                () = signals.next() => std::process::exit(130),
            }
        }
    };
    control.shutdown().await;
    // A panic of the server's task is as good as a failure to serve.
    outcome.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(ServiceError::Serve)
}
