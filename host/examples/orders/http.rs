//! The service over HTTP. All answers are JSON; one that refuses is `{"error": "what is wrong, and what to do"}`.

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tidegate::{PublishError, ReadError, TransactionError};

use crate::order::{Order, OrderRequest};
use crate::shop::{LookUpError, PlaceError, Placed, Shop};

/// The largest request.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The longest `Idempotency-Key`.
const KEY_CHARS_MAX: usize = 100;

/// What can be asked.
pub fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/orders", post(place))
        .route("/orders/{number}", get(look_up))
        .fallback(async || {
            refusal(StatusCode::NOT_FOUND, "there are `POST /orders` and `GET /orders/NUMBER`")
        })
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "there are `POST /orders` and `GET /orders/NUMBER`")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shop)
}

/// `POST /orders`: places an order. The same request again, with the same `Idempotency-Key`, gets the same answer.
async fn place(
    State(shop): State<Shop>,
    headers: HeaderMap,
    body: Result<Json<OrderRequest>, JsonRejection>,
) -> Response {
    let key = match idempotency_key(&headers) {
        Ok(key) => key,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, reason),
    };
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refusal(rejection.status(), rejection.body_text()),
    };
    if let Err(invalid) = request.validate() {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, invalid);
    }
    match shop.place(key, request).await {
        Ok(Placed::Order(order)) => placed(&order),
        Ok(Placed::KeyReused) => refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "another order was placed with this Idempotency-Key: use a new one for each order",
        ),
        Err(error) => unplaced(&error),
    }
}

fn placed(order: &Order) -> Response {
    let place = [(LOCATION, format!("/orders/{}", order.order))];
    (StatusCode::CREATED, place, Json(order)).into_response()
}

fn unplaced(error: &TransactionError<PlaceError>) -> Response {
    match error {
        // These pass, or are settled by asking again: a repeated request takes effect once.
        TransactionError::InDoubt(_) | TransactionError::Reopening | TransactionError::TooSlow { .. } => {
            try_again(error)
        }
        TransactionError::Closed => refusal(StatusCode::SERVICE_UNAVAILABLE, "the service is being stopped"),
        TransactionError::Refused(PlaceError::Publish(full @ PublishError::DiskFull { .. })) => {
            refusal(StatusCode::INSUFFICIENT_STORAGE, full)
        }
        _ => refusal(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// `GET /orders/{number}`: an order, and what the consumers have made of it so far.
async fn look_up(State(shop): State<Shop>, number: Result<Path<u64>, PathRejection>) -> Response {
    let Ok(Path(number)) = number else {
        return refusal(StatusCode::NOT_FOUND, "an order has a number, such as `/orders/17`");
    };
    match shop.look_up(number) {
        Ok(Some((order, status))) => Json(json!({ "order": order, "status": status })).into_response(),
        Ok(None) => refusal(StatusCode::NOT_FOUND, format!("there is no order {number}")),
        Err(LookUpError::Read(ReadError::Reopening)) => try_again("the storage is being opened anew"),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, String> {
    let key = headers.get("idempotency-key").ok_or(
        "the header Idempotency-Key is missing: choose one for each order, and send it again when you repeat the request",
    )?;
    let key = key.to_str().unwrap_or_default();
    if !(1..=KEY_CHARS_MAX).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "an Idempotency-Key has 1 to {KEY_CHARS_MAX} characters of ASCII, none of them a space"
        ));
    }
    Ok(key.to_owned())
}

fn refusal(status: StatusCode, reason: impl ToString) -> Response {
    (status, Json(json!({ "error": reason.to_string() }))).into_response()
}

fn try_again(reason: impl ToString) -> Response {
    let reason = format!("{}. Send the same request again: it takes effect once", reason.to_string());
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
    response
}
