//! The rules of the shop: what an order may be and costs, how far it may go, what is on a shelf, and what the window shows.
//!
//! They know nothing of events and of what carries them. The plugins `shop-*` use them on tidegate, and so does the naive
//! consumer that `host/examples/shop` holds beside it: what differs between the two is the
//! carrier, and what the aggregate adds: it remembers a cancellation that comes first, and turns a second order down.

mod label;
mod life;
mod order;
mod shelf;
mod window;

pub use label::{LABEL_BYTES_MAX, Release, label};
pub use life::Life;
pub use order::{Nonsense, Order, OrderV1};
pub use shelf::{Shelf, SoldOut};
pub use window::Status;
