//! Traps when it is asked who it is.

fn version() -> &'static str {
    panic!("told to panic in describe")
}

tidegate_plugin::export!(tidegate_guests::Idle, version = version());
