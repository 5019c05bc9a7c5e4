//! What happens, made of a seed: who orders what, how it reaches the shop, and what the payment service does about it.

use std::collections::BTreeMap;

use serde_json::json;
use shop_rules::Order;
use tidegate::{Event, EventError};

/// The front ends' connections to the shop. Each sends one request at a time.
pub const CONNECTIONS: usize = 4;

const SKUS: [&str; 8] = ["bowl", "cup", "jug", "kettle", "plate", "spoon", "teapot", "tray"];

/// Of these more is ordered than there is. An order that has another trouble is of another article.
pub const SCARCE: [&str; 2] = ["teapot", "tray"];

const ADDRESS: &str = "Mill Lane 4, Hampton Lucy, Warwick";

/// The label of the first release would end within the `ü`.
const POISONED_ADDRESS: &str = "Rosenstraße 2, 80331 München";

/// A story.
pub struct Story {
    pub seed: u64,
    pub orders: Vec<Planned>,
    /// Pieces of each article at the beginning.
    pub stock: BTreeMap<String, u32>,
    /// What each connection sends: before the crash and until it is over, and then, with the new version.
    pub phases: [Vec<Vec<Event>>; 2],
    /// The shop is killed while it waits for the answer to this charge.
    pub crash_at_charge: usize,
    /// Requests that are sent a second time.
    pub duplicates: usize,
}

/// An order, and what becomes of it.
pub struct Planned {
    pub id: String,
    pub order: Order,
    pub fate: Fate,
    pub payment: Payment,
}

/// What its customer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Orders, and waits.
    Ordered,
    /// Cancels it soon afterwards, over another connection: whether that is in time is open.
    Cancelled,
    /// Cancels it, and the cancellation overtakes the order.
    CancelledBefore,
    /// Orders nothing at all.
    Nonsense,
    /// Lives where the first release can't ship to.
    Poisoned,
}

/// What the payment service does when it is asked for an order's payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payment {
    /// It takes it and says so.
    Taken,
    /// It answers 503 twice before it does anything.
    Unavailable,
    /// It takes it, and answers the first time when nobody waits any more.
    Late,
    /// It takes it, and its first answer is lost on the way: its gateway says 504.
    Lost,
    /// It declines.
    Declined,
}

/// The event types by which an order is placed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

impl Story {
    pub fn new(orders: u32, seed: u64) -> Result<Self, EventError> {
        let mut dice = Dice(seed);
        let mut orders: Vec<Planned> = (1..=orders).map(|number| Planned::new(number, &mut dice)).collect();
        trouble(&mut orders, &mut dice);

        let mut stock = BTreeMap::<String, u32>::new();
        for planned in &orders {
            *stock.entry(planned.order.sku.clone()).or_default() += planned.order.quantity;
        }
        for sku in SCARCE {
            stock.entry(sku.to_owned()).and_modify(|pieces| *pieces -= *pieces / 4);
        }

        let (first, second) = orders.split_at(orders.len() / 2);
        let (mut duplicates, crash_at_charge) = (0, first.len() / 4);
        let mut before = connections(first, &mut dice, |_| Version::First, &mut duplicates)?;
        // Some front ends are of the first release for a while.
        let version = |dice: &mut Dice| if dice.one_in(4) { Version::First } else { Version::Second };
        let mut after = connections(second, &mut dice, version, &mut duplicates)?;
        // Who doesn't know whether a request was taken before the crash sends it again.
        for event in before.iter().flatten() {
            if dice.one_in(10) {
                let sent = &mut after[dice.below(CONNECTIONS)];
                let at = dice.below(sent.len() + 1);
                sent.insert(at, event.clone());
                duplicates += 1;
            }
        }
        overtaken(first, &mut before, Version::First, &mut dice)?;
        overtaken(second, &mut after, Version::Second, &mut dice)?;
        Ok(Self { seed, orders, stock, phases: [before, after], crash_at_charge, duplicates })
    }

    /// How many orders have this fate.
    pub fn with_fate(&self, fate: Fate) -> usize {
        self.orders.iter().filter(|planned| planned.fate == fate).count()
    }

    /// How many orders' payments have this trouble.
    pub fn with_payment(&self, payment: Payment) -> usize {
        self.orders.iter().filter(|planned| planned.payment == payment).count()
    }
}

impl Planned {
    fn new(number: u32, dice: &mut Dice) -> Self {
        let order = Order {
            customer: format!("customer-{}", dice.below(50)),
            address: ADDRESS.to_owned(),
            sku: SKUS[dice.below(SKUS.len())].to_owned(),
            quantity: if dice.one_in(3) { 2 } else { 1 },
            cents: if dice.one_in(2) { 1_250 } else { 995 },
            currency: "EUR".to_owned(),
        };
        let id = format!("order-{number:05}");
        Self { id, order, fate: Fate::Ordered, payment: Payment::Taken }
    }

    fn place(&self, version: Version) -> Result<Event, EventError> {
        let Order { customer, address, sku, quantity, cents, .. } = &self.order;
        let id = format!("{}/place", self.id);
        let event = match version {
            Version::First => {
                // A price of cents that a division by 100 brings back exactly.
                let price = f64::from(u32::try_from(*cents).unwrap_or(u32::MAX)) / 100.0;
                Event::new(id, "/front-end", "PlaceOrder.v1").json(&json!({
                    "customer": customer, "address": address, "sku": sku, "quantity": quantity, "price": price,
                }))
            }
            Version::Second => Event::new(id, "/front-end", "PlaceOrder.v2").json(&self.order),
        };
        event.subject(&self.id).extension("correlationid", self.id.as_str()).build()
    }

    fn cancel(&self) -> Result<Event, EventError> {
        let event = Event::new(format!("{}/cancel", self.id), "/front-end", "CancelOrder.v1");
        event.subject(&self.id).extension("correlationid", self.id.as_str()).build()
    }
}

/// Gives some orders a trouble of their own, each kind at least one.
fn trouble(orders: &mut [Planned], dice: &mut Dice) {
    let count = orders.len();
    let mut places: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        places.swap(at, dice.below(at + 1));
    }
    let mut next = |one_in: usize| -> Vec<usize> {
        let some = (count / one_in).max(1);
        places.drain(places.len().saturating_sub(some)..).collect()
    };
    for (fate, one_in) in [(Fate::Cancelled, 20), (Fate::CancelledBefore, 20), (Fate::Nonsense, 50)] {
        for at in next(one_in) {
            orders[at].fate = fate;
        }
    }
    for at in next(count) {
        orders[at].fate = Fate::Poisoned;
    }
    let payments =
        [(Payment::Unavailable, 15), (Payment::Late, 25), (Payment::Lost, 25), (Payment::Declined, 25)];
    for (payment, one_in) in payments {
        for at in next(one_in) {
            orders[at].payment = payment;
        }
    }
    for planned in orders {
        if planned.fate != Fate::Ordered || planned.payment != Payment::Taken {
            SKUS[dice.below(SKUS.len() - SCARCE.len())].clone_into(&mut planned.order.sku);
        }
        match planned.fate {
            Fate::Nonsense => planned.order.quantity = 0,
            Fate::Poisoned => POISONED_ADDRESS.clone_into(&mut planned.order.address),
            _ => {}
        }
    }
}

/// What each connection sends of these orders, with duplicates and out of order.
fn connections(
    orders: &[Planned],
    dice: &mut Dice,
    version: impl Fn(&mut Dice) -> Version,
    duplicates: &mut usize,
) -> Result<Vec<Vec<Event>>, EventError> {
    let mut sent = vec![Vec::new(); CONNECTIONS];
    for planned in orders.iter().filter(|planned| planned.fate != Fate::CancelledBefore) {
        let connection = dice.below(CONNECTIONS);
        let place = planned.place(version(dice))?;
        sent[connection].push(place.clone());
        if planned.fate == Fate::Cancelled {
            sent[(connection + 1) % CONNECTIONS].push(planned.cancel()?);
        }
        // The answer was lost, and another connection tries again.
        if dice.one_in(5) {
            sent[dice.below(CONNECTIONS)].push(place);
            *duplicates += 1;
        }
    }
    // What is tried again later is overtaken by what comes after it.
    for sent in &mut sent {
        for at in 0..sent.len() {
            if dice.one_in(4) {
                let later = (at + 1 + dice.below(4)).min(sent.len() - 1);
                let event = sent.remove(at);
                sent.insert(later, event);
            }
        }
    }
    Ok(sent)
}

/// Adds the orders whose cancellation is taken before they are: by one connection, which waits for its answers.
fn overtaken(
    orders: &[Planned],
    sent: &mut [Vec<Event>],
    version: Version,
    dice: &mut Dice,
) -> Result<(), EventError> {
    for planned in orders.iter().filter(|planned| planned.fate == Fate::CancelledBefore) {
        let pair = [planned.cancel()?, planned.place(version)?];
        let sent = &mut sent[dice.below(CONNECTIONS)];
        let at = dice.below(sent.len() + 1);
        sent.splice(at..at, pair);
    }
    Ok(())
}

/// Numbers that a seed repeats: `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    fn below(&mut self, end: usize) -> usize {
        let number = self.roll() % u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(number).unwrap_or_default()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}
