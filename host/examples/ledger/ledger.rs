//! The ledger on its bus.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate::config::TopicConfig;
use tidegate::{
    AdminError, Blocking, Bus, BusError, EventError, OpenError, PublishError, ReadError, Timestamp,
    TransactionError,
};

use crate::account::{Account, Change, Inconsistent};
use crate::amount::Amount;

/// The topic of all accounts.
const TOPIC: &str = "accounts";

/// Times that a change is decided anew because somebody was faster. Each time, another change was made: with a few threads
/// nobody comes near it.
const TRIES: u32 = 200;

/// The pause between two tries where waiting helps.
const PAUSE: Duration = Duration::from_millis(50);

/// Time to end the bus: nothing runs on it.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Why something was not done. Nothing was changed then, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "the data directory {} is open in another process, and one at a time can have it: try again when that one has \
         ended, or wait for it with `--wait 10s`", .directory.display()
    )]
    InUse { directory: PathBuf },
    #[error(transparent)]
    Open(#[from] BusError),
    #[error(transparent)]
    Topic(#[from] AdminError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("{0}")]
    Transfer(#[from] TransactionError<HalfError>),
    #[error("there is no account `{0}`: `open {0}` opens it")]
    NoAccount(String),
    #[error("account `{0}` is open already")]
    IsOpen(String),
    #[error("account `{account}` holds {holds}, and {wanted} is more")]
    Overdraft { account: String, holds: Amount, wanted: Amount },
    #[error("account `{0}` can't take that much")]
    TooRich(String),
    #[error("a transfer is between two accounts, and both are `{0}`")]
    SameAccount(String),
    #[error(
        "the id `{id}` belongs to another change, and `{account}` is as it was: give this one an id of its own"
    )]
    IdReused { id: String, account: String },
    #[error("others changed the account at each of {TRIES} tries: try again")]
    Busy,
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the output can't be written, and a change is made all the same: {0}")]
    Output(#[source] io::Error),
}

/// Why one half of a transfer is not published; neither is the other half then.
#[derive(Debug, thiserror::Error)]
pub enum HalfError {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("the topic has an event with the id `{0}` already")]
    Duplicate(String),
}

impl LedgerError {
    /// Somebody was faster: what was read is out of date.
    fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Publish(PublishError::VersionConflict { .. })
                | Self::Transfer(TransactionError::Refused(HalfError::Publish(
                    PublishError::VersionConflict { .. }
                )))
        )
    }

    /// The storage failed. It may have been done or not: the same events again take effect once.
    fn is_worth_waiting(&self) -> bool {
        matches!(
            self,
            Self::Publish(PublishError::InDoubt(_) | PublishError::Reopening)
                | Self::Transfer(TransactionError::InDoubt(_) | TransactionError::Reopening)
                | Self::Read(ReadError::Reopening)
        )
    }
}

/// The ledger. All threads of a process share one.
pub struct Ledger {
    bus: Blocking,
}

impl Ledger {
    /// Opens the ledger, and waits at most so long for another process that has it open.
    pub fn open(directory: &Path, wait: Duration) -> Result<Self, LedgerError> {
        let mut waited = Duration::ZERO;
        let bus = loop {
            match Bus::open(directory) {
                Ok(bus) => break bus.blocking(),
                Err(BusError::Open(OpenError::InUse { .. })) if waited < wait => {
                    pause();
                    waited += PAUSE;
                }
                Err(BusError::Open(OpenError::InUse { .. })) => {
                    return Err(LedgerError::InUse { directory: directory.to_owned() });
                }
                Err(error) => return Err(error.into()),
            }
        };
        bus.create_topic(TOPIC, TopicConfig::new(4).sequence(true))?;
        Ok(Self { bus })
    }

    /// Ends it in good order.
    pub fn close(self) {
        self.bus.shutdown(SHUTDOWN);
    }

    /// Opens an account.
    pub fn open_account(&self, id: &str, name: &str) -> Result<Account, LedgerError> {
        self.change(id, name, &Change::Opened, |account| {
            if account.is_open { Err(LedgerError::IsOpen(name.to_owned())) } else { Ok(()) }
        })
    }

    /// Puts money into an account.
    pub fn deposit(&self, id: &str, name: &str, amount: Amount) -> Result<Account, LedgerError> {
        self.change(id, name, &Change::Deposited(amount), |account| can_take(account, name, amount))
    }

    /// Takes money out of an account, if it is there.
    pub fn withdraw(&self, id: &str, name: &str, amount: Amount) -> Result<Account, LedgerError> {
        self.change(id, name, &Change::Withdrawn(amount), |account| can_give(account, name, amount))
    }

    /// Moves money from one account to another: both change, or neither does.
    pub fn transfer(&self, id: &str, from: &str, to: &str, amount: Amount) -> Result<Account, LedgerError> {
        if from == to {
            return Err(LedgerError::SameAccount(from.to_owned()));
        }
        let change = Change::Sent(amount, to.to_owned());
        let sent = change.event(id, from)?;
        let received = Change::Received(amount, from.to_owned()).event(&format!("{id}/received"), to)?;
        decide(|| {
            let Some(giver) = self.before(id, from, &change)? else { return self.now(from) };
            let taker = self.now(to)?;
            can_give(&giver, from, amount)?;
            can_take(&taker, to, amount)?;
            // Reading was done outside, where it keeps nobody waiting. What was read is still so, or all of it is undone.
            let (sent, received) = (sent.clone(), received.clone());
            let outcome = self.bus.transaction(move |transaction| {
                for (version, event) in [(giver.version, sent), (taker.version, received)] {
                    let id = event.id().to_owned();
                    // What the topic knows meets any expectation and is not appended. The other half would be, alone.
                    if transaction.publish_expecting(TOPIC, version, event)?.duplicate {
                        return Err(HalfError::Duplicate(id));
                    }
                }
                Ok(())
            });
            match outcome {
                Err(TransactionError::Refused(HalfError::Duplicate(_))) => self.known(id, from, &change),
                outcome => {
                    outcome?;
                    self.now(from)
                }
            }
        })
    }

    /// What an account holds, in cents.
    pub fn balance(&self, name: &str) -> Result<u64, LedgerError> {
        let account = self.now(name)?;
        if account.is_open { Ok(account.cents) } else { Err(LedgerError::NoAccount(name.to_owned())) }
    }

    /// Tells the events of an account, from behind a number on, for as long as `tell` says that somebody listens.
    pub fn history(
        &self,
        name: &str,
        after: u64,
        mut tell: impl FnMut(String) -> io::Result<bool>,
    ) -> Result<(), LedgerError> {
        let mut account = Account::default();
        // From the first one on, as each line says what the account came to.
        let mut events = self.bus.bus().read_key(TOPIC, name, 0)?;
        while let Some(record) = events.try_next()? {
            account.apply(name, &record.event)?;
            if account.version > after {
                let line = line(&account, record.appended, &record.event);
                if !tell(line).map_err(LedgerError::Output)? {
                    return Ok(());
                }
            }
        }
        if account.is_open { Ok(()) } else { Err(LedgerError::NoAccount(name.to_owned())) }
    }

    /// Reads an account, decides, and publishes the change on condition that nobody was faster; else it begins anew.
    fn change(
        &self,
        id: &str,
        name: &str,
        change: &Change,
        check: impl Fn(&Account) -> Result<(), LedgerError>,
    ) -> Result<Account, LedgerError> {
        let event = change.event(id, name)?;
        decide(|| {
            let Some(account) = self.before(id, name, change)? else { return self.now(name) };
            check(&account)?;
            let published = self.bus.publish_expecting(TOPIC, account.version, vec![event.clone()])?;
            if published.iter().any(|published| published.duplicate) {
                return self.known(id, name, change);
            }
            self.now(name)
        })
    }

    /// The topic has had the id, and nothing was appended: somebody was faster with this very change, or the id belongs to
    /// another one.
    fn known(&self, id: &str, name: &str, change: &Change) -> Result<Account, LedgerError> {
        match self.before(id, name, change)? {
            None => self.now(name),
            Some(_) => Err(LedgerError::IdReused { id: id.to_owned(), account: name.to_owned() }),
        }
    }

    /// An account as it is now.
    fn now(&self, name: &str) -> Result<Account, LedgerError> {
        let mut account = Account::default();
        let mut events = self.bus.bus().read_key(TOPIC, name, 0)?;
        while let Some(record) = events.try_next()? {
            account.apply(name, &record.event)?;
        }
        Ok(account)
    }

    /// An account as a change finds it; `None` if the change of this id is among its events, so that it is done already.
    ///
    /// It reads all events of the account. Where there are many, keep a balance beside them, in a table of your own.
    fn before(&self, id: &str, name: &str, change: &Change) -> Result<Option<Account>, LedgerError> {
        let mut account = Account::default();
        let mut events = self.bus.bus().read_key(TOPIC, name, 0)?;
        while let Some(record) = events.try_next()? {
            if record.event.id() == id {
                // A type that came later is another change in any case.
                return match Change::of_event(&record.event) {
                    Ok(Some(done)) if done == *change => Ok(None),
                    _ => Err(LedgerError::IdReused { id: id.to_owned(), account: name.to_owned() }),
                };
            }
            account.apply(name, &record.event)?;
        }
        Ok(Some(account))
    }
}

/// Decides again while others are faster.
fn decide<T>(once: impl Fn() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    for _ in 0..TRIES {
        match once() {
            Err(error) if error.is_conflict() => {}
            Err(error) if error.is_worth_waiting() => pause(),
            outcome => return outcome,
        }
    }
    Err(LedgerError::Busy)
}

/// Nobody unparks this thread: it is a pause, which may end early and do no harm.
fn pause() {
    std::thread::park_timeout(PAUSE);
}

fn can_give(account: &Account, name: &str, amount: Amount) -> Result<(), LedgerError> {
    let (account, holds, wanted) = (name.to_owned(), account_of(account, name)?, amount);
    if holds.0 < wanted.0 { Err(LedgerError::Overdraft { account, holds, wanted }) } else { Ok(()) }
}

fn can_take(account: &Account, name: &str, amount: Amount) -> Result<(), LedgerError> {
    let sum = account_of(account, name)?.0.checked_add(amount.0);
    sum.map(drop).ok_or_else(|| LedgerError::TooRich(name.to_owned()))
}

fn account_of(account: &Account, name: &str) -> Result<Amount, LedgerError> {
    if account.is_open { Ok(Amount(account.cents)) } else { Err(LedgerError::NoAccount(name.to_owned())) }
}

fn line(account: &Account, appended: Timestamp, event: &tidegate::Event) -> String {
    let change = match Change::of_event(event) {
        Ok(Some(change)) => change.to_string(),
        _ => event.kind().to_owned(),
    };
    format!("{}  {appended}  {change}  holds {}", account.version, Amount(account.cents))
}
