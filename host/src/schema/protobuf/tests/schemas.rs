//! Definitions by chance, and changes of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Numbers by a seed: `SplitMix64`.
pub struct Dice(u64);

impl Dice {
    pub fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[7]
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(sides).unwrap()).unwrap()
    }

    pub fn is_one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

const SCALARS: [&str; 15] = [
    "int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "string", "bytes", "fixed32",
    "fixed64", "sfixed32", "sfixed64", "float", "double",
];

/// Types that are written alike.
const NEAR: [&[&str]; 5] = [
    &["int32", "int64", "uint32", "uint64", "bool"],
    &["sint32", "sint64"],
    &["fixed32", "sfixed32", "float"],
    &["fixed64", "sfixed64", "double"],
    &["string", "bytes"],
];

const MAP_KEYS: [&str; 6] = ["int32", "uint64", "sint32", "bool", "string", "fixed32"];

#[derive(Clone, Copy, PartialEq)]
enum Label {
    Plain,
    Required,
    Repeated,
    /// Of a key.
    Map(&'static str),
    /// Of one of two.
    Oneof(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Scalar(&'static str),
    Enum(usize),
    Message(usize),
    Group,
}

#[derive(Clone)]
struct Field {
    number: usize,
    name: usize,
    label: Label,
    kind: Kind,
    /// Of a number, in `proto2`.
    default: Option<usize>,
    is_packed: Option<bool>,
}

/// A `.proto` with some messages and enums.
#[derive(Clone)]
pub struct File {
    is_proto2: bool,
    messages: Vec<Vec<Field>>,
    /// The values of each, with what their names begin with.
    enums: Vec<Vec<(usize, char)>>,
}

impl File {
    pub fn random(dice: &mut Dice) -> Self {
        let mut file = Self {
            is_proto2: dice.is_one_in(2),
            messages: vec![Vec::new(); 1 + dice.roll(3)],
            enums: Vec::new(),
        };
        for _ in 0..2 {
            let values = (0..=dice.roll(4)).map(|number| (number, 'V')).collect();
            file.enums.push(values);
        }
        for at in 0..file.messages.len() {
            for _ in 0..=dice.roll(6) {
                file.add(at, dice);
            }
        }
        file
    }

    fn label(dice: &mut Dice) -> Label {
        match dice.roll(9) {
            0..=2 => Label::Plain,
            3 => Label::Required,
            4 | 5 => Label::Repeated,
            6 => Label::Map(dice.pick::<&str>(&MAP_KEYS)),
            _ => Label::Oneof(dice.roll(2)),
        }
    }

    fn kind(&self, dice: &mut Dice) -> Kind {
        match dice.roll(8) {
            0 => Kind::Enum(dice.roll(self.enums.len())),
            1 | 2 => Kind::Message(dice.roll(self.messages.len())),
            3 if dice.is_one_in(2) => Kind::Group,
            _ => Kind::Scalar(dice.pick::<&str>(&SCALARS)),
        }
    }

    fn add(&mut self, at: usize, dice: &mut Dice) {
        let number = 1 + dice.roll(20);
        let field = Field {
            number,
            name: number,
            label: Self::label(dice),
            kind: self.kind(dice),
            default: dice.is_one_in(3).then(|| dice.roll(3)),
            is_packed: dice.is_one_in(2).then(|| dice.is_one_in(2)),
        };
        if self.messages[at].iter().all(|other| other.number != number && other.name != number) {
            self.messages[at].push(field);
        }
    }

    /// Changes one thing.
    pub fn mutate(&mut self, dice: &mut Dice) {
        let at = dice.roll(self.messages.len());
        let kind = self.kind(dice);
        match dice.roll(12) {
            0 | 1 => return self.add(at, dice),
            2 => self.is_proto2 = !self.is_proto2,
            3 => {
                let found = dice.roll(self.enums.len());
                let values = &mut self.enums[found];
                match dice.roll(3) {
                    0 => values.push((values.last().map_or(0, |last| last.0) + 1, 'V')),
                    1 if values.len() > 1 => drop(values.pop()),
                    _ => values.last_mut().unwrap().1 = 'W',
                }
            }
            _ => {}
        }
        if self.messages[at].is_empty() {
            return;
        }
        let (field_at, other) = (dice.roll(self.messages[at].len()), 1 + dice.roll(20));
        let is_taken = |field: &Field| field.number == other || field.name == other;
        let is_free = !self.messages[at].iter().any(is_taken);
        let field = &mut self.messages[at][field_at];
        match dice.roll(12) {
            0 => drop(self.messages[at].remove(field_at)),
            1 if is_free => field.number = other,
            2 if is_free => field.name = other,
            3 | 4 => field.label = Self::label(dice),
            5 => field.default = dice.is_one_in(2).then(|| dice.roll(3)),
            6 => field.is_packed = field.is_packed.map_or(Some(true), |is_packed| Some(!is_packed)),
            7 | 8 => field.kind = kind,
            _ => {
                let is_near =
                    |kinds: &&&[&str]| matches!(field.kind, Kind::Scalar(kind) if kinds.contains(&kind));
                if let Some(near) = NEAR.iter().find(is_near) {
                    field.kind = Kind::Scalar(dice.pick::<&str>(near));
                }
            }
        }
    }

    pub fn text(&self) -> String {
        let mut text = format!("syntax = \"{}\";\n", if self.is_proto2 { "proto2" } else { "proto3" });
        for (at, fields) in self.messages.iter().enumerate() {
            writeln!(text, "message M{at} {{").unwrap();
            for field in fields.iter().filter(|field| self.oneof(at, field).is_none()) {
                writeln!(text, "  {}", self.field(at, field)).unwrap();
            }
            for oneof in 0..2 {
                let members: Vec<_> =
                    fields.iter().filter(|field| self.oneof(at, field) == Some(oneof)).collect();
                let lines: String =
                    members.iter().map(|field| format!("    {}\n", self.field(at, field))).collect();
                if !lines.is_empty() {
                    writeln!(text, "  oneof o{oneof} {{\n{lines}  }}").unwrap();
                }
            }
            writeln!(text, "}}").unwrap();
        }
        for (at, values) in self.enums.iter().enumerate() {
            let names: BTreeSet<_> = values.iter().map(|(number, name)| (*number, *name)).collect();
            let lines: String =
                names.iter().map(|(number, name)| format!(" E{at}_{name}{number} = {number};")).collect();
            writeln!(text, "enum E{at} {{{lines} }}").unwrap();
        }
        text
    }

    /// The label as the language allows it.
    fn label_of(&self, at: usize, field: &Field) -> Label {
        match field.label {
            // One that requires itself could never be written.
            Label::Required
                if !self.is_proto2 || matches!(field.kind, Kind::Message(inner) if inner <= at) =>
            {
                Label::Plain
            }
            Label::Map(_) if self.is_group(field) => Label::Repeated,
            label => label,
        }
    }

    fn oneof(&self, at: usize, field: &Field) -> Option<usize> {
        match self.label_of(at, field) {
            Label::Oneof(oneof) => Some(oneof),
            _ => None,
        }
    }

    fn is_group(&self, field: &Field) -> bool {
        field.kind == Kind::Group && self.is_proto2
    }

    fn field(&self, at: usize, field: &Field) -> String {
        let Field { number, name, kind, default, is_packed, .. } = *field;
        let label = self.label_of(at, field);
        let kind_text = match kind {
            Kind::Scalar(scalar) => scalar.to_owned(),
            Kind::Enum(found) => format!("E{found}"),
            Kind::Message(message) => format!("M{message}"),
            Kind::Group => "int64".to_owned(),
        };
        let label_text = match (label, self.is_proto2) {
            (Label::Required, _) => "required ",
            (Label::Repeated, _) => "repeated ",
            // Some have a presence in `proto3` too.
            (Label::Plain, false) if number % 3 == 0 => "optional ",
            (Label::Plain, true) => "optional ",
            _ => "",
        };
        if let Label::Map(key) = label {
            return format!("map<{key}, {kind_text}> f{name} = {number};");
        }
        if self.is_group(field) {
            return format!(
                "{label_text}group F{name} = {number} {{ optional int32 x = 1; optional string y = 2; }}"
            );
        }
        let is_number =
            matches!(kind, Kind::Scalar(scalar) if !["bool", "string", "bytes"].contains(&scalar));
        let is_packable = is_number || matches!(kind, Kind::Enum(_) | Kind::Scalar("bool") | Kind::Group);
        let option = match (label, default, is_packed) {
            (Label::Repeated, _, Some(is_packed)) if is_packable => format!(" [packed = {is_packed}]"),
            (Label::Plain | Label::Oneof(_), Some(default), _) if is_number && self.is_proto2 => {
                format!(" [default = {default}]")
            }
            _ => String::new(),
        };
        format!("{label_text}{kind_text} f{name} = {number}{option};")
    }
}
