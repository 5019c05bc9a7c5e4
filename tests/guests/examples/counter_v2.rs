//! The next version of `counter`.

tidegate_plugin::export!(tidegate_guests::Counter<2, 1>, version = "0.2.0");
