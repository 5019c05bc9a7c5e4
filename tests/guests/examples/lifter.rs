//! Lifts events, and fails on request.

tidegate_plugin::export_upcaster!(tidegate_guests::Lifter<1>, version = "0.1.0");
