//! One comparison: a reader's messages against a writer's, pair by pair.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::definition::{Cardinality, Definition, Enum, EnumId, Field, Message, MessageId};
use super::kinds::{Kind, shown};
use crate::limits::{SCHEMA_BREAKS_FOUND_MAX, SCHEMA_STEPS_MAX, VIOLATION_CHARS_MAX};
use crate::schema::cut;
use crate::schema::rule::{Break, Rule};

/// Why `reader` may not read each message that `writer` writes; empty where it reads them all, but for fields that it doesn't
/// know. At most 100 breaks.
pub(in crate::schema) fn breaks(reader: &Definition, writer: &Definition) -> Vec<Break> {
    let mut comparison = Comparison {
        reader,
        writer,
        steps: SCHEMA_STEPS_MAX,
        met: HashSet::new(),
        places: Vec::new(),
        waiting: VecDeque::new(),
        breaks: Vec::new(),
    };
    if comparison.run().is_none() {
        let detail = format!("the schemas take more than {SCHEMA_STEPS_MAX} steps to compare");
        return vec![Break::here(Rule::NotComparable, detail)];
    }
    comparison.breaks
}

struct Comparison<'d> {
    reader: &'d Definition,
    writer: &'d Definition,
    /// The steps that are left.
    steps: usize,
    /// The pairs of messages that were met. Each is compared once, at the first place where it is met, so that messages which
    /// lead back to themselves come to an end.
    met: HashSet<(MessageId, MessageId)>,
    /// The places of pairs: the one around it, and the field there.
    places: Vec<(Option<usize>, &'d Field)>,
    waiting: VecDeque<(MessageId, MessageId, Option<usize>)>,
    breaks: Vec<Break>,
}

/// Nothing where there are no steps left.
type Outcome = Option<()>;

impl<'d> Comparison<'d> {
    fn run(&mut self) -> Outcome {
        self.met.insert((0, 0));
        self.waiting.push_back((0, 0, None));
        while let Some((reader, writer, place)) = self.waiting.pop_front() {
            if self.breaks.len() >= SCHEMA_BREAKS_FOUND_MAX {
                break;
            }
            self.messages(&self.reader.messages[reader], &self.writer.messages[writer], place)?;
        }
        self.breaks.truncate(SCHEMA_BREAKS_FOUND_MAX);
        Some(())
    }

    fn spend(&mut self, steps: usize) -> Outcome {
        self.steps = self.steps.checked_sub(steps)?;
        Some(())
    }

    fn messages(&mut self, reader: &'d Message, writer: &'d Message, place: Option<usize>) -> Outcome {
        self.spend(1 + reader.fields.len() + writer.fields.len())?;
        let numbers: HashMap<&str, u32> =
            writer.fields.iter().map(|field| (&*field.name, field.number)).collect();
        for field in &reader.fields {
            if let Some(written) = writer.field(field.number) {
                self.fields(field, written, place)?;
                continue;
            }
            if let Some(number) = numbers.get(&*field.name) {
                let (name, own) = (shown(&field.name), field.number);
                let detail = format!("{name} is number {own} for the reader, and {number} for the writer");
                self.add(Rule::FieldNumberChanged, field, place, detail);
            } else if field.cardinality == Cardinality::Required {
                let detail = format!(
                    "{} is required by the reader, and the writer doesn't have it",
                    shown(&field.name)
                );
                self.add(Rule::RequiredAdded, field, place, detail);
            }
        }
        self.oneofs(reader, writer, place);
        Some(())
    }

    /// Fields under the same number.
    fn fields(&mut self, reader: &'d Field, writer: &'d Field, place: Option<usize>) -> Outcome {
        let name = shown(&reader.name);
        if reader.name != writer.name {
            let number = reader.number;
            let detail = format!(
                "number {number} is {name} for the reader, and {} for the writer: a new name can't be told from another field \
                 under an old number",
                shown(&writer.name)
            );
            self.add(Rule::FieldNameChanged, reader, place, detail);
            return Some(());
        }
        let class = |field: &Field| match field.cardinality {
            Cardinality::Optional | Cardinality::Required => "singular",
            Cardinality::Repeated => "repeated",
            Cardinality::Map => "a map",
        };
        if class(reader) != class(writer) {
            let detail =
                format!("{name} is {} for the reader, and {} for the writer", class(reader), class(writer));
            self.add(Rule::FieldCardinalityChanged, reader, place, detail);
            return Some(());
        }
        let is_always_written = writer.cardinality == Cardinality::Required;
        if reader.cardinality == Cardinality::Required && !is_always_written {
            let detail = format!("{name} is required by the reader, and not by the writer");
            self.add(Rule::RequiredAdded, reader, place, detail);
        }
        match (reader.kind, writer.kind) {
            (Kind::Message(read), Kind::Message(written)) | (Kind::Group(read), Kind::Group(written)) => {
                if self.met.insert((read, written)) {
                    self.places.push((place, reader));
                    self.waiting.push_back((read, written, Some(self.places.len() - 1)));
                }
                return Some(());
            }
            (Kind::Enum(read), Kind::Enum(written)) => self.enums(reader, read, written, place)?,
            (read, written) if !self.holds(read, written) => {
                let (read, written) = (named(self.reader, read), named(self.writer, written));
                let detail = format!("{name} is {read} for the reader, and {written} for the writer");
                self.add(Rule::FieldTypeChanged, reader, place, detail);
                return Some(());
            }
            _ => {}
        }
        if reader.cardinality.is_singular() && !is_always_written && reader.default != writer.default {
            let detail = format!("{name} has another default for the reader than for the writer");
            self.add(Rule::FieldDefaultChanged, reader, place, detail);
        }
        Some(())
    }

    /// Whether the reader's type has each value of the writer's, under the same bytes. Those of two messages or two enums are
    /// compared otherwise.
    fn holds(&self, reader: Kind, writer: Kind) -> bool {
        use Kind::{Bool, Bytes, Enum, Group, Int32, Int64, Message, Sint32, Sint64, String, Uint32, Uint64};

        match (reader, writer) {
            (Message(_) | Group(_), _) | (_, Message(_) | Group(_)) => false,
            (Int64, Int32 | Uint32 | Bool | Enum(_))
            | (Int32, Bool | Enum(_))
            | (Uint64, Uint32 | Bool)
            | (Uint32, Bool)
            | (Sint64, Sint32)
            | (Bytes, String) => true,
            (Enum(id), Int32 | Bool) => !self.reader.enums[id].is_closed,
            (reader, writer) => reader == writer,
        }
    }

    fn enums(&mut self, field: &'d Field, reader: EnumId, writer: EnumId, place: Option<usize>) -> Outcome {
        let (reader, writer): (&Enum, &Enum) = (&self.reader.enums[reader], &self.writer.enums[writer]);
        self.spend(reader.values.len() + writer.values.len())?;
        if reader.is_closed && !writer.is_closed {
            let name = shown(&reader.name);
            let detail = format!(
                "{name} is closed for the reader, and the writer's is open, so that it has any number"
            );
            self.add(Rule::EnumNarrowed, field, place, detail);
        }
        for (number, names) in &writer.values {
            let read = reader.names(*number);
            let first = names.first().map_or_else(String::new, |name| shown(name));
            if read.is_empty() {
                if reader.is_closed {
                    let detail = format!(
                        "the writer writes {first}, number {number}, which the reader's enum doesn't have"
                    );
                    self.add(Rule::EnumNarrowed, field, place, detail);
                }
                continue;
            }
            self.spend(read.len() * names.len())?;
            if !read.iter().any(|name| names.contains(name)) {
                let read = read.first().map_or_else(String::new, |name| shown(name));
                let detail = format!("number {number} is {read} for the reader, and {first} for the writer");
                self.add(Rule::EnumValueNameChanged, field, place, detail);
            }
        }
        Some(())
    }

    /// Of a `oneof` the reader keeps what was written last. So what it has of the writer's has to be of one there too.
    fn oneofs(&mut self, reader: &'d Message, writer: &'d Message, place: Option<usize>) {
        let mut firsts: BTreeMap<usize, (&Field, &Field)> = BTreeMap::new();
        for field in &reader.fields {
            let (Some(oneof), Some(written)) = (field.oneof, writer.field(field.number)) else { continue };
            let (first, first_written) = *firsts.entry(oneof).or_insert((field, written));
            let is_one_there = written.oneof.is_some() && written.oneof == first_written.oneof;
            if first.number != field.number && !is_one_there {
                let (one, other) = (shown(&first.name), shown(&field.name));
                let detail = format!(
                    "{one} and {other} are of one oneof for the reader, and the writer may write both"
                );
                self.add(Rule::FieldOneofChanged, field, place, detail);
            }
        }
    }

    fn add(&mut self, rule: Rule, field: &Field, place: Option<usize>, detail: String) {
        if self.breaks.len() >= SCHEMA_BREAKS_FOUND_MAX {
            return;
        }
        let mut steps = vec![format!("/{}", field.name)];
        let mut above = place;
        let mut bytes = field.name.len();
        while let Some((next, around)) = above.and_then(|at| self.places.get(at)) {
            let is_one_of_many = !around.cardinality.is_singular();
            steps.push(format!("/{}{}", around.name, if is_one_of_many { "/*" } else { "" }));
            bytes += around.name.len();
            // What is behind it is cut off anyway.
            above = next.filter(|_| bytes < 4 * VIOLATION_CHARS_MAX);
        }
        let path: String = steps.into_iter().rev().collect();
        self.breaks.push(Break { path: cut(&path, VIOLATION_CHARS_MAX), rule, detail });
    }
}

/// A type with its name, where it has one.
fn named(definition: &Definition, kind: Kind) -> String {
    match kind {
        Kind::Enum(id) => format!("the enum {}", shown(&definition.enums[id].name)),
        Kind::Message(id) => format!("the message {}", shown(&definition.messages[id].name)),
        Kind::Group(id) => format!("the group {}", shown(&definition.messages[id].name)),
        scalar => scalar.to_string(),
    }
}
