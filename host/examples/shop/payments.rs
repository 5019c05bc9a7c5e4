//! The consumer that asks the payment service: a native handler, since a plugin reaches no network.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::{Context, Delivery, Failure, Handler, Outgoing};

use crate::client::Client;

/// How long an answer of the payment service is waited for.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Takes payments, and gives them back.
///
/// A request is made at least once for each command: after a failure, a time-out or a crash it is made again. So it carries
/// the command's id, by which the service knows one that it has had.
pub struct Payments {
    client: Client,
    service: SocketAddr,
}

impl Payments {
    pub fn new(service: SocketAddr) -> Self {
        Self { client: Client::new(PATIENCE), service }
    }
}

impl Handler for Payments {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let command = &delivery.event;
        let (path, outcome) = match command.kind() {
            "TakePayment.v1" => ("/charges", "PaymentTaken.v1"),
            "RefundPayment.v1" => ("/refunds", "PaymentRefunded.v1"),
            // Types that come later are for consumers that know them.
            _ => return Ok(()),
        };
        let Value::Object(mut asked) = command.data_as::<Value>()? else {
            return Err(Failure::permanent("bad-data", "a command to the payments is an object"));
        };
        asked.insert("order".to_owned(), json!(command.key()));
        let body = Value::Object(asked).to_string();
        let answer = self.client.post(self.service, path, Some(command.id()), body).await;
        let outcome = match answer.map(|answer| answer.status) {
            Ok(200) => outcome,
            Ok(402) => "PaymentRefused.v1",
            Ok(status) => {
                return Err(Failure::transient("payments", format!("{path} was answered with {status}")));
            }
            Err(error) => return Err(Failure::transient("payments", format!("{path}: {error}"))),
        };
        let subject = Some(command.key().to_owned());
        let outcome = Outgoing { kind: outcome.to_owned(), subject, ..Outgoing::default() };
        Ok(context.publish("outcomes", outcome)?)
    }

    fn name(&self) -> String {
        "shop-payments".to_owned()
    }
}
