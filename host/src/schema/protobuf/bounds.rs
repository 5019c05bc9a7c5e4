//! What a `.proto` may have, before its names are resolved.

use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions,
    UninterpretedOption,
};

use super::kinds::shown;
use crate::limits::{
    PROTOBUF_DEFINITIONS_MAX, PROTOBUF_NAME_BYTES_MAX, PROTOBUF_NAMES_BYTES_MAX, PROTOBUF_NESTING_MAX,
};

/// Says what is wrong with a file that was read.
pub(super) fn check(file: &FileDescriptorProto) -> Result<(), String> {
    if file.message_type.is_empty() {
        return Err("it has no message: the first one is what events carry".to_owned());
    }
    if file.package().split('.').count() > PROTOBUF_NESTING_MAX {
        return Err(format!("its package has more than {PROTOBUF_NESTING_MAX} parts"));
    }
    let mut tally = Tally::default();
    let package = file.package().len();
    tally.options(file.options.as_ref().map(|options| &options.uninterpreted_option))?;
    for message in &file.message_type {
        tally.message(message, package)?;
    }
    file.enum_type.iter().try_for_each(|found| tally.enumeration(found, package))?;
    tally.fields(&file.extension, package)?;
    for service in &file.service {
        let outer = tally.name(service.name().len(), package)?;
        tally.options(service.options.as_ref().map(|options| &options.uninterpreted_option))?;
        for method in &service.method {
            tally.name(method.name().len(), outer)?;
            tally.options(method.options.as_ref().map(|options| &options.uninterpreted_option))?;
        }
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
        if full > PROTOBUF_NAME_BYTES_MAX {
            return Err(format!(
                "the full name of something that it defines has more than {PROTOBUF_NAME_BYTES_MAX} bytes"
            ));
        }
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
            return Err(format!("it has more than {PROTOBUF_DEFINITIONS_MAX} definitions and options"));
        }
        Ok(())
    }

    /// Counts what is set of something: each option's name is looked for in all scopes around it.
    fn options(&mut self, options: Option<&Vec<UninterpretedOption>>) -> Result<(), String> {
        self.add(options.map_or(0, Vec::len))
    }

    /// The recursion is bounded by the brackets of the text.
    fn message(&mut self, message: &DescriptorProto, outer: usize) -> Result<(), String> {
        if message.options.as_ref().is_some_and(is_message_set) {
            let name = shown(message.name());
            return Err(format!("{name} has `message_set_wire_format`, which isn't read here"));
        }
        let outer = self.name(message.name().len(), outer)?;
        self.options(message.options.as_ref().map(|options| &options.uninterpreted_option))?;
        self.fields(&message.field, outer)?;
        self.fields(&message.extension, outer)?;
        for range in &message.extension_range {
            self.options(range.options.as_ref().map(|options| &options.uninterpreted_option))?;
        }
        self.add(message.extension_range.len() + message.reserved_range.len() + message.reserved_name.len())?;
        for oneof in &message.oneof_decl {
            self.name(oneof.name().len(), outer)?;
            self.options(oneof.options.as_ref().map(|options| &options.uninterpreted_option))?;
        }
        message.enum_type.iter().try_for_each(|found| self.enumeration(found, outer))?;
        message.nested_type.iter().try_for_each(|nested| self.message(nested, outer))
    }

    fn fields(&mut self, fields: &[FieldDescriptorProto], outer: usize) -> Result<(), String> {
        for field in fields {
            // A name in JSON is made of the name, or its own.
            self.name(field.name().len() + field.json_name().len(), outer)?;
            self.options(field.options.as_ref().map(|options| &options.uninterpreted_option))?;
        }
        Ok(())
    }

    fn enumeration(&mut self, found: &EnumDescriptorProto, outer: usize) -> Result<(), String> {
        let inner = self.name(found.name().len(), outer)?;
        self.add(found.reserved_range.len() + found.reserved_name.len())?;
        self.options(found.options.as_ref().map(|options| &options.uninterpreted_option))?;
        for value in &found.value {
            self.name(value.name().len(), inner)?;
            self.options(value.options.as_ref().map(|options| &options.uninterpreted_option))?;
        }
        Ok(())
    }
}

/// Whether the message has a wire format of its own. Names aren't resolved yet, those of options neither.
fn is_message_set(options: &MessageOptions) -> bool {
    options.uninterpreted_option.iter().any(|option| {
        option.name.iter().map(|part| &*part.name_part).eq(["message_set_wire_format"])
            && option.identifier_value() == "true"
    })
}
