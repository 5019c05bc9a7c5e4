//! Counts the events of each key in its state.

tidegate_plugin::export!(tidegate_guests::Tally);
