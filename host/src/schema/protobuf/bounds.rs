//! What a `.proto` may have, before its names are resolved.

use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions,
};

use super::kinds::shown;
use crate::limits::{PROTOBUF_DEFINITIONS_MAX, PROTOBUF_NAMES_BYTES_MAX};

/// Says what is wrong with a file that was read.
pub(super) fn check(file: &FileDescriptorProto) -> Result<(), String> {
    if file.message_type.is_empty() {
        return Err("it has no message: the first one is what events carry".to_owned());
    }
    let mut tally = Tally::default();
    let package = file.package().len();
    for message in &file.message_type {
        tally.message(message, package)?;
    }
    file.enum_type.iter().try_for_each(|found| tally.enumeration(found, package))?;
    tally.fields(&file.extension, package)?;
    for service in &file.service {
        let outer = tally.name(service.name().len(), package)?;
        service.method.iter().try_for_each(|method| tally.name(method.name().len(), outer).map(drop))?;
    }
    Ok(())
}

#[derive(Default)]
struct Tally {
    definitions: usize,
    name_bytes: usize,
}

impl Tally {
    /// Counts a definition within a name of so many bytes. Returns those of its full name.
    fn name(&mut self, bytes: usize, outer: usize) -> Result<usize, String> {
        let full = outer + 1 + bytes;
        self.add(1)?;
        self.name_bytes += full;
        if self.name_bytes > PROTOBUF_NAMES_BYTES_MAX {
            let kib = PROTOBUF_NAMES_BYTES_MAX >> 10;
            return Err(format!("the full names of what it defines have more than {kib} KiB"));
        }
        Ok(full)
    }

    fn add(&mut self, definitions: usize) -> Result<(), String> {
        self.definitions += definitions;
        if self.definitions > PROTOBUF_DEFINITIONS_MAX {
            return Err(format!("it has more than {PROTOBUF_DEFINITIONS_MAX} definitions"));
        }
        Ok(())
    }

    /// The recursion is bounded by the brackets of the text.
    fn message(&mut self, message: &DescriptorProto, outer: usize) -> Result<(), String> {
        if message.options.as_ref().is_some_and(is_message_set) {
            let name = shown(message.name());
            return Err(format!("{name} has `message_set_wire_format`, which isn't read here"));
        }
        let outer = self.name(message.name().len(), outer)?;
        self.fields(&message.field, outer)?;
        self.fields(&message.extension, outer)?;
        self.add(message.extension_range.len() + message.reserved_range.len() + message.reserved_name.len())?;
        for oneof in &message.oneof_decl {
            self.name(oneof.name().len(), outer)?;
        }
        message.enum_type.iter().try_for_each(|found| self.enumeration(found, outer))?;
        message.nested_type.iter().try_for_each(|nested| self.message(nested, outer))
    }

    fn fields(&mut self, fields: &[FieldDescriptorProto], outer: usize) -> Result<(), String> {
        // A name in JSON is made of the name, or its own.
        let bytes = |field: &FieldDescriptorProto| field.name().len() + field.json_name().len();
        fields.iter().try_for_each(|field| self.name(bytes(field), outer).map(drop))
    }

    fn enumeration(&mut self, found: &EnumDescriptorProto, outer: usize) -> Result<(), String> {
        let inner = self.name(found.name().len(), outer)?;
        self.add(found.reserved_range.len() + found.reserved_name.len())?;
        found.value.iter().try_for_each(|value| self.name(value.name().len(), inner).map(drop))
    }
}

/// Whether the message has a wire format of its own. Names aren't resolved yet, those of options neither.
fn is_message_set(options: &MessageOptions) -> bool {
    options.uninterpreted_option.iter().any(|option| {
        option.name.iter().map(|part| &*part.name_part).eq(["message_set_wire_format"])
            && option.identifier_value() == "true"
    })
}
