//! What changes accounts: on the command line, and on the lines of a batch.

use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::amount::Amount;
use crate::ledger::{Ledger, LedgerError};

/// A change.
#[derive(Subcommand)]
pub enum Operation {
    /// Open an account
    Open {
        /// Its name
        account: String,
        #[command(flatten)]
        identity: Identity,
    },
    /// Put money into an account
    Deposit {
        /// The account
        account: String,
        /// How much, such as 12.50
        amount: Amount,
        #[command(flatten)]
        identity: Identity,
    },
    /// Take money out of an account
    Withdraw {
        /// The account
        account: String,
        /// How much, such as 12.50
        amount: Amount,
        #[command(flatten)]
        identity: Identity,
    },
    /// Move money from one account to another
    Transfer {
        /// From which account
        from: String,
        /// To which account
        to: String,
        /// How much, such as 12.50
        amount: Amount,
        #[command(flatten)]
        identity: Identity,
    },
}

/// What tells one change from another.
#[derive(Args)]
pub struct Identity {
    /// The id of the change: the same one again takes effect once, and another one is refused [default: a new UUID]
    #[arg(long)]
    id: Option<String>,
}

impl Identity {
    fn id(self) -> String {
        self.id.unwrap_or_else(|| Uuid::new_v4().to_string())
    }
}

impl Operation {
    /// Carries it out. Returns what the account has come to, for people.
    pub fn carry_out(self, ledger: &Ledger) -> Result<String, LedgerError> {
        let (name, account) = match self {
            Self::Open { account, identity } => {
                let now = ledger.open_account(&identity.id(), &account)?;
                (account, now)
            }
            Self::Deposit { account, amount, identity } => {
                let now = ledger.deposit(&identity.id(), &account, amount)?;
                (account, now)
            }
            Self::Withdraw { account, amount, identity } => {
                let now = ledger.withdraw(&identity.id(), &account, amount)?;
                (account, now)
            }
            Self::Transfer { from, to, amount, identity } => {
                let now = ledger.transfer(&identity.id(), &from, &to, amount)?;
                (from, now)
            }
        };
        Ok(format!("{name} holds {} after {} events", Amount(account.cents), account.version))
    }
}
