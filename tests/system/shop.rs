//! The shop of `host/examples/shop`: a story in which all goes wrong costs tidegate nothing, and a naive consumer a lot.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cli_process::{Outcome, example};

/// What may go wrong, as the auditor counts it.
const DAMAGE: [&str; 10] = [
    "parcels_twice",
    "charged_twice",
    "shipped_unpaid",
    "paid_unshipped",
    "shipped_cancelled",
    "stock_wrong",
    "cents_wrong",
    "lost",
    "turned_down",
    "window_wrong",
];

#[test]
fn duplicates_disorder_lost_answers_a_poisoned_order_a_crash_and_a_new_version_cost_tidegate_nothing() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let orders_v2 = plugins.join("shop_orders_v2.wasm");
    assert!(orders_v2.exists(), "{} is not there: `cargo xtask plugins` builds it", orders_v2.display());
    let mut command = Command::new(example("shop"));
    command.args(["--orders", "40", "--seed", "7", "--json", "--plugins"]).arg(plugins);
    let outcome = Outcome::of(command, "");
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    let told: Value = serde_json::from_str(&outcome.out).unwrap();
    let count = |side: &str, what: &str| {
        told[side][what].as_u64().unwrap_or_else(|| panic!("{side} {what} is not told: {told}"))
    };

    for what in DAMAGE {
        assert_eq!(count("tidegate", what), 0, "{what}: {told}");
    }
    // Most orders are shipped, among them the one that is poisoned: it was put aside, and redriven once it could be shipped.
    assert!(count("tidegate", "shipped") > 20, "{told}");
    assert_eq!(count("tidegate", "put_right"), 1, "{told}");

    // The faults are real: whoever isn't protected from them suffers. How depends on when its threads come to run.
    let suffered: u64 = DAMAGE.iter().map(|what| count("naive", what)).sum();
    assert!(suffered > 0, "{told}");
}
