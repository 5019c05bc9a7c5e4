//! Does what a plugin should not do.

tidegate_plugin::export!(tidegate_guests::Hostile);
