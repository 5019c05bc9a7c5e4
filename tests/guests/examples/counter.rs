//! Counts events for each key, and fails on request.

tidegate_plugin::export!(tidegate_guests::Counter<1, 1>);
