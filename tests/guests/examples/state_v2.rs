//! The version of `counter` after that, with another layout of its state.

tidegate_plugin::export!(tidegate_guests::Counter<3, 2>, version = "0.3.0");
