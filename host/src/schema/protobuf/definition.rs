//! What a `.proto` says, in the form that data and other versions are held against.

use std::collections::HashMap;

use protox::prost_reflect::{
    self as reflect, Cardinality as Label, EnumDescriptor, ExtensionDescriptor, FieldDescriptor,
    MessageDescriptor, Syntax, Value,
};

use super::kinds::Kind;
use super::source;
use crate::schema::SchemaError;

/// A message of a [`Definition`], by its place.
pub(super) type MessageId = usize;

/// An enum of a [`Definition`], by its place.
pub(super) type EnumId = usize;

/// What a `.proto` says of its first message, and of all that this one refers to.
#[derive(Debug)]
pub(crate) struct Definition {
    /// The first one is what events carry.
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Enum>,
}

/// A message.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Its full name.
    pub name: String,
    /// Its fields and those that the file extends it by, by number.
    pub fields: Vec<Field>,
    /// The numbers of those that are required.
    pub required: Vec<u32>,
    /// Whether something may be missing: a field of its own is required, or one within its singular messages.
    pub has_required: bool,
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    pub number: u32,
    /// Its name; that of an extension is its full name in brackets.
    pub name: String,
    pub kind: Kind,
    pub cardinality: Cardinality,
    /// Which of the message's it is in, of those that were written.
    pub oneof: Option<usize>,
    /// What it is where it isn't written, if it is a single value.
    pub default: Option<Scalar>,
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cardinality {
    Optional,
    Required,
    Repeated,
    /// Of a message with a key under 1 and a value under 2.
    Map,
}

impl Cardinality {
    pub fn is_singular(self) -> bool {
        matches!(self, Self::Optional | Self::Required)
    }
}

/// A single value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Integer(i128),
    /// The bits of a `double`, in which those of a `float` find room.
    Float(u64),
    Bytes(Vec<u8>),
}

/// An enum.
#[derive(Debug)]
pub(super) struct Enum {
    /// Its full name.
    pub name: String,
    /// Whether it has no other values: those of `proto2` haven't.
    pub is_closed: bool,
    /// Each value with its names, by number.
    pub values: Vec<(i32, Vec<String>)>,
}

impl Definition {
    pub fn new(text: &str) -> Result<Self, SchemaError> {
        source::compile(text).map(|message| Self::of(&message))
    }

    pub(super) fn of(message: &MessageDescriptor) -> Self {
        let mut builder = Builder::default();
        builder.message(message);
        while let Some((id, message)) = builder.waiting.pop() {
            let (name, fields) = (message.full_name().to_owned(), builder.fields(&message));
            let is_required = |field: &&Field| field.cardinality == Cardinality::Required;
            let required = fields.iter().filter(is_required).map(|field| field.number).collect();
            builder.messages[id] = Message { name, fields, required, has_required: false };
        }
        let mut definition = Self { messages: builder.messages, enums: builder.enums };
        definition.mark_required();
        definition
    }

    /// Finds the messages in which something may be missing, from those that require something themselves.
    fn mark_required(&mut self) {
        let mut holders: HashMap<MessageId, Vec<MessageId>> = HashMap::new();
        let mut waiting = Vec::new();
        for (id, message) in self.messages.iter().enumerate() {
            if !message.required.is_empty() {
                waiting.push(id);
            }
            for field in &message.fields {
                if let (true, Kind::Message(inner) | Kind::Group(inner)) =
                    (field.cardinality.is_singular(), field.kind)
                {
                    holders.entry(inner).or_default().push(id);
                }
            }
        }
        while let Some(id) = waiting.pop() {
            if !self.messages[id].has_required {
                self.messages[id].has_required = true;
                waiting.extend(holders.get(&id).into_iter().flatten());
            }
        }
    }
}

impl Message {
    pub fn field(&self, number: u32) -> Option<&Field> {
        let at = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        self.fields.get(at)
    }
}

impl Enum {
    /// The names of a value; none where it has no such value.
    pub fn names(&self, number: i32) -> &[String] {
        let at = self.values.binary_search_by_key(&number, |(number, _)| *number);
        at.ok().and_then(|at| self.values.get(at)).map_or(&[], |(_, names)| names)
    }
}

#[derive(Default)]
struct Builder {
    messages: Vec<Message>,
    message_ids: HashMap<String, MessageId>,
    enums: Vec<Enum>,
    enum_ids: HashMap<String, EnumId>,
    /// Messages whose fields are to be read. There is no recursion, as messages may lead to one another for long.
    waiting: Vec<(MessageId, MessageDescriptor)>,
}

impl Builder {
    fn message(&mut self, message: &MessageDescriptor) -> MessageId {
        if let Some(id) = self.message_ids.get(message.full_name()) {
            return *id;
        }
        let id = self.messages.len();
        self.messages.push(Message::default());
        self.message_ids.insert(message.full_name().to_owned(), id);
        self.waiting.push((id, message.clone()));
        id
    }

    fn fields(&mut self, message: &MessageDescriptor) -> Vec<Field> {
        let own: Vec<_> = message.fields().map(|field| self.field(&field)).collect();
        let extensions: Vec<_> = message.extensions().map(|field| self.extension(&field)).collect();
        let mut fields: Vec<_> = own.into_iter().chain(extensions).collect();
        fields.sort_by_key(|field| field.number);
        fields
    }

    fn field(&mut self, field: &FieldDescriptor) -> Field {
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        Field {
            number: field.number(),
            name: field.name().to_owned(),
            kind: self.kind(&field.kind(), field.is_group()),
            cardinality: cardinality(field.cardinality(), field.is_map()),
            oneof: oneof.and_then(|oneof| oneof.path().last().and_then(|at| usize::try_from(*at).ok())),
            default: scalar(&field.default_value()),
        }
    }

    fn extension(&mut self, field: &ExtensionDescriptor) -> Field {
        Field {
            number: field.number(),
            name: format!("[{}]", field.full_name()),
            kind: self.kind(&field.kind(), field.is_group()),
            cardinality: cardinality(field.cardinality(), field.is_map()),
            oneof: None,
            default: scalar(&field.default_value()),
        }
    }

    fn kind(&mut self, kind: &reflect::Kind, is_group: bool) -> Kind {
        match kind {
            reflect::Kind::Double => Kind::Double,
            reflect::Kind::Float => Kind::Float,
            reflect::Kind::Int32 => Kind::Int32,
            reflect::Kind::Int64 => Kind::Int64,
            reflect::Kind::Uint32 => Kind::Uint32,
            reflect::Kind::Uint64 => Kind::Uint64,
            reflect::Kind::Sint32 => Kind::Sint32,
            reflect::Kind::Sint64 => Kind::Sint64,
            reflect::Kind::Fixed32 => Kind::Fixed32,
            reflect::Kind::Fixed64 => Kind::Fixed64,
            reflect::Kind::Sfixed32 => Kind::Sfixed32,
            reflect::Kind::Sfixed64 => Kind::Sfixed64,
            reflect::Kind::Bool => Kind::Bool,
            reflect::Kind::String => Kind::String,
            reflect::Kind::Bytes => Kind::Bytes,
            reflect::Kind::Enum(found) => Kind::Enum(self.enumeration(found)),
            reflect::Kind::Message(message) if is_group => Kind::Group(self.message(message)),
            reflect::Kind::Message(message) => Kind::Message(self.message(message)),
        }
    }

    fn enumeration(&mut self, found: &EnumDescriptor) -> EnumId {
        if let Some(id) = self.enum_ids.get(found.full_name()) {
            return *id;
        }
        let mut values: Vec<(i32, Vec<String>)> =
            found.values().map(|value| (value.number(), vec![value.name().to_owned()])).collect();
        values.sort();
        values.dedup_by(|next, kept| {
            let is_alias = next.0 == kept.0;
            if is_alias {
                kept.1.append(&mut next.1);
            }
            is_alias
        });
        let is_closed = found.parent_file().syntax() == Syntax::Proto2;
        let id = self.enums.len();
        self.enums.push(Enum { name: found.full_name().to_owned(), is_closed, values });
        self.enum_ids.insert(found.full_name().to_owned(), id);
        id
    }
}

fn cardinality(label: Label, is_map: bool) -> Cardinality {
    match label {
        Label::Optional => Cardinality::Optional,
        Label::Required => Cardinality::Required,
        Label::Repeated if is_map => Cardinality::Map,
        Label::Repeated => Cardinality::Repeated,
    }
}

fn scalar(value: &Value) -> Option<Scalar> {
    Some(match value {
        Value::Bool(value) => Scalar::Integer((*value).into()),
        Value::I32(value) | Value::EnumNumber(value) => Scalar::Integer((*value).into()),
        Value::I64(value) => Scalar::Integer((*value).into()),
        Value::U32(value) => Scalar::Integer((*value).into()),
        Value::U64(value) => Scalar::Integer((*value).into()),
        Value::F32(value) => Scalar::Float(f64::from(*value).to_bits()),
        Value::F64(value) => Scalar::Float(value.to_bits()),
        Value::String(value) => Scalar::Bytes(value.as_bytes().to_vec()),
        Value::Bytes(value) => Scalar::Bytes(value.to_vec()),
        Value::Message(_) | Value::List(_) | Value::Map(_) => return None,
    })
}
