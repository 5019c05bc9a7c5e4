//! Bank accounts: opened once, with money in and out, and never overdrawn.
//!
//! Commands are `OpenAccount.v1`, `Deposit.v1` and `Withdraw.v1`, each with the account as its key; the stream has
//! `AccountOpened.v1`, `Deposited.v1` and `Withdrawn.v1`. Settings: `{"overdraft_cents": 0}`.

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Aggregate, CommandContext, Rejection};

/// The aggregate.
pub struct Accounts;

/// What can be asked of an account.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Command {
    /// Makes it one.
    #[serde(rename = "OpenAccount.v1")]
    Open {
        /// Whose it is.
        owner: String,
    },
    /// Puts money in.
    #[serde(rename = "Deposit.v1")]
    Deposit {
        /// How much.
        cents: u64,
    },
    /// Takes money out.
    #[serde(rename = "Withdraw.v1")]
    Withdraw {
        /// How much.
        cents: u64,
    },
}

/// What happens to an account.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    /// It is there.
    #[serde(rename = "AccountOpened.v1")]
    Opened {
        /// Whose it is.
        owner: String,
    },
    /// Money was put in.
    #[serde(rename = "Deposited.v1")]
    Deposited {
        /// How much.
        cents: u64,
    },
    /// Money was taken out.
    #[serde(rename = "Withdrawn.v1")]
    Withdrawn {
        /// How much.
        cents: u64,
    },
}

/// An account.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Account {
    /// Whose it is; nobody's before it is opened.
    pub owner: Option<String>,
    /// What is in it; what it is overdrawn by, if negative.
    pub cents: i64,
    /// How often money was taken out.
    #[cfg(feature = "v2")]
    pub withdrawals: u64,
}

/// The settings.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// By how much an account may be overdrawn.
    pub overdraft_cents: i64,
}

impl Aggregate for Accounts {
    const NAME: &'static str = "accounts";
    const STATE_VERSION: u32 = if cfg!(feature = "v2") { 2 } else { 1 };
    type State = Account;
    type Command = Command;
    type Event = Event;

    fn decide(
        account: &Account,
        command: &Command,
        context: &CommandContext<'_>,
    ) -> Result<Vec<Event>, Rejection> {
        let id = context.aggregate;
        if let Command::Open { owner } = command {
            return match &account.owner {
                None => Ok(vec![Event::Opened { owner: owner.clone() }]),
                Some(_) => {
                    Err(Rejection::new("open-already", format_args!("account `{id}` is open already")))
                }
            };
        }
        if account.owner.is_none() {
            return Err(Rejection::new(
                "not-open",
                format_args!("there is no account `{id}`: open it first"),
            ));
        }
        match command {
            Command::Open { .. } | Command::Deposit { cents: 0 } | Command::Withdraw { cents: 0 } => {
                Ok(Vec::new())
            }
            Command::Deposit { cents } => {
                let sum = i64::try_from(*cents).ok().and_then(|cents| account.cents.checked_add(cents));
                sum.ok_or_else(|| Rejection::new("too-much", "no account holds that much"))?;
                Ok(vec![Event::Deposited { cents: *cents }])
            }
            Command::Withdraw { cents } => {
                let settings: Settings =
                    context.settings().map_err(|error| Rejection::new("settings", error))?;
                let left = i64::try_from(*cents).ok().and_then(|cents| account.cents.checked_sub(cents));
                if left.is_none_or(|left| left < -settings.overdraft_cents) {
                    let message =
                        format_args!("account `{id}` has {} cents, and {cents} are asked for", account.cents);
                    return Err(Rejection::new("overdrawn", message).data(&account.cents));
                }
                Ok(vec![Event::Withdrawn { cents: *cents }])
            }
        }
    }

    fn evolve(mut account: Account, event: &Event) -> Account {
        match event {
            Event::Opened { owner } => account.owner = Some(owner.clone()),
            Event::Deposited { cents } => account.cents = account.cents.saturating_add_unsigned(*cents),
            Event::Withdrawn { cents } => {
                account.cents = account.cents.saturating_sub_unsigned(*cents);
                #[cfg(feature = "v2")]
                {
                    account.withdrawals += 1;
                }
            }
        }
        account
    }
}

tidegate_plugin::export_aggregate!(
    Accounts,
    version = if cfg!(feature = "v2") { "0.2.0" } else { env!("CARGO_PKG_VERSION") }
);

#[cfg(test)]
mod tests {
    use tidegate_plugin::Outgoing;
    use tidegate_plugin::testing::given;

    use super::{Accounts, Command, Event, Settings};

    fn opened() -> Event {
        Event::Opened { owner: "ann".to_owned() }
    }

    #[test]
    fn an_account_is_opened_once_and_before_all_else() {
        let open = Command::Open { owner: "ann".to_owned() };
        given::<Accounts>([]).when(&open).then([opened()]).when(&open).then_rejected("open-already");
        given::<Accounts>([]).when(&Command::Deposit { cents: 5 }).then_rejected("not-open");
    }

    #[test]
    fn an_account_is_never_overdrawn() {
        let with_100 = || given::<Accounts>([opened(), Event::Deposited { cents: 100 }]);
        let after =
            with_100().when(&Command::Withdraw { cents: 100 }).then([Event::Withdrawn { cents: 100 }]);
        assert_eq!(after.state().cents, 0);
        let rejection = with_100().when(&Command::Withdraw { cents: 101 }).then_rejected("overdrawn");
        assert_eq!(rejection.data.as_deref(), Some("100"));
        with_100().when(&Command::Withdraw { cents: u64::MAX }).then_rejected("overdrawn");
        let lenient = with_100().settings(&Settings { overdraft_cents: 1 });
        lenient.when(&Command::Withdraw { cents: 101 }).then([Event::Withdrawn { cents: 101 }]);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        given::<Accounts>([opened()]).when(&Command::Deposit { cents: 0 }).then([]);
    }

    #[test]
    fn a_sum_that_no_account_holds_is_rejected() {
        let full = given::<Accounts>([opened(), Event::Deposited { cents: i64::MAX as u64 }]);
        full.when(&Command::Deposit { cents: 1 }).then_rejected("too-much");
    }

    #[test]
    fn a_command_of_another_shape_is_rejected_with_what_is_wrong() {
        let account = given::<Accounts>([opened()]);
        let wrong = Outgoing::new("Deposit.v1").json(&"much").unwrap();
        let rejection = account.when_event(wrong).unwrap_err();
        assert_eq!(rejection.code, "bad-command");
        let unknown = account.when_event(Outgoing::new("Rob.v1")).unwrap_err();
        assert!(unknown.message.contains("Deposit.v1"), "{unknown}");
    }
}
