//! A read model that counts, in its layout 1.

tidegate_plugin::export_projection!(tidegate_guests::Model<1>);
