//! Reads the data of each event.

tidegate_plugin::export!(tidegate_guests::Reader);
