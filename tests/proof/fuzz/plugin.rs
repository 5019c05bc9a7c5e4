//! Components: the bytes of a file, and the description that one gives of itself. A change inside of a section leaves the
//! lengths around it right, so that what lies within is reached.

use std::time::Duration;

use tidegate::LoadError;
use tidegate::testing::probe::Loader;

use super::Target;
use super::mutate::Chance;

/// Time that a component has to describe itself.
const DEADLINE: Duration = Duration::from_millis(100);

/// Bytes of the magic and the version.
const PREAMBLE: usize = 8;

/// Sections that hold a module or a component: in a component, core modules and components.
const NESTED: [u8; 2] = [1, 4];

/// Modules within each other whose sections are told apart.
const DEPTH_MAX: u32 = 3;

/// A component that asks for state and to publish to `alerts`, and has an empty handler.
const COMPONENT: &[u8] = include_bytes!("plugin.wasm");

pub struct Plugins {
    loader: Loader,
}

impl Plugins {
    pub fn new() -> Result<Self, String> {
        Ok(Self { loader: Loader::new().map_err(|error| error.to_string())? })
    }
}

impl Target for Plugins {
    fn seeds(&self) -> Vec<Vec<u8>> {
        vec![COMPONENT.to_vec(), b"\0asm\x0d\0\x01\0".to_vec(), b"\0asm\x01\0\0\0".to_vec()]
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"tidegate:plugin/plugin@0.1.0",
            b"tidegate:plugin/handler@0.2.0",
            b"wasi:io/streams@0.2.0",
            b"\x80\x80\x80\x80\x08",
            b"\xff\xff\xff\xff\x0f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x03\x40\x0c\x00\x0b",
            b"\x00",
            b"\x0b",
            b"\x40\x00",
            b"\0asm\x01\0\0\0",
            b"\0asm\x0d\0\x01\0",
        ]
    }

    fn bytes_max(&self) -> usize {
        64 << 10
    }

    fn change(&self, chance: &Chance, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        if chance.one_in(4) {
            chance.change(input, self.words(), pool, self.bytes_max());
            return;
        }
        for _ in 0..=chance.below(3) {
            *input = self.change_section(chance, input, pool, 0);
        }
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        match self.loader.load(input, DEADLINE) {
            Ok(version) => Ok(format!("loaded {}", version.name)),
            Err(error @ LoadError::ShuttingDown) => Err(error.to_string()),
            // The compiler's panics are caught where it is called, and are a fault of it all the same.
            Err(error) if error.to_string().contains("gave up") => {
                Err(format!("the compiler panics: {}", super::watch::panics()))
            }
            Err(error) => Ok(error.to_string()),
        }
    }
}

impl Plugins {
    /// Changes one section, and writes its length anew.
    fn change_section(&self, chance: &Chance, bytes: &[u8], pool: &[Vec<u8>], depth: u32) -> Vec<u8> {
        let Some((preamble, mut sections)) = sections(bytes) else {
            let mut bytes = bytes.to_vec();
            chance.change(&mut bytes, self.words(), pool, self.bytes_max());
            return bytes;
        };
        let at = chance.index(sections.len());
        match (chance.below(16), sections.get_mut(at)) {
            (0, Some(_)) => drop(sections.remove(at)),
            (1, Some(section)) => {
                let copy = section.clone();
                sections.insert(chance.index(at + 1), copy);
            }
            (2, Some(_)) => {
                let other = chance.index(sections.len());
                sections.swap(at, other);
            }
            (3, Some((id, _))) => *id = chance.byte() % 13,
            (_, Some((id, content)))
                if depth < DEPTH_MAX && NESTED.contains(id) && content.len() > PREAMBLE =>
            {
                *content = self.change_section(chance, content, pool, depth + 1);
            }
            (_, Some((_, content))) => {
                let parts: Vec<_> = pool
                    .iter()
                    .filter_map(|other| Some(chance.of(&self::sections(other)?.1)?.1.clone()))
                    .take(4)
                    .collect();
                chance.change(content, self.words(), &parts, self.bytes_max());
            }
            (_, None) => sections.push((chance.byte() % 13, vec![chance.byte()])),
        }
        let mut out = preamble.to_vec();
        for (id, content) in sections {
            out.push(id);
            put_length(&mut out, content.len());
            out.extend_from_slice(&content);
        }
        out
    }
}

type Section = (u8, Vec<u8>);

/// The preamble and the sections of a module or a component.
fn sections(bytes: &[u8]) -> Option<(&[u8], Vec<Section>)> {
    let (preamble, mut rest) = bytes.split_at_checked(PREAMBLE)?;
    if !preamble.starts_with(b"\0asm") {
        return None;
    }
    let mut sections = Vec::new();
    while let Some((id, after)) = rest.split_first() {
        let (length, after) = length(after)?;
        let (content, after) = after.split_at_checked(length)?;
        sections.push((*id, content.to_vec()));
        rest = after;
    }
    Some((preamble, sections))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[index + 1..]));
        }
    }
    None
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = length.to_le_bytes()[0] & 0x7f;
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}
