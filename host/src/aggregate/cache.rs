//! The aggregates that a lane has in memory: those that were used last.

use std::collections::{BTreeMap, HashMap};

use super::fold::Folded;
use crate::limits::AGGREGATE_OVERHEAD_BYTES;

/// See the module.
pub(super) struct Cache {
    count_max: usize,
    bytes_max: usize,
    bytes: usize,
    uses: u64,
    aggregates: HashMap<String, (u64, Folded)>,
    /// The ids, by their last use.
    by_use: BTreeMap<u64, String>,
}

impl Cache {
    pub fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { count_max, bytes_max, bytes: 0, uses: 0, aggregates: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// Takes an aggregate out.
    pub fn take(&mut self, id: &str) -> Option<Folded> {
        let (used, aggregate) = self.aggregates.remove(id)?;
        self.by_use.remove(&used);
        self.bytes -= weight(id, &aggregate);
        Some(aggregate)
    }

    /// Puts an aggregate in, and lets go of those that were not used for the longest time, as far as its bounds ask for
    /// that.
    pub fn put(&mut self, id: &str, aggregate: Folded) {
        self.take(id);
        let bytes = weight(id, &aggregate);
        if self.count_max == 0 || bytes > self.bytes_max {
            return;
        }
        while self.aggregates.len() >= self.count_max || self.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some((_, gone)) = self.aggregates.remove(&oldest) {
                self.bytes -= weight(&oldest, &gone);
            }
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, id.to_owned());
        self.aggregates.insert(id.to_owned(), (self.uses, aggregate));
    }
}

fn weight(id: &str, aggregate: &Folded) -> usize {
    AGGREGATE_OVERHEAD_BYTES + 2 * id.len() + aggregate.state.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: usize) -> Folded {
        Folded { version: 1, state: Some(vec![0; bytes]), ..Folded::default() }
    }

    #[test]
    fn the_cache_is_bounded_in_number_and_in_bytes_and_lets_go_of_what_was_not_used_for_longest() {
        let mut cache = Cache::new(2, 10_000);
        cache.put("a", of(1));
        cache.put("b", of(1));
        let a = cache.take("a").unwrap();
        cache.put("a", a);
        cache.put("c", of(1));
        assert!(cache.take("b").is_none(), "it was not used for longest");
        assert!(cache.take("a").is_some() && cache.take("c").is_some());
        assert_eq!((cache.bytes, cache.by_use.len()), (0, 0));

        let mut cache = Cache::new(100, 10_000);
        for n in 0..10 {
            cache.put(&n.to_string(), of(3000));
            assert!(cache.bytes <= 10_000);
        }
        assert_eq!(cache.aggregates.len(), 3);
        cache.put("huge", of(20_000));
        assert!(cache.take("huge").is_none(), "what is larger than the cache costs no others their place");
        assert_eq!(cache.aggregates.len(), 3);
    }

    #[test]
    fn a_cache_of_none_keeps_none() {
        let mut cache = Cache::new(0, 10_000);
        cache.put("a", of(1));
        assert!(cache.take("a").is_none());
    }
}
