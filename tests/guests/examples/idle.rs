//! Does nothing.

tidegate_plugin::export!(tidegate_guests::Idle);
