//! The database: orders, shelves, parcels and the window. Each method is one transaction.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use serde::{Serialize, de::DeserializeOwned};
use shop_rules::{Life, Order, Shelf, Status};

use super::broker;
use crate::error::ShopError;
use crate::service::{Parcel, Report};

/// A connection to the database.
pub struct Database {
    connection: Connection,
}

impl Database {
    pub fn open(directory: &Path) -> Result<Self, ShopError> {
        let connection = broker::open(&directory.join("shop.sqlite"))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS orders (
                 id TEXT PRIMARY KEY, body TEXT NOT NULL, life TEXT NOT NULL, is_shipped INTEGER
             );
             CREATE TABLE IF NOT EXISTS shelves (sku TEXT PRIMARY KEY, pieces INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS parcels (order_id TEXT NOT NULL, sku TEXT NOT NULL, quantity INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS window_orders (id TEXT PRIMARY KEY, status TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS window_stock (sku TEXT PRIMARY KEY, pieces INTEGER NOT NULL);",
        )?;
        Ok(Self { connection })
    }

    /// Fills the shelves, unless they have been filled before.
    pub fn stock_up(&mut self, stock: &BTreeMap<String, u32>) -> Result<(), ShopError> {
        let transaction = self.begin()?;
        for (sku, pieces) in stock {
            for table in ["shelves", "window_stock"] {
                transaction
                    .execute(&format!("INSERT OR IGNORE INTO {table} VALUES (?, ?)"), params![sku, pieces])?;
            }
        }
        Ok(transaction.commit()?)
    }

    pub fn place(&self, id: &str, order: &Order) -> Result<(), ShopError> {
        let body = serde_json::to_string(order)?;
        let insert = "INSERT INTO orders (id, body, life) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        self.connection.execute(insert, params![id, body, text(&Life::Placed)?])?;
        Ok(())
    }

    pub fn order(&self, id: &str) -> Result<(Order, Life), ShopError> {
        let select = "SELECT body, life FROM orders WHERE id = ?";
        let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let (body, life) = self.connection.query_row(select, [id], row)?;
        Ok((serde_json::from_str(&body)?, of_text(&life)?))
    }

    /// Cancels an order, if there is one and it may be cancelled. Returns whether it is.
    pub fn cancel(&mut self, id: &str) -> Result<bool, ShopError> {
        let transaction = self.begin()?;
        let life = transaction
            .query_row("SELECT life FROM orders WHERE id = ?", [id], |row| row.get::<_, String>(0));
        let life = life.optional()?.map(|life| of_text::<Life>(&life)).transpose()?;
        let is_cancelled = life.is_some_and(Life::may_be_cancelled);
        if is_cancelled {
            set_life(&transaction, id, Life::Cancelled)?;
        }
        transaction.commit()?;
        Ok(is_cancelled)
    }

    /// Has the shelf of an article changed by the shop's rules. Returns what is left there, if the rules allow it.
    pub fn shelf<E>(
        &mut self,
        sku: &str,
        change: impl FnOnce(&mut Shelf) -> Result<(), E>,
    ) -> Result<Option<u64>, ShopError> {
        let transaction = self.begin()?;
        let select = "SELECT pieces FROM shelves WHERE sku = ?";
        let mut shelf = Shelf { left: pieces(transaction.query_row(select, [sku], |row| row.get(0))?) };
        if change(&mut shelf).is_err() {
            return Ok(None);
        }
        transaction
            .execute("UPDATE shelves SET pieces = ? WHERE sku = ?", params![integer(shelf.left), sku])?;
        transaction.commit()?;
        Ok(Some(shelf.left))
    }

    pub fn ship(&mut self, id: &str, order: &Order) -> Result<(), ShopError> {
        let transaction = self.begin()?;
        transaction
            .execute("INSERT INTO parcels VALUES (?, ?, ?)", params![id, order.sku, order.quantity])?;
        set_life(&transaction, id, Life::Confirmed)?;
        transaction.execute("UPDATE orders SET is_shipped = 1 WHERE id = ?", [id])?;
        Ok(transaction.commit()?)
    }

    /// An order is at its end without being shipped.
    pub fn close(&self, id: &str) -> Result<(), ShopError> {
        let update = "UPDATE orders SET is_shipped = 0 WHERE id = ? AND is_shipped IS NULL";
        self.connection.execute(update, [id])?;
        Ok(())
    }

    pub fn show_order(&self, id: &str, status: Status) -> Result<(), ShopError> {
        let insert = "INSERT OR REPLACE INTO window_orders VALUES (?, ?)";
        self.connection.execute(insert, params![id, text(&status)?])?;
        Ok(())
    }

    pub fn show_stock(&self, sku: &str, left: u64) -> Result<(), ShopError> {
        self.connection
            .execute("INSERT OR REPLACE INTO window_stock VALUES (?, ?)", params![sku, integer(left)])?;
        Ok(())
    }

    pub fn report(&self) -> Result<Report, ShopError> {
        let mut report = Report::default();
        let mut parcels = self.connection.prepare("SELECT order_id, sku, quantity FROM parcels")?;
        let parcel =
            |row: &Row<'_>| Ok(Parcel { order: row.get(0)?, sku: row.get(1)?, quantity: row.get(2)? });
        report.parcels = parcels.query_map([], parcel)?.collect::<Result<_, _>>()?;
        report.ended = self.pairs("SELECT id, is_shipped FROM orders WHERE is_shipped IS NOT NULL")?;
        report.stock = self.stock("SELECT sku, pieces FROM shelves")?;
        report.window_stock = self.stock("SELECT sku, pieces FROM window_stock")?;
        for (id, status) in self.pairs::<String>("SELECT id, status FROM window_orders")? {
            report.window_orders.insert(id, of_text(&status)?);
        }
        Ok(report)
    }

    fn stock(&self, select: &str) -> Result<BTreeMap<String, u64>, ShopError> {
        Ok(self.pairs(select)?.into_iter().map(|(sku, left)| (sku, pieces(left))).collect())
    }

    fn pairs<T: FromSql>(&self, select: &str) -> Result<BTreeMap<String, T>, ShopError> {
        let mut select = self.connection.prepare(select)?;
        let pairs = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pairs.collect::<Result<_, _>>()?)
    }

    fn begin(&mut self) -> Result<Transaction<'_>, ShopError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

fn set_life(transaction: &Transaction<'_>, id: &str, life: Life) -> Result<(), ShopError> {
    transaction.execute("UPDATE orders SET life = ? WHERE id = ?", params![text(&life)?, id])?;
    Ok(())
}

/// Numbers as `SQLite` has them.
fn integer(pieces: u64) -> i64 {
    i64::try_from(pieces).unwrap_or(i64::MAX)
}

fn pieces(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or_default()
}

fn text<T: Serialize>(value: &T) -> Result<String, ShopError> {
    Ok(serde_json::to_string(value)?)
}

fn of_text<T: DeserializeOwned>(text: &str) -> Result<T, ShopError> {
    Ok(serde_json::from_str(text)?)
}
