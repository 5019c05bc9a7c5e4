//! All benchmarks.

use anyhow::Result;

use super::{
    aggregates, blobs, consume, flow, grow, hostile, lifts, publish, queries, rates, sagas, schemas, timers,
    waits,
};
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
pub const BENCHES: [Bench; 29] = [
    // First, while no memory is there that others have freed.
    Bench {
        id: "grow-window",
        about: "the memory of a deduplication window of a million identities",
        run: grow::window,
    },
    Bench {
        id: "publish-groups",
        about: "events a second in groups, beside bare redb and a plain file",
        run: publish::publish_rate,
    },
    Bench {
        id: "publish-latency",
        about: "how long one publisher waits for each event, beside a plain file",
        run: publish::publish_latency,
    },
    Bench {
        id: "publish-64",
        about: "64 publishers that each wait for their acknowledgement, beside NATS",
        run: publish::publish_many,
    },
    Bench {
        id: "consume-read",
        about: "a plugin that reads the data, beside NATS",
        run: consume::consume_read,
    },
    Bench {
        id: "consume-state",
        about: "a plugin that counts in its state, beside bare redb",
        run: consume::consume_state,
    },
    Bench {
        id: "call-cost",
        about: "the host's cost of a delivery to a plugin, beyond a native handler's",
        run: consume::call_cost,
    },
    Bench {
        id: "end-to-end",
        about: "10,000 events a second, from the call to durable effects, beside bare redb's commits",
        run: flow::end_to_end,
    },
    Bench {
        id: "reload",
        about: "the longest gap in deliveries when a plugin is replaced under 20,000 events a second",
        run: flow::reload,
    },
    Bench {
        id: "grow-log",
        about: "publishing to a log of 10 million events, and opening it",
        run: grow::log,
    },
    Bench { id: "grow-partitions", about: "publishing to 1,000 partitions, beside 8", run: grow::partitions },
    Bench { id: "grow-idle", about: "what 10,000 idle lanes take", run: grow::idle },
    Bench { id: "grow-file", about: "the size of the file beside what is retained", run: grow::file },
    Bench {
        id: "grow-stalled",
        about: "a consumer beside one that stands still at its bound of held events",
        run: grow::stalled,
    },
    Bench {
        id: "timers",
        about: "a million timers, set and come, beside as many events",
        run: timers::timers,
    },
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
        id: "schema-cost",
        about: "publishing JSON and Protobuf to a topic that requires schemas, beside one that doesn't",
        run: schemas::schema_cost,
    },
    Bench {
        id: "lift-cost",
        about: "events that a function or a plugin lifts, beside those that nothing lifts",
        run: lifts::lift_cost,
    },
    Bench {
        id: "claim-check",
        about: "large events with a claim check, beside files and beside a log that has the data itself",
        run: blobs::claim_check,
    },
    Bench { id: "query-cost", about: "what a question to a projection takes", run: queries::query_cost },
    Bench {
        id: "query-neighbours",
        about: "a projection that works off its backlog while it is asked, beside one that isn't",
        run: queries::query_neighbours,
    },
    Bench {
        id: "aggregate-commands",
        about: "commands to aggregates a second, beside a plugin that counts in its state",
        run: aggregates::commands,
    },
    Bench {
        id: "aggregate-rebuild",
        about: "the first command to an aggregate of 10,000 events with a snapshot, beside one without",
        run: aggregates::rebuild,
    },
    Bench {
        id: "sagas",
        about: "sagas a second beside as many bare deliveries, and listing them beside a scan of their records",
        run: sagas::sagas,
    },
    Bench {
        id: "trace",
        about: "the trace of one event in a large topic, beside reading the topic",
        run: sagas::trace,
    },
    Bench {
        id: "hostile-neighbours",
        about: "how long events wait for their effects beside plugins that burn what they can get",
        run: hostile::hostile_neighbours,
    },
];
