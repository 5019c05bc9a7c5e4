//! An order: what a client sends, and what is kept of it.

use serde::{Deserialize, Serialize};

/// Bounds of what a client may send.
const TEXT_CHARS_MAX: usize = 100;
const ITEMS_MAX: usize = 100;
const QUANTITY_MAX: u32 = 1000;
const CENTS_MAX: u64 = 100_000_000;

/// What a client sends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// Who orders.
    pub customer: String,
    /// What is ordered.
    pub items: Vec<Item>,
}

/// A line of an order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Which article.
    pub sku: String,
    /// How many of it.
    pub quantity: u32,
    /// The price of one, in cents.
    pub cents: u64,
}

/// An order as it is kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Order {
    /// Its number, from 1 without gaps.
    pub order: u64,
    /// What the client sent.
    #[serde(flatten)]
    pub request: OrderRequest,
    /// What it comes to, in cents.
    pub total_cents: u64,
}

/// What is wrong with a request.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Invalid {
    /// Where.
    pub path: String,
    /// What is wrong there, and what is allowed.
    pub reason: String,
}

impl OrderRequest {
    /// Checks it. An order that isn't right is refused before anything is written.
    pub fn validate(&self) -> Result<(), Invalid> {
        check_text("customer", &self.customer)?;
        check(
            "items",
            (1..=ITEMS_MAX).contains(&self.items.len()),
            format!("an order has 1 to {ITEMS_MAX} items, not {}", self.items.len()),
        )?;
        for (at, item) in self.items.iter().enumerate() {
            check_text(&format!("items[{at}].sku"), &item.sku)?;
            check(
                &format!("items[{at}].quantity"),
                (1..=QUANTITY_MAX).contains(&item.quantity),
                format!("1 to {QUANTITY_MAX} are allowed, not {}", item.quantity),
            )?;
            check(
                &format!("items[{at}].cents"),
                item.cents <= CENTS_MAX,
                format!("at most {CENTS_MAX} are allowed, not {}", item.cents),
            )?;
        }
        Ok(())
    }

    /// What it comes to, in cents. The bounds keep it far from an overflow.
    pub fn total_cents(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.quantity) * item.cents).sum()
    }
}

fn check(path: &str, is_right: bool, reason: String) -> Result<(), Invalid> {
    if is_right { Ok(()) } else { Err(Invalid { path: path.to_owned(), reason }) }
}

fn check_text(path: &str, text: &str) -> Result<(), Invalid> {
    let chars = text.chars().count();
    check(
        path,
        (1..=TEXT_CHARS_MAX).contains(&chars) && !text.chars().any(char::is_control),
        format!("1 to {TEXT_CHARS_MAX} characters are allowed, and no control characters"),
    )
}
