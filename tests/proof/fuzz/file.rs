//! Database files: flipped bits, overwritten, exchanged and lost pages, short files. An input is a list of changes to one of
//! a few files; a longer one is such a file.

use tidegate::config::CommitMode;

use super::Target;
use super::known::Base;
use super::mutate::Chance;

/// Bytes of a page of the file.
const PAGE: usize = 4096;
/// Bytes of a change: its kind, a page in 2, a place in it in 2, and a value in 3.
const CHANGE: usize = 8;
/// Bytes of the header that is read first.
const HEADER: usize = 320;

pub struct Files {
    bases: Vec<Base>,
}

impl Files {
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            bases: vec![
                Base::new(CommitMode::QuickRepair, true)?,
                Base::new(CommitMode::QuickRepair, false)?,
                Base::new(CommitMode::OnePhase, false)?,
            ],
        })
    }
}

impl Target for Files {
    fn seeds(&self) -> Vec<Vec<u8>> {
        (0..3).flat_map(|base| (0..12).map(move |kind| vec![base, kind, 3, 0, 40, 0, 1, 0, 0])).collect()
    }

    fn bytes_max(&self) -> usize {
        1 + 6 * CHANGE
    }

    fn change(&self, chance: &Chance, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        if chance.one_in(4) {
            chance.change(input, &[], pool, self.bytes_max());
            return;
        }
        // One or two changes find what many hide.
        input.clear();
        input.push(chance.byte());
        for _ in 0..=chance.below(3) {
            let mut change = chance.below(u64::MAX).to_le_bytes();
            change[0] %= 12;
            input.extend_from_slice(&change);
        }
    }

    /// The file itself, behind the number of the one that it was and its journal with its length: when the files are made, threads are faster or slower.
    fn lasting(&self, input: &[u8]) -> Vec<u8> {
        let Some((number, changes)) = input.split_first() else { return Vec::new() };
        if input.len() > self.bytes_max() {
            return input.to_vec();
        }
        let base = self.base(*number);
        let mut image = base.images.last().cloned().unwrap_or_default();
        let used: Vec<usize> = (0..image.len() / PAGE)
            .filter(|page| image[page * PAGE..(page + 1) * PAGE].iter().any(|byte| *byte != 0))
            .collect();
        for change in changes.as_chunks::<CHANGE>().0 {
            apply(&mut image, &base.images, &used, *change);
        }
        let mut lasting = vec![*number];
        lasting.extend_from_slice(&(base.journal.len() as u64).to_le_bytes());
        lasting.extend_from_slice(&base.journal);
        lasting.append(&mut image);
        lasting
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let lasting = self.lasting(input);
        let Some((number, journal, image)) = parts(&lasting) else { return Ok("nothing".to_owned()) };
        let base = self.base(number);
        // The header says which moment the file is of.
        let is_of_last = base.images.last().and_then(|last| last.get(..PAGE)) == image.get(..PAGE);
        base.check(image.to_vec(), journal.to_vec(), is_of_last && changes_bytes_alone(input))
    }
}

impl Files {
    fn base(&self, number: u8) -> &Base {
        &self.bases[usize::from(number) % self.bases.len()]
    }
}

/// The number, the journal and the file of a lasting input.
fn parts(lasting: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (number, rest) = lasting.split_first()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (journal, image) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    Some((*number, journal, image))
}

/// Whether an input puts no page of another place or of an older moment into the file.
fn changes_bytes_alone(input: &[u8]) -> bool {
    let Some((_, changes)) = input.split_first() else { return false };
    let changes = changes.as_chunks::<CHANGE>().0;
    input.len() <= 1 + 6 * CHANGE && changes.iter().all(|change| !(7..=9).contains(&(change[0] % 12)))
}

/// Makes one change. Pages are counted among those that hold something.
fn apply(image: &mut Vec<u8>, images: &[Vec<u8>], used: &[usize], change: [u8; CHANGE]) {
    let [kind, page_low, page_high, at_low, at_high, value, more, most] = change;
    let number = usize::from(u16::from_le_bytes([page_low, page_high]));
    let Some(page) = used.get(number % used.len().max(1)) else { return };
    let start = page * PAGE;
    let at = start + usize::from(u16::from_le_bytes([at_low, at_high])) % PAGE;
    let end = (start + PAGE).min(image.len());
    let rest = usize::from(more) + usize::from(most) * 16;
    match kind % 12 {
        0..=2 => flip(image, at, value),
        // The header says where everything is.
        3 => flip(image, at % HEADER, value),
        4 => fill(image, at..at + 1, value),
        5 => fill(image, at..(at + rest).min(end), value),
        6 => fill(image, start..end, if more == 0 { 0 } else { value }),
        7 => {
            let other = used.get(rest % used.len()).unwrap_or(page) * PAGE;
            let source = image.clone();
            copy(image, start, &source, other);
        }
        8 => copy(image, start, &images[rest % images.len()], start),
        9 => {
            let half = start + PAGE / 2;
            if let Some(old) = images[rest % images.len()].get(half..half + PAGE / 2)
                && let Some(new) = image.get_mut(half..half + PAGE / 2)
            {
                new.copy_from_slice(old);
            }
        }
        10 => image.truncate(if more % 2 == 0 { start } else { at }),
        _ => image.resize(image.len() + rest, value),
    }
}

fn flip(image: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = image.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
}

fn fill(image: &mut [u8], range: std::ops::Range<usize>, value: u8) {
    if let Some(bytes) = image.get_mut(range) {
        bytes.fill(value);
    }
}

fn copy(image: &mut [u8], to: usize, source: &[u8], from: usize) {
    if let Some(old) = source.get(from..from + PAGE)
        && let Some(new) = image.get_mut(to..to + PAGE)
    {
        new.copy_from_slice(old);
    }
}
