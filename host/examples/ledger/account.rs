//! An account is what its events come to.

use serde::{Deserialize, Serialize};
use tidegate::{DataError, Event};

use crate::amount::Amount;

/// What has happened to an account.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Opened,
    Deposited(Amount),
    Withdrawn(Amount),
    /// To another account, or from one.
    Sent(Amount, String),
    Received(Amount, String),
}

/// The data of an event.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Data {
    cents: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

/// What an account has come to.
#[derive(Debug, Default)]
pub struct Account {
    /// The number of its last event, 0 where there is none: what the next change expects.
    pub version: u64,
    pub is_open: bool,
    pub cents: u64,
}

/// What an event does to an account it can't.
#[derive(Debug, thiserror::Error)]
#[error("event {number} of account `{account}` {reason}: another program has published to the topic")]
pub struct Inconsistent {
    pub account: String,
    pub number: u64,
    pub reason: String,
}

impl Change {
    /// The event that tells of it. Types carry their version: one that means something else gets another.
    pub fn event(&self, id: &str, account: &str) -> Result<Event, tidegate::EventError> {
        let event = Event::new(id, "/ledger", self.kind()).subject(account);
        match self {
            Self::Opened => event,
            Self::Deposited(amount) | Self::Withdrawn(amount) => {
                event.json(&Data { cents: amount.0, account: None })
            }
            Self::Sent(amount, other) | Self::Received(amount, other) => {
                event.json(&Data { cents: amount.0, account: Some(other.clone()) })
            }
        }
        .build()
    }

    /// What an event tells of; `None` for a type that came later.
    pub fn of_event(event: &Event) -> Result<Option<Self>, DataError> {
        if event.kind() == Self::Opened.kind() {
            return Ok(Some(Self::Opened));
        }
        let Data { cents, account } = event.data_as()?;
        let (amount, account) = (Amount(cents), account.unwrap_or_default());
        Ok(Some(match event.kind() {
            "Deposited.v1" => Self::Deposited(amount),
            "Withdrawn.v1" => Self::Withdrawn(amount),
            "Sent.v1" => Self::Sent(amount, account),
            "Received.v1" => Self::Received(amount, account),
            _ => return Ok(None),
        }))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Opened => "AccountOpened.v1",
            Self::Deposited(_) => "Deposited.v1",
            Self::Withdrawn(_) => "Withdrawn.v1",
            Self::Sent(..) => "Sent.v1",
            Self::Received(..) => "Received.v1",
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Opened => write!(f, "opened"),
            Self::Deposited(amount) => write!(f, "deposited {amount}"),
            Self::Withdrawn(amount) => write!(f, "withdrawn {amount}"),
            Self::Sent(amount, to) => write!(f, "sent {amount} to {to}"),
            Self::Received(amount, from) => write!(f, "received {amount} from {from}"),
        }
    }
}

impl Account {
    /// Takes in the next event.
    pub fn apply(&mut self, account: &str, event: &Event) -> Result<(), Inconsistent> {
        self.version = event.sequence().unwrap_or(self.version + 1);
        let inconsistent = |reason: String| Inconsistent {
            account: account.to_owned(),
            number: event.sequence().unwrap_or_default(),
            reason,
        };
        let change =
            Change::of_event(event).map_err(|error| inconsistent(format!("can't be read ({error})")))?;
        let cents = match change {
            None => return Ok(()),
            Some(Change::Opened) => {
                self.is_open = true;
                return Ok(());
            }
            Some(Change::Deposited(amount) | Change::Received(amount, _)) => self.cents.checked_add(amount.0),
            Some(Change::Withdrawn(amount) | Change::Sent(amount, _)) => self.cents.checked_sub(amount.0),
        };
        self.cents = cents.ok_or_else(|| inconsistent("takes more than there is".to_owned()))?;
        Ok(())
    }
}
