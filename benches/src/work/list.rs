//! All benchmarks.

use anyhow::Result;

use super::{hostile, rates, waits};
use crate::row::Row;
use crate::scale::Scale;

/// A benchmark: one or more lines of the report from the same rounds.
pub struct Bench {
    /// What the command line calls it, and what its lines begin with.
    pub id: &'static str,
    /// What it measures.
    pub about: &'static str,
    pub run: fn(&Scale) -> Result<Vec<Row>>,
}

/// All benchmarks, in the order in which they run.
pub const BENCHES: [Bench; 5] = [
    Bench {
        id: "transaction-flood",
        about: "how long a transaction waits while 64 publishers flood the bus",
        run: waits::transaction_flood,
    },
    Bench {
        id: "publish-under-transactions",
        about: "how long a plain publish waits while transactions flood the bus",
        run: waits::publish_under_transactions,
    },
    Bench {
        id: "transaction-rate",
        about: "transactions one after the other, beside bare redb's of the same rows",
        run: rates::transaction_rate,
    },
    Bench {
        id: "sequence-cost",
        about: "publishing to a topic that numbers its keys, beside one that doesn't",
        run: rates::sequence_cost,
    },
    Bench {
        id: "hostile-neighbours",
        about: "how long events wait for their effects beside plugins that burn what they can get",
        run: hostile::hostile_neighbours,
    },
];
