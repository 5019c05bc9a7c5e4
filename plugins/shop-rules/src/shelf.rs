//! What is on a shelf.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The shelf of an article.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Shelf {
    /// Pieces that nobody has reserved.
    pub left: u64,
}

/// There are fewer pieces than are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldOut;

impl fmt::Display for SoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there are fewer pieces than are asked for")
    }
}

impl std::error::Error for SoldOut {}

impl Shelf {
    /// Takes pieces off the shelf.
    ///
    /// # Errors
    ///
    /// There are too few: nothing is taken.
    pub fn take(&mut self, quantity: u32) -> Result<(), SoldOut> {
        self.left = self.left.checked_sub(u64::from(quantity)).ok_or(SoldOut)?;
        Ok(())
    }

    /// Puts pieces on the shelf: new ones, or such as were taken.
    pub fn put(&mut self, quantity: u64) {
        self.left = self.left.saturating_add(quantity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_is_there() {
        let mut shelf = Shelf::default();
        shelf.put(3);
        assert_eq!(shelf.take(4), Err(SoldOut));
        assert_eq!((shelf.take(3), shelf.left), (Ok(()), 0));
    }
}
