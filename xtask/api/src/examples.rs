//! What has no example in its documentation.
//!
//! Every public struct, enum, trait and free function is to have one: in its own documentation, or in that of one of its
//! methods. Of the types that programs live with, every method is to have one.

use std::collections::{BTreeMap, BTreeSet};

use rustdoc_types::{Crate, Id, Impl, Item, ItemEnum};

/// Types of which every method has an example.
const EVERY_METHOD: [&str; 1] = ["Bus"];

/// Paths of the items of these that have no example.
pub fn missing(documented: &Crate, public: &BTreeSet<Id>) -> Vec<String> {
    let implementors = implementors(documented);
    let methods: BTreeSet<Id> = documented.index.values().flat_map(associated).collect();
    let items = public.iter().filter_map(|id| documented.index.get(id));
    let mut missing = BTreeSet::new();
    for item in items {
        let Some(name) = item.name.as_deref() else { continue };
        let parts: Vec<&Item> = match &item.inner {
            ItemEnum::Struct(_) | ItemEnum::Enum(_) | ItemEnum::Union(_) => {
                implementors.get(&item.id).into_iter().flatten().copied().collect()
            }
            ItemEnum::Trait(of) => of.items.iter().filter_map(|id| documented.index.get(id)).collect(),
            ItemEnum::Function(_) if !methods.contains(&item.id) => Vec::new(),
            _ => continue,
        };
        if !std::iter::once(item).chain(parts.iter().copied()).any(has_example) {
            missing.insert(path(documented, item, name));
        }
        if EVERY_METHOD.contains(&name) {
            let without = parts.iter().filter(|part| public.contains(&part.id) && !has_example(part));
            let method = |part: &&Item| Some(format!("{name}::{}", part.name.as_deref()?));
            missing.extend(without.filter_map(method));
        }
    }
    missing.into_iter().collect()
}

/// The inherent methods of each type.
fn implementors(documented: &Crate) -> BTreeMap<Id, Vec<&Item>> {
    let mut implementors: BTreeMap<Id, Vec<&Item>> = BTreeMap::new();
    for item in documented.index.values() {
        if let ItemEnum::Impl(Impl {
            trait_: None, for_: rustdoc_types::Type::ResolvedPath(of), items, ..
        }) = &item.inner
        {
            let items = items.iter().filter_map(|id| documented.index.get(id));
            implementors.entry(of.id).or_default().extend(items);
        }
    }
    implementors
}

/// What belongs to a type or a trait rather than to a module.
fn associated(item: &Item) -> Vec<Id> {
    match &item.inner {
        ItemEnum::Impl(of) => of.items.clone(),
        ItemEnum::Trait(of) => of.items.clone(),
        _ => Vec::new(),
    }
}

fn path(documented: &Crate, item: &Item, name: &str) -> String {
    let path = documented.paths.get(&item.id);
    path.map_or_else(|| name.to_owned(), |summary| summary.path.join("::"))
}

fn has_example(item: &Item) -> bool {
    item.docs.as_deref().is_some_and(has_code)
}

/// Whether a text has a block of Rust that rustdoc runs, or at least compiles.
fn has_code(text: &str) -> bool {
    let mut is_open = false;
    for fence in text.lines().filter_map(|line| line.trim_start().strip_prefix("```")) {
        is_open = !is_open;
        let words = ["", "rust", "no_run", "should_panic", "compile_fail"];
        if is_open && words.contains(&fence.split(',').next().unwrap_or_default().trim()) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_code;

    #[test]
    fn only_rust_that_is_run_or_compiled_is_an_example() {
        assert!(has_code("Text.\n\n```\nlet a = 1;\n```\n"));
        assert!(has_code("```no_run\nloop {}\n```"));
        assert!(!has_code("Text with `code`.\n\n```toml\na = 1\n```\n"));
        assert!(!has_code("```ignore\nnever compiled\n```"));
        assert!(!has_code("```text\n```\n"));
    }
}
