//! One sequence of events from a partition of several topics, in the order of their commits.
//!
//! # Why the order is right
//!
//! The log shows commits in their order: what a commit appended becomes visible in no partition before all of the
//! commit before it is visible in every one. So once an event of commit `c` was seen anywhere, a read that begins
//! afterwards sees everything of the commits before `c`. And within a topic, events have ascending commits.
//!
//! Of the topics whose buffers hold events, the least commit is at the head of one of them. Only a topic with an empty
//! buffer could still have an event of a lesser commit. So the head with commit `c` is handed out when each topic with
//! an empty buffer was found to have nothing more by a read that began after an event of `c` or of a later commit had
//! been seen. Such a read vouches for everything seen before it, so that an idle topic costs one read for each batch
//! of a busy one.
//!
//! Events of one commit in several topics have no order among them. They come by the topic's number where all of them
//! are visible yet, and in any order otherwise.

use std::collections::VecDeque;

use crate::handler::{Failure, FailureKind};
use crate::ids::TopicId;
use crate::log::{Entry, Stored};

/// See the module.
#[derive(Debug)]
pub(super) struct Merge {
    feeds: Vec<Feed>,
    /// The greatest commit of which an event was seen.
    seen: u64,
}

/// What was read ahead of one topic.
#[derive(Debug)]
struct Feed {
    topic: TopicId,
    /// The offset to read next; unknown where the lane has never read the topic.
    next: Option<u64>,
    items: VecDeque<Item>,
    /// The buffer has had everything of the commits before this one.
    complete_to: u64,
    /// Whether another read may find something.
    may_have_more: bool,
}

/// What comes next in a topic.
#[derive(Debug)]
pub(super) enum Item {
    Event(Stored),
    Missing { offset: u64, offset_last: u64, failure: Failure },
}

/// What the merge wants.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A read of this topic from this offset on, handed to [`Merge::fill`].
    Read(TopicId, u64),
    /// The next item is there; [`Merge::take`] takes it out.
    Item(&'a Item),
    /// There is nothing more for now.
    Nothing,
}

impl Merge {
    /// A merge that reads each topic from its offset on.
    pub(super) fn new(topics: impl IntoIterator<Item = (TopicId, Option<u64>)>) -> Self {
        let feed =
            |(topic, next)| Feed { topic, next, items: VecDeque::new(), complete_to: 0, may_have_more: true };
        let mut feeds: Vec<_> = topics.into_iter().map(feed).collect();
        feeds.sort_by_key(|feed| feed.topic);
        Self { feeds, seen: 0 }
    }

    /// What comes next.
    pub(super) fn next(&self) -> Next<'_> {
        let head = self.head();
        let unsure = self.feeds.iter().find(|feed| match head.map(|(_, item)| item) {
            // What is missing has no commit, and nothing of its own topic comes before it.
            Some(Item::Missing { .. }) => false,
            Some(Item::Event(event)) => feed.items.is_empty() && feed.complete_to < event.commit,
            None => feed.may_have_more,
        });
        match (unsure, head) {
            (Some(feed), _) => Next::Read(feed.topic, feed.next.unwrap_or(0)),
            (None, Some((_, item))) => Next::Item(item),
            (None, None) => Next::Nothing,
        }
    }

    /// Takes out what [`next`](Self::next) has shown.
    pub(super) fn take(&mut self) -> Option<(TopicId, Item)> {
        let (feed, _) = self.head()?;
        let feed = &mut self.feeds[feed];
        let item = feed.items.pop_front()?;
        if let Item::Event(event) = &item {
            feed.complete_to = feed.complete_to.max(event.commit);
        }
        Some((feed.topic, item))
    }

    /// Adds what a read of the topic has found, where `end` is the partition's end as it was before the read began.
    pub(super) fn fill(&mut self, topic: TopicId, entries: Vec<Entry>, end: u64) {
        let seen = self.seen;
        let Some(feed) = self.feeds.iter_mut().find(|feed| feed.topic == topic) else {
            return;
        };
        feed.may_have_more = !entries.is_empty();
        if entries.is_empty() {
            feed.complete_to = feed.complete_to.max(seen);
            feed.skip_to(end);
        }
        for entry in entries {
            match entry {
                Entry::Event(event) => {
                    feed.skip_to(event.offset);
                    feed.next = Some(event.offset + 1);
                    self.seen = self.seen.max(event.commit);
                    feed.items.push_back(Item::Event(event));
                }
                Entry::Damaged { offset, offset_last, reason } => {
                    feed.skip_to(offset);
                    feed.next = Some(offset_last + 1);
                    let failure = Failure::new(FailureKind::Damaged, "damaged", reason);
                    feed.items.push_back(Item::Missing { offset, offset_last, failure });
                }
            }
        }
    }

    /// The events that were read and not taken out yet, topic by topic.
    pub(super) fn ahead(&self) -> impl Iterator<Item = (TopicId, &Stored)> {
        self.feeds.iter().flat_map(|feed| {
            feed.items.iter().filter_map(|item| match item {
                Item::Event(stored) => Some((feed.topic, stored)),
                Item::Missing { .. } => None,
            })
        })
    }

    /// Has every topic read again: there may be new events.
    pub(super) fn wake(&mut self) {
        for feed in &mut self.feeds {
            feed.may_have_more = true;
        }
    }

    /// The buffer with the least commit at its head, and that head.
    fn head(&self) -> Option<(usize, &Item)> {
        let heads = self.feeds.iter().enumerate().filter_map(|(at, feed)| Some((at, feed.items.front()?)));
        heads.min_by_key(|(at, item)| match item {
            Item::Event(event) => (event.commit, *at),
            Item::Missing { .. } => (0, *at),
        })
    }
}

impl Feed {
    /// Records what lies between the last event that was read and this offset as gone. Offsets are dense, so only
    /// retention that was forced leaves such a gap, and damage that hides batches.
    fn skip_to(&mut self, offset: u64) {
        let first = self.next.unwrap_or(offset);
        if first < offset {
            let message = format!(
                "the events from {first} to {} are gone: retention was forced, or the file is damaged",
                offset - 1
            );
            let failure = Failure::new(FailureKind::Gap, "gap", message);
            self.items.push_back(Item::Missing { offset: first, offset_last: offset - 1, failure });
            self.next = Some(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Event;

    fn stored(offset: u64, commit: u64) -> Stored {
        let event = Event::new(format!("{offset}"), "/tests", "test").build().unwrap();
        Stored { offset, commit, appended: Timestamp(0), key: 0, event: Arc::new(event) }
    }

    /// A log of several topics: the commits of their events, and how many of those are visible.
    #[derive(Clone, Debug, Default)]
    struct Topic {
        commits: Vec<u64>,
        visible: usize,
    }

    /// Commits as the topics they append to; how many topics to advance before each read; how much a read returns.
    fn runs() -> impl Strategy<Value = (Vec<Vec<bool>>, Vec<usize>, Vec<usize>)> {
        let commit = proptest::collection::vec(any::<bool>(), 3);
        (
            proptest::collection::vec(commit, 1..40),
            proptest::collection::vec(0_usize..4, 400),
            proptest::collection::vec(1_usize..5, 400),
        )
    }

    proptest! {
        #[test]
        fn events_of_several_topics_come_in_the_order_of_their_commits((commits, steps, sizes) in runs()) {
            let mut topics = vec![Topic::default(); 3];
            // The visibility of each commit's events is raised topic by topic, commit by commit.
            let mut raises = VecDeque::new();
            for (commit, of) in commits.iter().enumerate() {
                for (at, _) in of.iter().enumerate().filter(|(_, appends)| **appends) {
                    topics[at].commits.push(commit as u64 + 1);
                    raises.push_back(at);
                }
            }
            let total = raises.len();
            let mut merge = Merge::new((0..3).map(|topic| (TopicId(topic), Some(0))));
            let (mut steps, mut sizes) = (steps.into_iter().cycle(), sizes.into_iter().cycle());
            let mut order = Vec::new();
            while order.len() < total {
                for _ in 0..steps.next().unwrap() {
                    if let Some(at) = raises.pop_front() {
                        topics[at].visible += 1;
                    }
                }
                match merge.next() {
                    Next::Read(id, from) => {
                        let topic = &topics[id.0 as usize];
                        let from = usize::try_from(from).unwrap();
                        let until = topic.visible.min(from + sizes.next().unwrap());
                        let found = (from..until).map(|at| Entry::Event(stored(at as u64, topic.commits[at])));
                        let (found, end) = (found.collect(), topic.visible as u64);
                        merge.fill(id, found, end);
                    }
                    Next::Item(..) => match merge.take().unwrap() {
                        (id, Item::Event(event)) => order.push((event.commit, id, event.offset)),
                        (_, missing) => prop_assert!(false, "nothing is missing: {missing:?}"),
                    },
                    Next::Nothing => {
                        if let Some(at) = raises.pop_front() {
                            topics[at].visible += 1;
                        }
                        merge.wake();
                    }
                }
            }
            prop_assert!(order.is_sorted_by_key(|(commit, ..)| *commit), "{order:?}");
            for topic in 0..3 {
                let offsets = order.iter().filter(|(_, id, _)| id.0 == topic).map(|(.., offset)| *offset);
                prop_assert!(offsets.eq(0..topics[topic as usize].commits.len() as u64));
            }
        }
    }

    #[test]
    fn events_removed_before_they_were_read_are_reported_as_a_gap() {
        let mut merge = Merge::new([(TopicId(1), Some(3))]);
        merge.fill(TopicId(1), vec![Entry::Event(stored(7, 1))], 8);
        let Some((TopicId(1), Item::Missing { offset: 3, offset_last: 6, failure })) = merge.take() else {
            panic!("the gap comes first");
        };
        assert_eq!(failure.kind, FailureKind::Gap);
        assert!(matches!(merge.take(), Some((_, Item::Event(Stored { offset: 7, .. })))));
        merge.fill(TopicId(1), Vec::new(), 10);
        assert!(matches!(merge.take(), Some((_, Item::Missing { offset: 8, offset_last: 9, .. }))));
        assert!(matches!(merge.next(), Next::Nothing));
    }

    #[test]
    fn damaged_events_come_in_their_place_and_hold_nothing_up() {
        let mut merge = Merge::new([(TopicId(1), Some(0)), (TopicId(2), Some(0))]);
        let damaged = Entry::Damaged { offset: 0, offset_last: 4, reason: "checksum".to_owned() };
        merge.fill(TopicId(1), vec![damaged, Entry::Event(stored(5, 2))], 6);
        assert!(matches!(merge.next(), Next::Item(Item::Missing { offset: 0, offset_last: 4, .. })));
        merge.take();
        assert!(matches!(merge.next(), Next::Read(TopicId(2), 0)));
    }
}
