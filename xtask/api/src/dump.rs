//! The public API as text, a line for each item.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use public_api::{PublicApi, PublicItem};
use rustdoc_types::Id;

/// Traits that the compiler adds to types, and that nobody relies on or promises here. `Send` and `Sync` stay: who loses
/// them breaks others.
const LEFT_OUT: [&str; 5] = [
    " core::marker::Freeze for ",
    " core::marker::StructuralPartialEq for ",
    " core::marker::UnsafeUnpin for ",
    "core::panic::unwind_safe::RefUnwindSafe for ",
    "core::panic::unwind_safe::UnwindSafe for ",
];

/// What a crate shows to others.
pub struct Api {
    api: PublicApi,
    text: String,
}

impl Api {
    /// The API that rustdoc has written to this file, without what all types have alike.
    pub fn of(json: &Path) -> Result<Self> {
        let builder = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true);
        let api = builder.build().with_context(|| json.display().to_string())?;
        let mut text = String::new();
        for line in api.items().map(ToString::to_string) {
            if !LEFT_OUT.iter().any(|trait_| line.contains(trait_)) {
                writeln!(text, "{line}")?;
            }
        }
        Ok(Self { api, text })
    }

    /// All items of it.
    pub fn ids(&self) -> BTreeSet<Id> {
        self.api.items().map(PublicItem::id).collect()
    }

    /// Writes the dump.
    pub fn write(&self, dump: &Path) -> Result<()> {
        std::fs::write(dump, &self.text).with_context(|| dump.display().to_string())?;
        println!("xtask: {} has {} lines", dump.display(), self.text.lines().count());
        Ok(())
    }

    /// Fails where the dump says something else, and prints the difference.
    pub fn compare(&self, dump: &Path) -> Result<()> {
        let committed = std::fs::read_to_string(dump).with_context(|| dump.display().to_string())?;
        let difference = difference(&committed, &self.text);
        if difference.is_empty() {
            return Ok(());
        }
        print!("{difference}");
        bail!(
            "the public API is not what {} says. A line with `-` breaks who uses it. If it is meant: \
             `cargo xtask api --bless`, a line in CHANGELOG.md, and commit both",
            dump.display()
        )
    }
}

/// Lines that only one of the two has, in their order. Both are sorted alike, so that is all there is to say.
fn difference(before: &str, after: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), after.lines().collect());
    let went = before.lines().filter(|line| !new.contains(line)).map(|line| format!("-{line}\n"));
    let came = after.lines().filter(|line| !old.contains(line)).map(|line| format!("+{line}\n"));
    went.chain(came).collect()
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_difference_has_what_went_and_what_came() {
        assert_eq!(difference("a\nb\nc\n", "a\nc\nd\n"), "-b\n+d\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}
