//! The next version of `lifter`.

tidegate_plugin::export_upcaster!(tidegate_guests::Lifter<2>, version = "0.2.0");
