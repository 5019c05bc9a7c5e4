//! Decides on commands, and goes wrong on request.

tidegate_plugin::export_aggregate!(tidegate_guests::Decider);
