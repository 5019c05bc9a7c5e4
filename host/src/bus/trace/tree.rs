//! Putting what was found together: each below what caused it.

use std::collections::HashMap;
use std::time::Duration;

use super::model::{Trace, TraceLink, TraceNode, TraceSummary, Traced};
use crate::aggregate::Outcome;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::handler::Failure;
use crate::timer::TIMER_TOPIC;

/// What stands for a topic in the id of a timer that was set by hand.
const TIMER_BY_HAND: &str = "by-hand";
/// What the sources of consumers begin with.
const CONSUMERS: &str = "/tidegate/consumers/";

/// Where an event is delivered from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// The consumer, for its timers: each counts its own.
    consumer: Option<String>,
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

impl Place {
    pub fn in_topic(topic: &str, partition: u32, offset: u64) -> Self {
        Self { consumer: None, topic: topic.to_owned(), partition, offset }
    }

    pub fn of_timer(consumer: &str, partition: u32, number: u64) -> Self {
        let consumer = Some(consumer.to_owned());
        Self { consumer, topic: TIMER_TOPIC.to_owned(), partition, offset: number }
    }
}

/// An event that was found.
#[derive(Clone, Debug)]
pub(super) struct FoundEvent {
    pub place: Place,
    commit: u64,
    pub at: Timestamp,
    kind: String,
    source: String,
    id: String,
    pub key: String,
    causation: Option<String>,
    pub is_in_log: bool,
}

impl FoundEvent {
    pub fn new(place: Place, commit: u64, at: Timestamp, event: &Event, is_in_log: bool) -> Self {
        Self {
            place,
            commit,
            at,
            kind: event.kind().to_owned(),
            source: event.source().to_owned(),
            id: event.id().to_owned(),
            key: event.key().to_owned(),
            causation: event.causation().map(std::borrow::Cow::into_owned),
            is_in_log,
        }
    }

    /// What it weighs.
    pub fn bytes(&self) -> usize {
        let texts = [&self.place.topic, &self.kind, &self.source, &self.id, &self.key];
        texts.map(String::len).iter().sum::<usize>() + self.causation.as_ref().map_or(0, String::len)
    }

    fn consumer(&self) -> Option<&str> {
        self.source.strip_prefix(CONSUMERS)
    }

    /// The delivery that made it, read from the id that the bus gives: `CONSUMER/TOPIC/PARTITION/OFFSET/…`, or with `@NUMBER` at
    /// its end where an aggregate has decided it, and what is behind that. `None` where its consumer gave it another id, or no consumer published it.
    fn origin(&self) -> Option<(Place, &str)> {
        origin(self.consumer()?, &self.id)
    }
}

/// The place in an id that begins with that of a delivery, and what is behind it.
fn origin<'a>(consumer: &str, id: &'a str) -> Option<(Place, &'a str)> {
    let rest = id.strip_prefix(consumer)?.strip_prefix('/')?;
    let mut parts = rest.splitn(4, '/');
    let (topic, partition, offset) = (parts.next()?, parts.next()?, parts.next()?);
    let (offset, rest) = match parts.next() {
        Some(rest) => (offset, rest),
        None => offset.split_once('@')?,
    };
    let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
    let place = match topic {
        TIMER_TOPIC => Place::of_timer(consumer, partition, offset),
        topic => Place::in_topic(topic, partition, offset),
    };
    Some((place, rest))
}

/// What hangs on an event.
#[derive(Clone, Debug)]
pub(super) enum Leaf {
    /// A timer that is set, as the event that it will come as.
    Timer { event: FoundEvent, consumer: String, name: String, due: Timestamp },
    Held {
        place: Place,
        consumer: String,
        at: Timestamp,
        until: Option<Timestamp>,
        attempts: usize,
        reason: Option<Failure>,
    },
    Letter {
        place: Place,
        consumer: String,
        letter: u64,
        at: Timestamp,
        attempts: usize,
        reason: Failure,
        redriven: bool,
    },
    /// What an aggregate has made of a command.
    Outcome { place: Place, consumer: String, at: Timestamp, outcome: Outcome },
}

impl Leaf {
    /// What it weighs.
    pub fn bytes(&self) -> usize {
        let of_reason = |reason: &Failure| reason.code.len() + reason.message.len();
        match self {
            Self::Timer { event, consumer, name, .. } => event.bytes() + consumer.len() + name.len(),
            Self::Held { place, consumer, reason, .. } => {
                place.topic.len() + consumer.len() + reason.as_ref().map_or(0, of_reason)
            }
            Self::Letter { place, consumer, reason, .. } => {
                place.topic.len() + consumer.len() + of_reason(reason)
            }
            Self::Outcome { place, consumer, outcome, .. } => {
                let of_outcome = match outcome {
                    Outcome::Accepted { .. } => 0,
                    Outcome::Rejected(rejection) => rejection.bytes(),
                };
                place.topic.len() + consumer.len() + of_outcome
            }
        }
    }
}

/// All that was found for a trace.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order in which they became durable.
    pub events: Vec<FoundEvent>,
    pub leaves: Vec<Leaf>,
    pub summary: TraceSummary,
}

/// A node with its place in the tree.
struct Placed {
    at: Timestamp,
    commit: u64,
    /// The id under which others name it as their cause.
    id: Option<String>,
    parent: Option<usize>,
    link: TraceLink,
    what: Traced,
}

/// The tree.
pub(super) fn assemble(id: &str, found: Found) -> Trace {
    let mut tree = Tree::default();
    tree.add_events(&found.events);
    let mut summary = found.summary;
    for leaf in found.leaves {
        summary.left_out += u64::from(!tree.add_leaf(leaf));
    }
    tree.open_circles();
    tree.hang_orphans(id);
    Trace { nodes: tree.into_nodes(), summary }
}

#[derive(Default)]
struct Tree {
    nodes: Vec<Placed>,
    by_place: HashMap<Place, usize>,
    /// The events of an id, in the order in which they became durable.
    by_id: HashMap<String, Vec<usize>>,
}

impl Tree {
    fn add_events(&mut self, events: &[FoundEvent]) {
        for (at, event) in events.iter().enumerate() {
            self.by_place.insert(event.place.clone(), at);
            self.by_id.entry(event.id.clone()).or_default().push(at);
        }
        self.nodes = events.iter().map(placed).collect();
        for (at, event) in events.iter().enumerate() {
            let (parent, link) = self.cause_of(event, Some(at));
            (self.nodes[at].parent, self.nodes[at].link) = (parent, link);
        }
    }

    /// Which node caused an event.
    fn cause_of(&mut self, event: &FoundEvent, own: Option<usize>) -> (Option<usize>, TraceLink) {
        let Some(cause) = event.causation.as_deref() else { return (None, TraceLink::Root) };
        // An event that has the id of its delivery says which one its cause is, of however many there are.
        if let Some((place, _)) = event.origin()
            && let Some(&at) = self.by_place.get(&place)
            && Some(at) != own
            && self.nodes[at].id.as_deref() == Some(cause)
        {
            return (Some(at), TraceLink::Cause);
        }
        // There may be as many of one id as there are nodes: none of them is looked at but those that it comes to.
        let of_id = self.by_id.get(cause).map_or(&[][..], Vec::as_slice);
        let candidates = of_id.len() - usize::from(own.is_some() && cause == event.id);
        let mut others = of_id.iter().copied().filter(|at| Some(*at) != own);
        match (candidates, others.next()) {
            (1, Some(only)) => (Some(only), TraceLink::Cause),
            (_, Some(first)) => {
                let before = of_id.partition_point(|at| self.nodes[*at].commit < event.commit);
                let last = before.checked_sub(1).and_then(|at| of_id.get(at)).copied();
                (Some(last.unwrap_or(first)), TraceLink::Likely { candidates })
            }
            // Whatever names itself as its cause is a circle of one.
            (_, None) if cause == event.id => (own, TraceLink::Cause),
            (_, None) => match self.timer_that_came(event, cause) {
                Some(timer) => (Some(timer), TraceLink::Cause),
                None => (None, TraceLink::Missing { cause: cause.to_owned() }),
            },
        }
    }

    /// The log doesn't keep what a timer comes as. Its id, which is named as the cause, says which delivery has set it.
    fn timer_that_came(&mut self, event: &FoundEvent, cause: &str) -> Option<usize> {
        let consumer = event.consumer()?;
        let (place, rest) = origin(consumer, cause)?;
        let name = rest.strip_prefix("timers/")?;
        let set_by = self.by_place.get(&place).copied();
        let (at, link) = match set_by {
            Some(at) => (self.nodes[at].at, TraceLink::Cause),
            None if place.topic == TIMER_BY_HAND => (event.at, TraceLink::Root),
            None => (event.at, TraceLink::Missing { cause: format!("{consumer}/{}/…", place.topic) }),
        };
        let timer = self.nodes.len();
        self.by_id.insert(cause.to_owned(), vec![timer]);
        self.nodes.push(Placed {
            at,
            commit: set_by.map_or(event.commit, |at| self.nodes[at].commit),
            id: Some(cause.to_owned()),
            parent: set_by,
            link,
            what: Traced::Timer { consumer: consumer.to_owned(), name: name.to_owned(), due: None },
        });
        Some(timer)
    }

    /// Adds what hangs on an event. Returns whether that is there.
    fn add_leaf(&mut self, leaf: Leaf) -> bool {
        // What became of a command stands before its effects, and all else behind them.
        let commit = if matches!(leaf, Leaf::Outcome { .. }) { 0 } else { u64::MAX };
        let (parent, link, at, what) = match leaf {
            Leaf::Timer { event, consumer, name, due } => {
                let (parent, link) = self.cause_of(&event, None);
                (parent, link, event.at, Traced::Timer { consumer, name, due: Some(due) })
            }
            Leaf::Held { place, consumer, at, until, attempts, reason } => {
                let what = Traced::Held { consumer, until, attempts, reason };
                (self.by_place.get(&place).copied(), TraceLink::Cause, at, what)
            }
            Leaf::Letter { place, consumer, letter, at, attempts, reason, redriven } => {
                let what = Traced::Letter { consumer, letter, attempts, reason, redriven };
                (self.by_place.get(&place).copied(), TraceLink::Cause, at, what)
            }
            Leaf::Outcome { place, consumer, at, outcome } => {
                let what = Traced::Outcome { consumer, outcome };
                (self.by_place.get(&place).copied(), TraceLink::Cause, at, what)
            }
        };
        if parent.is_none() && link == TraceLink::Cause {
            return false;
        }
        self.nodes.push(Placed { at, commit, id: None, parent, link, what });
        true
    }

    /// Takes one link out of each circle of causes, so that all others are a tree: that of the first node of the circle.
    fn open_circles(&mut self) {
        /// On no way that was gone, on this one, or on one that ends.
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            Here(usize),
            Ends,
        }
        let mut seen = vec![Seen::Not; self.nodes.len()];
        for start in 0..self.nodes.len() {
            let mut way = Vec::new();
            let mut next = Some(start);
            while let Some(at) = next {
                match seen[at] {
                    Seen::Ends => break,
                    Seen::Here(since) => {
                        let first = way[since..].iter().copied().min().unwrap_or(at);
                        self.open_circle(first);
                        break;
                    }
                    Seen::Not => {
                        seen[at] = Seen::Here(way.len());
                        way.push(at);
                        next = self.nodes[at].parent;
                    }
                }
            }
            for at in way {
                seen[at] = Seen::Ends;
            }
        }
    }

    fn open_circle(&mut self, at: usize) {
        let cause = self.nodes[at].parent.take().and_then(|parent| self.nodes[parent].id.clone());
        self.nodes[at].link = TraceLink::Circle { cause: cause.unwrap_or_default() };
    }

    /// What has lost its cause stands below the root, where that is there.
    fn hang_orphans(&mut self, id: &str) {
        let is_root = |node: &Placed| {
            node.parent.is_none() && node.link == TraceLink::Root && node.id.as_deref() == Some(id)
        };
        let Some(root) = self.nodes.iter().position(is_root) else { return };
        for node in &mut self.nodes {
            if matches!(node.link, TraceLink::Missing { .. }) {
                node.parent = Some(root);
            }
        }
    }

    /// All nodes from the top down. There are no circles in them.
    fn into_nodes(self) -> Vec<TraceNode> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut roots = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            node.parent.map_or(&mut roots, |parent| &mut children[parent]).push(at);
        }
        let order = |some: &mut Vec<usize>| {
            some.sort_by_key(|at| (self.nodes[*at].at, self.nodes[*at].commit, *at));
            some.reverse();
        };
        order(&mut roots);
        children.iter_mut().for_each(order);
        let times: Vec<_> = self.nodes.iter().map(|node| node.at).collect();
        let mut left: Vec<Option<Placed>> = self.nodes.into_iter().map(Some).collect();
        let mut stack: Vec<(usize, usize)> = roots.into_iter().map(|at| (0, at)).collect();
        let mut nodes = Vec::with_capacity(left.len());
        while let Some((depth, at)) = stack.pop() {
            let Some(node) = left[at].take() else { continue };
            let is_effect = matches!(node.link, TraceLink::Cause | TraceLink::Likely { .. });
            let cause = node.parent.filter(|_| is_effect);
            nodes.push(TraceNode {
                depth,
                link: node.link,
                at: node.at,
                latency: cause.map_or(Duration::ZERO, |cause| node.at.since(times[cause])),
                what: node.what,
            });
            stack.extend(children[at].drain(..).map(|child| (depth + 1, child)));
        }
        nodes
    }
}

fn placed(event: &FoundEvent) -> Placed {
    Placed {
        at: event.at,
        commit: event.commit,
        id: Some(event.id.clone()),
        parent: None,
        link: TraceLink::Root,
        what: Traced::Event {
            topic: event.place.topic.clone(),
            partition: event.place.partition,
            offset: event.place.offset,
            kind: event.kind.clone(),
            source: event.source.clone(),
            id: event.id.clone(),
            key: event.key.clone(),
            consumer: event.consumer().map(str::to_owned),
            is_in_log: event.is_in_log,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(offset: u64, id: &str, causation: Option<&str>) -> FoundEvent {
        let mut builder = Event::new(id, "/a", "t");
        if let Some(cause) = causation {
            builder = builder.extension("causationid", cause);
        }
        let at = Timestamp(i64::try_from(offset).unwrap() * 1000);
        FoundEvent::new(Place::in_topic("t", 0, offset), offset + 1, at, &builder.build().unwrap(), true)
    }

    /// The ids of the nodes, each as deep as it stands, with the links that say something.
    fn shape(id: &str, events: Vec<FoundEvent>) -> Vec<String> {
        let trace = assemble(id, Found { events, ..Found::default() });
        let line = |node: &TraceNode| {
            let Traced::Event { id, .. } = &node.what else { panic!("{node:?}") };
            let link = match &node.link {
                TraceLink::Root | TraceLink::Cause => "",
                TraceLink::Likely { .. } => " likely",
                TraceLink::Missing { .. } => " missing",
                TraceLink::Circle { .. } => " circle",
            };
            format!("{}{id}{link}", " ".repeat(node.depth))
        };
        trace.nodes.iter().map(line).collect()
    }

    #[test]
    fn each_stands_below_its_cause_in_the_order_of_their_times() {
        let events = vec![
            event(0, "a", None),
            event(1, "b", Some("a")),
            event(2, "c", Some("a")),
            event(3, "d", Some("b")),
        ];
        assert_eq!(shape("a", events), ["a", " b", "  d", " c"]);
    }

    #[test]
    fn what_has_lost_its_cause_stands_below_the_root_and_says_so() {
        let events = vec![event(0, "a", None), event(2, "c", Some("b")), event(3, "d", Some("c"))];
        assert_eq!(shape("a", events.clone()), ["a", " c missing", "  d"]);
        assert_eq!(shape("x", events), ["a", "c missing", " d"], "where there is no root, it is one");
    }

    #[test]
    fn circles_end_and_nothing_of_them_is_lost() {
        let events = vec![
            event(0, "a", Some("c")),
            event(1, "b", Some("a")),
            event(2, "c", Some("b")),
            event(3, "d", Some("b")),
            event(4, "e", Some("e")),
        ];
        assert_eq!(shape("a", events), ["a circle", " b", "  c", "  d", "e circle"]);
    }

    #[test]
    fn of_two_events_of_one_id_the_last_before_the_effect_is_likely() {
        let events =
            vec![event(0, "a", None), event(1, "a", None), event(2, "b", Some("a")), event(3, "a", None)];
        assert_eq!(shape("a", events), ["a", "a", " b likely", "a"]);
    }

    #[test]
    fn an_id_of_a_delivery_tells_which_of_them_it_is() {
        let mut effect = event(2, "billing/t/0/0/0", Some("a"));
        effect.source = "/tidegate/consumers/billing".to_owned();
        let events = vec![event(0, "a", None), event(1, "a", None), effect];
        assert_eq!(shape("a", events), ["a", " billing/t/0/0/0", "a"]);
    }

    #[test]
    fn an_event_of_an_aggregate_tells_of_which_command_it_came() {
        let mut effect = event(2, "accounts/t/0/0@7", Some("a"));
        effect.source = "/tidegate/consumers/accounts".to_owned();
        let events = vec![event(0, "a", None), event(1, "a", None), effect];
        assert_eq!(shape("a", events), ["a", " accounts/t/0/0@7", "a"]);
    }

    #[test]
    fn what_hangs_on_events_has_its_weight() {
        let reason = Failure::transient("busy", "x".repeat(4096));
        let place = Place::in_topic("t", 0, 0);
        let held = Leaf::Held {
            place,
            consumer: "c".to_owned(),
            at: Timestamp(0),
            until: None,
            attempts: 1,
            reason: Some(reason),
        };
        assert!(held.bytes() > 4096, "a hundred thousand of them would be more than all may have");
    }

    #[test]
    fn a_chain_of_any_length_is_put_together() {
        let ids: Vec<String> = (0..20_000).map(|at| at.to_string()).collect();
        let mut events = vec![event(0, "0", None)];
        events.extend((1..20_000).map(|at| event(at as u64, &ids[at], Some(&ids[at - 1]))));
        let trace = assemble("0", Found { events, ..Found::default() });
        assert_eq!(trace.nodes.last().unwrap().depth, 19_999);
        assert_eq!(trace.nodes[1].latency, Duration::from_millis(1));
    }
}
