//! Never answers when it is asked who it is.

fn version() -> &'static str {
    loop {
        std::hint::black_box(0);
    }
}

tidegate_plugin::export!(tidegate_guests::Idle, version = version());
