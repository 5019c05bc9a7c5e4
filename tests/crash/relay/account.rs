//! The parent: holds the log against the application's database.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate::outbox::OutboxState;
use tidegate::{Blocking, Position};

use super::shop::{OUTBOX, Shop, TOPIC};
use crate::scenario::Account;

/// Looks at a relay that catches up, and the pause between two of them.
const LOOKS_MAX: u32 = 6000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// See the module.
pub struct RelayAccount {
    shop: &'static dyn Shop,
    /// Sales whose commit was acknowledged, and that were not looked for yet.
    told: BTreeSet<String>,
    /// What was checked up to now: the last sale, the last outbox row, and the first offset of the log that wasn't.
    sale: i64,
    position: i64,
    offset: u64,
    sales: u64,
    /// Rows that the relay had still to publish when it was killed.
    behind: u64,
}

impl RelayAccount {
    pub fn new(shop: &'static dyn Shop) -> Self {
        Self { shop, told: BTreeSet::new(), sale: 0, position: 0, offset: 0, sales: 0, behind: 0 }
    }
}

impl Account for RelayAccount {
    fn take(&mut self, line: &str) -> Result<()> {
        ensure!(self.told.insert(line.to_owned()), "sale {line} was acknowledged twice");
        Ok(())
    }

    fn check(&mut self, bus: &Blocking) -> Result<()> {
        let directory = directory(bus)?;
        let mut till = self.shop.open(&directory)?;
        till.alone()?;
        let before = events(bus, self.offset)?.len();
        catch_up(self.shop, &directory, bus)?;
        let events = events(bus, self.offset)?;
        let rows = till.rows(self.position)?;
        let sales = till.sales(self.sale)?;

        let ids: Vec<&str> = rows.iter().map(|(_, id)| id.as_str()).collect();
        if let Some(at) = (0..ids.len().max(events.len()))
            .find(|at| ids.get(*at) != events.get(*at).map(String::as_str).as_ref())
        {
            bail!(
                "{} rows were committed and {} events published; the first that differ are row {:?} and event {:?}",
                ids.len(),
                events.len(),
                ids.get(at),
                events.get(at),
            );
        }
        let sold: BTreeSet<&str> = sales.iter().map(|(_, id)| id.as_str()).collect();
        let published: BTreeSet<&str> = events.iter().map(String::as_str).collect();
        ensure!(published.len() == events.len(), "an event was published twice");
        ensure!(
            sold == published,
            "sales without an event: {:?}; events without a sale: {:?}",
            sold.difference(&published).collect::<Vec<_>>(),
            published.difference(&sold).collect::<Vec<_>>(),
        );
        in_the_order_of_each_writer(&events)?;
        let missing: Vec<_> = self.told.iter().filter(|id| !sold.contains(id.as_str())).collect();
        ensure!(missing.is_empty(), "sales that were acknowledged are gone: {missing:?}");
        let unmarked = till.unmarked()?;
        ensure!(unmarked == 0, "{unmarked} published rows are not marked");

        self.told.clear();
        self.behind += (events.len() - before) as u64;
        self.sales += sales.len() as u64;
        self.offset += events.len() as u64;
        self.sale = sales.last().map_or(self.sale, |(number, _)| *number);
        self.position = rows.last().map_or(self.position, |(position, _)| *position);
        Ok(())
    }

    fn settle(&mut self, bus: &Blocking) -> Result<()> {
        let mut till = self.shop.open(&directory(bus)?)?;
        let sales: BTreeSet<String> = till.sales(0)?.into_iter().map(|(_, id)| id).collect();
        let events = events(bus, 0)?;
        ensure!(events.len() == sales.len(), "{} sales and {} events", sales.len(), events.len());
        ensure!(events.into_iter().collect::<BTreeSet<_>>() == sales, "sales and events differ");
        Ok(())
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("sales", self.sales), ("events", self.offset), ("published after a kill", self.behind)]
    }
}

/// The directory of the run.
fn directory(bus: &Blocking) -> Result<PathBuf> {
    Ok(bus.directory().parent().context("the bus has no directory around it")?.to_owned())
}

/// Has a relay publish what the killed one has left.
fn catch_up(shop: &dyn Shop, directory: &Path, bus: &Blocking) -> Result<()> {
    bus.bus().start_outbox(OUTBOX, shop.config(directory))?;
    for _ in 0..LOOKS_MAX {
        let status = bus.outboxes().into_iter().next().context("the relay has ended")?;
        match (status.state, status.backlog) {
            (OutboxState::Refused, _) => bail!("the relay refuses: {}", status.trouble.unwrap_or_default()),
            (OutboxState::Idle, Some(backlog)) if backlog.waiting == 0 => {
                ensure!(backlog.failed == 0, "{} rows were set aside", backlog.failed);
                return Ok(bus.stop_outbox(OUTBOX)?);
            }
            // Nobody unparks this thread, so this is the pause between two looks.
            _ => std::thread::park_timeout(LOOK_EVERY),
        }
    }
    bail!("the relay doesn't catch up: {:?}", bus.outboxes())
}

/// The ids of all events from an offset on.
fn events(bus: &Blocking, from: u64) -> Result<Vec<String>> {
    let mut reader = bus.bus().read(TOPIC, Some(0), Position::Offset(from))?;
    let mut ids = Vec::new();
    while let Some(record) = reader.try_next()? {
        ids.push(record.event.id().to_owned());
    }
    Ok(ids)
}

/// A writer commits one sale after the other, so its events come in that order too.
fn in_the_order_of_each_writer(events: &[String]) -> Result<()> {
    let mut last: HashMap<&str, &str> = HashMap::new();
    for event in events {
        let (writer, _) = event.rsplit_once('.').context("an event that nobody has sold")?;
        if let Some(before) = last.insert(writer, event) {
            ensure!(before < event.as_str(), "{event} was published behind {before}");
        }
    }
    Ok(())
}
