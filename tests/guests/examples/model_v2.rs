//! A read model that counts, in its layout 2.

tidegate_plugin::export_projection!(tidegate_guests::Model<2>);
