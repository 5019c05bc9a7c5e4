//! Messages by chance, and whether two of them say the same.

use protox::prost_reflect::{
    Cardinality, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Syntax,
    Value,
};

use super::schemas::Dice;

/// A message of a descriptor, with all that it requires.
pub fn message(descriptor: &MessageDescriptor, dice: &mut Dice, levels: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let is_message = matches!(field.kind(), Kind::Message(_));
        let is_required = field.cardinality() == Cardinality::Required;
        if !is_required && (dice.is_one_in(3) || (is_message && levels == 0)) {
            continue;
        }
        let levels = levels.saturating_sub(1);
        let value = if field.is_list() {
            Value::List((0..dice.roll(4)).map(|_| value(&field, dice, levels)).collect())
        } else if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let (key, inner) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            Value::Map(
                (0..dice.roll(4)).map(|_| (map_key(&key, dice), value(&inner, dice, levels))).collect(),
            )
        } else {
            value(&field, dice, levels)
        };
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, dice: &mut Dice, levels: usize) -> Value {
    // The borders of all types, and anything.
    let bits = match dice.roll(6) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => 1 << 31,
        4 => 1 << 63,
        _ => dice.bits(),
    };
    let low = u32::try_from(bits & u64::from(u32::MAX)).unwrap();
    let text = ["", "a", "\u{e4}\u{1f600}", "a text "][dice.roll(4)].repeat(1 + dice.roll(2) * 20);
    match field.kind() {
        Kind::Double => Value::F64(f64::from_bits(bits)),
        Kind::Float => Value::F32(f32::from_bits(low)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(low.cast_signed()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(bits.cast_signed()),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(low),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(bits),
        Kind::Bool => Value::Bool(low % 2 == 1),
        Kind::String => Value::String(text),
        Kind::Bytes => {
            Value::Bytes(if dice.is_one_in(2) { vec![0xff, 0xc3].into() } else { text.into_bytes().into() })
        }
        Kind::Enum(found) => Value::EnumNumber(enum_number(&found, low, dice)),
        Kind::Message(inner) => Value::Message(message(&inner, dice, levels)),
    }
}

fn enum_number(found: &EnumDescriptor, low: u32, dice: &mut Dice) -> i32 {
    let is_open = found.parent_file().syntax() == Syntax::Proto3;
    if is_open && dice.is_one_in(3) {
        return low.cast_signed();
    }
    let numbers: Vec<_> = found.values().map(|value| value.number()).collect();
    *dice.pick(&numbers)
}

fn map_key(field: &FieldDescriptor, dice: &mut Dice) -> MapKey {
    match value(field, dice, 0) {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        other => panic!("{other:?} is no key"),
    }
}

/// What differs in what a reader has read from what the writer has written, but for fields that the reader doesn't know.
pub fn difference(read: &DynamicMessage, written: &DynamicMessage) -> Option<String> {
    read.descriptor_fields().find_map(|field| {
        let name = field.name().to_owned();
        let Some(other) = written.descriptor_of(field.number()) else {
            return read.has_field(&field).then(|| format!("{name} is there, and was never written"));
        };
        let (read_value, written_value) = (read.get_field(&field), written.get_field(&other));
        if matches!(*read_value, Value::Message(_)) {
            match (read.has_field(&field), written.has_field(&other)) {
                (true, true) => {}
                // Empty ones of one that leads to itself have no end.
                (false, false) => return None,
                _ => return Some(format!("{name} is there for one of them")),
            }
        }
        values(&read_value, &written_value).map(|difference| format!("{name}: {difference}"))
    })
}

trait Fields {
    fn descriptor_fields(&self) -> std::vec::IntoIter<FieldDescriptor>;
    fn descriptor_of(&self, number: u32) -> Option<FieldDescriptor>;
}

impl Fields for DynamicMessage {
    fn descriptor_fields(&self) -> std::vec::IntoIter<FieldDescriptor> {
        use protox::prost_reflect::ReflectMessage as _;
        self.descriptor().fields().collect::<Vec<_>>().into_iter()
    }

    fn descriptor_of(&self, number: u32) -> Option<FieldDescriptor> {
        use protox::prost_reflect::ReflectMessage as _;
        self.descriptor().get_field(number)
    }
}

fn values(read: &Value, written: &Value) -> Option<String> {
    // Those of messages would lead to descriptors, which lead back to themselves.
    let told = || Some(format!("{:?} was read, and {:?} written", plain(read), plain(written)));
    match (read, written) {
        (Value::Message(read), Value::Message(written)) => difference(read, written),
        (Value::List(reads), Value::List(writtens)) if reads.len() == writtens.len() => {
            reads.iter().zip(writtens).find_map(|(read, written)| values(read, written))
        }
        (Value::Map(reads), Value::Map(writtens)) if reads.len() == writtens.len() => {
            writtens.iter().find_map(|(key, written)| {
                let found =
                    reads.iter().find(|(other, _)| plain(&key_value(other)) == plain(&key_value(key)));
                found.map_or_else(told, |(_, read)| values(read, written))
            })
        }
        _ if plain(read).is_some() && plain(read) == plain(written) => None,
        _ => told(),
    }
}

fn key_value(key: &MapKey) -> Value {
    key.clone().into()
}

#[derive(Debug, PartialEq)]
enum Plain {
    Integer(i128),
    Float(u64),
    Bytes(Vec<u8>),
}

/// A value without its type.
fn plain(value: &Value) -> Option<Plain> {
    Some(match value {
        Value::Bool(value) => Plain::Integer((*value).into()),
        Value::I32(value) | Value::EnumNumber(value) => Plain::Integer((*value).into()),
        Value::I64(value) => Plain::Integer((*value).into()),
        Value::U32(value) => Plain::Integer((*value).into()),
        Value::U64(value) => Plain::Integer((*value).into()),
        Value::F32(value) => Plain::Float(value.to_bits().into()),
        Value::F64(value) => Plain::Float(value.to_bits()),
        Value::String(value) => Plain::Bytes(value.as_bytes().to_vec()),
        Value::Bytes(value) => Plain::Bytes(value.to_vec()),
        Value::Message(_) | Value::List(_) | Value::Map(_) => return None,
    })
}
