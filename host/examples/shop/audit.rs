//! The auditor: what has gone wrong, by what there is to see from outside.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use shop_rules::Status;

use crate::course::Evidence;
use crate::story::{Fate, Payment, Planned, SCARCE, Story};

/// What has gone wrong on one side.
#[derive(Debug, Default, Serialize)]
pub struct Damage {
    /// Parcels of an order beyond its first one.
    pub parcels_twice: usize,
    /// Orders that were charged more than once.
    pub charged_twice: usize,
    /// Orders that were shipped, and not paid for, or paid back.
    pub shipped_unpaid: usize,
    /// Orders that were paid, and neither shipped nor paid back.
    pub paid_unshipped: usize,
    /// Orders that were shipped although they were cancelled before they were placed.
    pub shipped_cancelled: usize,
    /// Pieces by which the books differ from what is there: what was there at first, less all parcels.
    pub stock_wrong: u64,
    /// Cents that customers paid too much or too little: for what was shipped, or for nothing.
    pub cents_wrong: u64,
    /// Orders that came to no end.
    pub lost: usize,
    /// Orders that were turned down though nothing spoke against them.
    pub turned_down: usize,
    /// Orders of which the window shows wrongly whether they are shipped, or that they are closed, and articles of which it shows
    /// another number than there is.
    pub window_wrong: usize,
}

/// What there was to do on one side.
#[derive(Debug, Serialize)]
pub struct Tally {
    #[serde(flatten)]
    pub damage: Damage,
    /// Orders that were shipped.
    pub shipped: usize,
    /// Events that were put aside, and then put right.
    pub put_right: usize,
}

/// Both sides of a story.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub seed: u64,
    pub orders: usize,
    /// What was done to it on purpose, in words, with how often.
    pub trouble: Vec<(&'static str, usize)>,
    pub naive: Tally,
    pub tidegate: Tally,
}

impl Tally {
    fn of(story: &Story, evidence: &Evidence) -> Self {
        let Evidence { put_aside, report, book } = evidence;
        let mut parcels = BTreeMap::<&str, usize>::new();
        for parcel in &report.parcels {
            *parcels.entry(&parcel.order).or_default() += 1;
        }
        let count = |is_so: &dyn Fn(&str, bool, usize) -> bool| {
            let orders = story.orders.iter().map(|planned| planned.id.as_str());
            orders.filter(|id| is_so(id, parcels.contains_key(id), book.balance(id))).count()
        };
        let fate: BTreeMap<&str, Fate> =
            story.orders.iter().map(|planned| (planned.id.as_str(), planned.fate)).collect();
        let charges = |id: &str| book.charges.get(id).copied().unwrap_or_default();
        let damage = Damage {
            parcels_twice: parcels.values().map(|count| count - 1).sum(),
            charged_twice: count(&|id, _, _| charges(id) > 1),
            shipped_unpaid: count(&|_, is_shipped, balance| is_shipped && balance == 0),
            paid_unshipped: count(&|_, is_shipped, balance| !is_shipped && balance > 0),
            shipped_cancelled: count(&|id, is_shipped, _| is_shipped && fate[id] == Fate::CancelledBefore),
            stock_wrong: stock_wrong(story, evidence),
            cents_wrong: story.orders.iter().map(|planned| cents_wrong(planned, evidence)).sum(),
            // Nonsense is turned down, and nothing begins.
            lost: count(&|id, _, _| fate[id] != Fate::Nonsense && !report.ended.contains_key(id)),
            turned_down: story.orders.iter().filter(|planned| is_turned_down(planned, evidence)).count(),
            window_wrong: count(&|id, is_shipped, _| {
                let shown = report.window_orders.get(id);
                let is_over = report.ended.get(id) == Some(&false) && shown.is_some();
                (shown == Some(&Status::Shipped)) != is_shipped || is_over && shown != Some(&Status::Closed)
            }) + story
                .stock
                .keys()
                .filter(|sku| report.window_stock.get(*sku) != report.stock.get(*sku))
                .count(),
        };
        Self { damage, shipped: parcels.len(), put_right: put_aside.saturating_sub(report.put_aside) }
    }

    /// Whether nothing has gone wrong.
    pub fn is_clean(&self) -> bool {
        self.damage.rows().iter().all(|(_, count)| *count == 0)
    }
}

/// Whether an order was not shipped that nobody cancelled or declined, of an article of which there is enough.
fn is_turned_down(planned: &Planned, Evidence { report, .. }: &Evidence) -> bool {
    matches!(planned.fate, Fate::Ordered | Fate::Poisoned)
        && planned.payment != Payment::Declined
        && !SCARCE.contains(&planned.order.sku.as_str())
        && report.ended.get(&planned.id) == Some(&false)
}

/// By how many pieces the books are wrong, article by article.
fn stock_wrong(story: &Story, Evidence { report, .. }: &Evidence) -> u64 {
    let mut right: BTreeMap<&str, u64> =
        story.stock.iter().map(|(sku, pieces)| (sku.as_str(), u64::from(*pieces))).collect();
    for parcel in &report.parcels {
        if let Some(left) = right.get_mut(parcel.sku.as_str()) {
            *left = left.saturating_sub(u64::from(parcel.quantity));
        }
    }
    right.iter().map(|(sku, left)| left.abs_diff(report.stock.get(*sku).copied().unwrap_or_default())).sum()
}

/// By how many cents an order's customer has paid something else than what was shipped costs.
fn cents_wrong(planned: &Planned, Evidence { report, book, .. }: &Evidence) -> u64 {
    let is_shipped = report.parcels.iter().any(|parcel| parcel.order == planned.id);
    let right = if is_shipped { planned.order.total_cents() } else { 0 };
    let paid = book.cents.get(&planned.id).copied().unwrap_or_default();
    i64::try_from(right).unwrap_or(i64::MAX).abs_diff(paid)
}

impl Damage {
    fn rows(&self) -> [(&'static str, u64); 10] {
        let number = |count: usize| count as u64;
        [
            ("parcels sent twice", number(self.parcels_twice)),
            ("orders charged twice", number(self.charged_twice)),
            ("orders shipped, and not paid", number(self.shipped_unpaid)),
            ("orders paid, neither shipped nor paid back", number(self.paid_unshipped)),
            ("orders shipped, and cancelled before", number(self.shipped_cancelled)),
            ("pieces by which the stock is wrong", self.stock_wrong),
            ("cents paid too much or too little", self.cents_wrong),
            ("orders that came to no end", number(self.lost)),
            ("orders turned down for no reason", number(self.turned_down)),
            ("wrong answers of the shop window", number(self.window_wrong)),
        ]
    }
}

impl Comparison {
    pub fn of(story: &Story, naive: &Evidence, tidegate: &Evidence) -> Self {
        let trouble = vec![
            ("requests sent twice", story.duplicates),
            ("cancellations before their order", story.with_fate(Fate::CancelledBefore)),
            ("cancellations after it", story.with_fate(Fate::Cancelled)),
            ("payments answered by 503", story.with_payment(Payment::Unavailable)),
            ("payments answered too late", story.with_payment(Payment::Late)),
            ("payments whose answer is lost", story.with_payment(Payment::Lost)),
            ("payments declined", story.with_payment(Payment::Declined)),
            ("orders of nothing", story.with_fate(Fate::Nonsense)),
            ("orders that can't be shipped at first", story.with_fate(Fate::Poisoned)),
            ("crashes in the middle", 1),
            ("new versions in the middle", 1),
        ];
        let (naive, tidegate) = (Tally::of(story, naive), Tally::of(story, tidegate));
        Self { seed: story.seed, orders: story.orders.len(), trouble, naive, tidegate }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} orders, seed {}, and what is done to them:\n", self.orders, self.seed)?;
        for (what, count) in &self.trouble {
            writeln!(f, "  {count:>6}  {what}")?;
        }
        writeln!(f, "\n{:44}{:>10}{:>10}", "what comes of it", "naive", "tidegate")?;
        let rows = self.naive.damage.rows().into_iter().zip(self.tidegate.damage.rows());
        for ((what, naive), (_, tidegate)) in rows {
            writeln!(f, "{what:44}{naive:>10}{tidegate:>10}")?;
        }
        let (naive, tidegate) = (&self.naive, &self.tidegate);
        writeln!(f, "\n{:44}{:>10}{:>10}", "orders shipped", naive.shipped, tidegate.shipped)?;
        let put_right = "events put aside, mended and redriven";
        writeln!(f, "{put_right:44}{:>10}{:>10}", naive.put_right, tidegate.put_right)
    }
}
