//! The shop as a process: what reaches it over HTTP, whatever it is built on.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use shop_rules::Status;
use tidegate::Event;
use tokio::net::TcpListener;

use crate::error::ShopError;

/// The largest request.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// A shop.
pub trait Shop: Send + Sync + 'static {
    /// Takes a request: it is kept when this returns.
    fn take(&self, request: Event) -> impl Future<Output = Result<(), ShopError>> + Send;

    /// Goes over to the second release of the orders, while it runs.
    fn deploy(&self) -> impl Future<Output = Result<(), ShopError>> + Send;

    /// Goes over to the second release of the labels, and puts what failed for them back to work, where there is such a thing.
    fn mend(&self) -> impl Future<Output = Result<(), ShopError>> + Send;

    /// Whether there is nothing left to do.
    fn is_idle(&self) -> impl Future<Output = Result<bool, ShopError>> + Send;

    /// What there is to see of it from outside.
    fn report(&self) -> impl Future<Output = Result<Report, ShopError>> + Send;

    /// Ends it in good order.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// What there is to see of a shop from outside.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// The parcels that have left the house.
    pub parcels: Vec<Parcel>,
    /// Pieces of each article that the books have left.
    pub stock: BTreeMap<String, u64>,
    /// The orders that have come to an end, and whether they were shipped.
    pub ended: BTreeMap<String, bool>,
    /// What the window shows of each order.
    pub window_orders: BTreeMap<String, Status>,
    /// What the window shows of each article.
    pub window_stock: BTreeMap<String, u64>,
    /// Events that were given up on and can be looked at, put right and tried again.
    pub put_aside: usize,
}

/// A parcel.
#[derive(Debug, Deserialize, Serialize)]
pub struct Parcel {
    pub order: String,
    pub sku: String,
    pub quantity: u32,
}

/// Runs a shop until its standard input ends.
pub async fn serve(shop: impl Shop) -> Result<(), ShopError> {
    let shop = Arc::new(shop);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(axum::serve(listener, routes(&shop)).into_future());
    println!("ready: {address}");
    tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    server.abort();
    shop.close().await;
    Ok(())
}

fn routes<S: Shop>(shop: &Arc<S>) -> Router {
    Router::new()
        .route("/requests", post(take::<S>))
        .route("/deploy", post(async |State(shop): State<Arc<S>>| answer(shop.deploy().await)))
        .route("/mend", post(async |State(shop): State<Arc<S>>| answer(shop.mend().await)))
        .route("/idle", get(async |State(shop): State<Arc<S>>| answer(shop.is_idle().await)))
        .route("/report", get(async |State(shop): State<Arc<S>>| answer(shop.report().await)))
        .with_state(Arc::clone(shop))
}

async fn take<S: Shop>(State(shop): State<Arc<S>>, body: String) -> Response {
    let event = match Event::from_json(body, REQUEST_BYTES_MAX) {
        Ok(event) => event,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    match shop.take(event).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

fn answer<T: Serialize>(outcome: Result<T, ShopError>) -> Response {
    match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
