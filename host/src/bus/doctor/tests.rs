//! Each check on what shows it, and on what doesn't.

use std::time::Duration;

use super::evidence::{ConsumerEvidence, Evidence, Lag, Sagas, Sample, TopicEvidence, Traffic};
use super::{Finding, Severity, examine};
use crate::bus::{BlobUsage, ConsumerKind, ConsumerStatus, PartitionStatus, TopicStatus};
use crate::clock::Timestamp;
use crate::config::{
    ConsumerConfig, Dedup, OnDeadLetter, Order, Retention, RetryPolicy, SchemaPolicy, TopicConfig,
};
use crate::delivery::{LaneState, LaneStatus};
use crate::handler::ProgramVersion;
use crate::limits::TIMERS_MAX;
use crate::log::LaneCounts;

const HOUR: Duration = Duration::from_hours(1);

/// A topic in which nothing is wrong, with so many events an hour in each of four partitions.
fn topic(events: u64) -> TopicEvidence {
    let config = TopicConfig::new(4);
    let partition = PartitionStatus { first_offset: 0, next_offset: events, bytes: events * 100 };
    TopicEvidence {
        status: TopicStatus {
            name: "orders".to_owned(),
            created: Timestamp(0),
            config,
            partitions: vec![partition; 4],
        },
        traffic: Traffic { events: vec![events; 4], time: HOUR },
        sample: Sample {
            events: 8,
            kinds: [("OrderPlaced.v1".to_owned(), 8)].into(),
            busiest: 2,
            busiest_key: Some(("shop".to_owned(), 2)),
            ..Sample::default()
        },
    }
}

fn lane(partition: u32) -> LaneStatus {
    LaneStatus {
        partition,
        state: LaneState::Idle,
        next: [("orders".to_owned(), 0)].into(),
        lag_events: 0,
        lag: Duration::ZERO,
        held: 0,
        parked: 0,
        next_retry: None,
        timers: 0,
        counts: LaneCounts::default(),
        version: ProgramVersion::default(),
    }
}

/// A consumer of that topic in which nothing is wrong.
fn consumer() -> ConsumerEvidence {
    ConsumerEvidence {
        status: ConsumerStatus {
            name: "billing".to_owned(),
            kind: ConsumerKind::Plugin,
            target: None,
            topics: vec!["orders".to_owned()],
            version: ProgramVersion::default(),
            paused: false,
            reloads: 0,
            lag_events: 0,
            lag: Duration::ZERO,
            held: 0,
            dead_letters: 0,
            counts: LaneCounts::default(),
            lanes: (0..4).map(lane).collect(),
            detached: None,
            refused: None,
        },
        config: Some(ConsumerConfig::new(["orders"])),
        lags: [].into(),
        is_aggregate: false,
        sagas: Sagas::default(),
    }
}

fn healthy() -> Evidence {
    Evidence {
        topics: vec![topic(1000)],
        consumers: vec![consumer()],
        free_bytes: Some(1 << 40),
        free_bytes_min: 32 << 20,
        ..Evidence::default()
    }
}

/// What is found once this was changed.
fn found(change: impl FnOnce(&mut Evidence)) -> Vec<Finding> {
    let mut evidence = healthy();
    change(&mut evidence);
    examine(&evidence)
}

/// The names of what is found once this was changed.
fn names(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    found(change).into_iter().map(|finding| finding.check).collect()
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn a_healthy_bus_has_no_findings() {
    assert_eq!(found(|_| {}), []);
    let nothing = |evidence: &mut Evidence| (evidence.topics, evidence.consumers) = (Vec::new(), Vec::new());
    assert_eq!(found(nothing), []);
}

#[test]
fn findings_say_what_was_seen_why_it_hurts_and_what_to_do() {
    let all = found(|evidence| {
        evidence.topics[0].sample.kinds.insert("OrderPaid\u{1b}[2J".to_owned(), 1);
        evidence.consumers[0].status.dead_letters = 3;
        evidence.free_bytes = Some(1);
    });
    let checks: Vec<_> = all.iter().map(|finding| (&*finding.check, finding.severity)).collect();
    let (warning, problem) = (Severity::Warning, Severity::Problem);
    assert_eq!(
        checks,
        [("disk-nearly-full", problem), ("unversioned-types", warning), ("dead-letters", warning)],
        "worst first"
    );
    for finding in all {
        for text in [&finding.subject, &finding.seen, &finding.why, &finding.remedy] {
            assert!(!text.is_empty() && !text.contains('\u{1b}'), "{finding:?}");
        }
    }
}

#[test]
fn types_without_a_version_are_found_unless_schemas_are_required() {
    let unversioned = |evidence: &mut Evidence| {
        evidence.topics[0].sample.kinds.insert("Paid".to_owned(), 1);
    };
    assert_eq!(names(unversioned), ["unversioned-types"]);
    let required = |evidence: &mut Evidence| {
        unversioned(evidence);
        evidence.topics[0].status.config.schemas = SchemaPolicy::Required;
    };
    assert_eq!(names(required), none());
}

#[test]
fn older_versions_that_nothing_lifts_are_found_beside_later_ones() {
    let both = |evidence: &mut Evidence| {
        evidence.topics[0].sample.kinds.insert("OrderPlaced.v3".to_owned(), 1);
        evidence.topics[0].sample.oldest_kinds.insert("OrderPlaced.v2".to_owned());
    };
    let all = found(both);
    assert_eq!((all.len(), &*all[0].check), (1, "missing-lift"));
    assert!(all[0].seen.contains("`OrderPlaced.v1`, `OrderPlaced.v2` beside"), "{}", all[0]);
    let lifted = |evidence: &mut Evidence| {
        both(evidence);
        evidence.lifted = ["OrderPlaced.v1".to_owned(), "OrderPlaced.v2".to_owned()].into();
    };
    assert_eq!(names(lifted), none());
    let unread = |evidence: &mut Evidence| {
        both(evidence);
        evidence.consumers[0].status.topics.clear();
    };
    assert_eq!(names(unread), none(), "nobody has to know them");
}

#[test]
fn stuck_sagas_are_a_problem() {
    let sagas = |stuck: u64| {
        found(move |evidence| {
            let longest = (stuck > 0).then(|| (Timestamp(0), "17".to_owned()));
            evidence.consumers[0].sagas = Sagas { seen: 9, stuck, longest };
        })
    };
    let all = sagas(2);
    assert_eq!((&*all[0].check, all[0].severity), ("stuck-sagas", Severity::Problem));
    assert!(all[0].seen.starts_with("2 of the 9 sagas"), "{}", all[0]);
    assert_eq!(sagas(0), []);
}

#[test]
fn events_that_are_too_large_are_found_with_the_largest() {
    let all = found(|evidence| {
        evidence.topics[0].sample.large = 2;
        evidence.topics[0].sample.largest = Some((3, 17, 100 << 10));
    });
    assert_eq!(all.len(), 1);
    assert!(all[0].check == "large-events" && all[0].seen.contains("at 3/17, has 100.0 KiB"), "{}", all[0]);
    assert!(all[0].remedy.contains("dataref"));
}

#[test]
fn a_partition_with_most_of_the_traffic_is_found_with_its_key() {
    let hot = |hottest: u64| {
        move |evidence: &mut Evidence| evidence.topics[0].traffic.events = vec![100, hottest, 100, 100]
    };
    let all = found(hot(301));
    assert_eq!(all.len(), 1);
    assert!(
        all[0].seen.contains("partition 1 got 301 of 601") && all[0].seen.contains("`shop`"),
        "{}",
        all[0]
    );
    assert_eq!(names(hot(300)), none(), "a half is not most");
    let few = |evidence: &mut Evidence| evidence.topics[0].traffic.events = vec![0, 99, 0, 0];
    assert_eq!(names(few), none(), "so few say nothing");
    let three = |evidence: &mut Evidence| evidence.topics[0].traffic.events = vec![0, 1000, 0];
    assert_eq!(names(three), none());
}

#[test]
fn schemas_that_nobody_checks_are_found() {
    let registered = |evidence: &mut Evidence| evidence.subjects = vec!["OrderPlaced".to_owned()];
    assert_eq!(names(registered), ["unchecked-schemas"]);
    let required = |evidence: &mut Evidence| {
        registered(evidence);
        evidence.topics[0].status.config.schemas = SchemaPolicy::Required;
    };
    assert_eq!(names(required), none());
    assert_eq!(names(|evidence| evidence.subjects = vec!["Other".to_owned()]), none());
}

#[test]
fn a_dedup_window_that_traffic_fills_in_minutes_is_found() {
    let window = |dedup: Dedup| move |evidence: &mut Evidence| evidence.topics[0].status.config.dedup = dedup;
    let day = Duration::from_hours(24);
    // 4,000 events an hour: 100 of them in a minute and a half.
    let all = found(window(Dedup::new(day, 100)));
    assert_eq!(all.len(), 1);
    assert!(all[0].check == "short-dedup-window" && all[0].seen.contains("those of 1m 30s"), "{}", all[0]);
    assert_eq!(names(window(Dedup::new(day, 1000))), none(), "15 minutes");
    assert_eq!(names(window(Dedup::new(Duration::ZERO, 0))), none(), "none is wanted");
}

#[test]
fn consumers_whose_correlations_go_over_keys_are_found() {
    let chains = |across: u64, within: u64| {
        move |evidence: &mut Evidence| {
            let across = (0..across).flat_map(|number| [(number, number), (number, number + 1)]);
            let within = (1000..1000 + within).flat_map(|number| [(number, number), (number, number)]);
            evidence.topics[0].sample.chains = across.chain(within).collect();
        }
    };
    assert_eq!(names(chains(10, 0)), ["order-across-keys"]);
    assert_eq!(names(chains(9, 0)), none(), "so few say nothing");
    assert_eq!(names(chains(10, 10)), none(), "most keep to one key");
    let other_order = |evidence: &mut Evidence| {
        chains(10, 0)(evidence);
        evidence.consumers[0].config = Some(ConsumerConfig::new(["orders"]).order(Order::None));
    };
    assert_eq!(names(other_order), none());
    let one_lane = |evidence: &mut Evidence| {
        chains(10, 0)(evidence);
        evidence.consumers[0].status.lanes.truncate(1);
    };
    assert_eq!(names(one_lane), none());
    let saga = |evidence: &mut Evidence| {
        chains(10, 0)(evidence);
        evidence.consumers[0].sagas.seen = 1;
    };
    assert_eq!(names(saga), none(), "it puts them into its own order");
    let aggregate = |evidence: &mut Evidence| {
        chains(10, 0)(evidence);
        evidence.consumers[0].is_aggregate = true;
    };
    assert_eq!(names(aggregate), none(), "it decides on each by itself");
}

#[test]
fn a_consumer_that_passes_over_a_topics_order_is_found() {
    let order = |order: Order| {
        move |evidence: &mut Evidence| {
            evidence.topics[0].status.config.sequence = true;
            evidence.consumers[0].config = Some(ConsumerConfig::new(["orders"]).order(order));
        }
    };
    assert_eq!(names(order(Order::None)), ["order-not-used"]);
    assert_eq!(names(order(Order::Key)), none());
}

#[test]
fn progress_that_does_not_move_is_found_by_its_reason() {
    let state = |state: LaneState, lag_events: u64, minutes: u64| {
        move |evidence: &mut Evidence| {
            let lane = &mut evidence.consumers[0].status.lanes[2];
            (lane.state, lane.lag_events, lane.lag) = (state, lag_events, Duration::from_mins(minutes));
        }
    };
    let until = Timestamp(0);
    for (is, severity, part) in [
        (LaneState::Stalled { held_max: 7 }, Severity::Problem, "7 events are held"),
        (LaneState::Parked, Severity::Problem, "dead letter"),
        (LaneState::DiskFull { free: 0, min: 1 }, Severity::Problem, "disk is full"),
        (LaneState::Failing { reason: "EIO".to_owned() }, Severity::Problem, "EIO"),
        (LaneState::Paused, Severity::Warning, "paused"),
    ] {
        let all = found(state(is, 1, 0));
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(
            all[0].check == "no-progress" && all[0].severity == severity && all[0].why.contains(part),
            "{}",
            all[0]
        );
        assert!(all[0].seen.contains("lane 2"), "{}", all[0]);
    }
    assert_eq!(names(state(LaneState::Working, 9, 16)), ["no-progress"]);
    for is in [LaneState::Working, LaneState::Waiting { until }, LaneState::Idle] {
        assert_eq!(names(state(is, 9, 14)), none());
    }
    assert_eq!(names(state(LaneState::Paused, 0, 0)), none(), "there is nothing to do");
    let not_running = |evidence: &mut Evidence| {
        state(LaneState::Stopped, 9, 100)(evidence);
        evidence.consumers[0].status.kind = ConsumerKind::Detached;
    };
    assert_eq!(names(not_running), none(), "no process runs it, and none needs to");
}

#[test]
fn lanes_that_stand_for_one_reason_are_one_finding() {
    let all = found(|evidence| {
        for lane in &mut evidence.consumers[0].status.lanes[1..] {
            lane.state = LaneState::Parked;
        }
    });
    assert_eq!(all.len(), 1);
    assert!(all[0].seen.starts_with("3 of its 4 lanes"), "{}", all[0]);
}

#[test]
fn what_is_left_behind_or_refused_or_dead_is_found() {
    let detached = |evidence: &mut Evidence| {
        evidence.consumers[0].status.kind = ConsumerKind::Detached;
        evidence.consumers[0].status.detached = Some(Timestamp(0));
    };
    assert_eq!(names(detached), ["detached"]);
    let refused =
        |evidence: &mut Evidence| evidence.consumers[0].status.refused = Some("no component".to_owned());
    assert_eq!(names(refused), ["refused"]);
    assert_eq!(names(|evidence| evidence.consumers[0].status.dead_letters = 1), ["dead-letters"]);
}

#[test]
fn retention_that_is_shorter_than_a_lag_is_a_problem_where_it_is_forced() {
    let behind = |retention: Retention, lag: Lag| {
        found(move |evidence| {
            evidence.topics[0].status.config.retention = retention;
            evidence.consumers[0].lags = [("orders".to_owned(), lag)].into();
        })
    };
    let old = |age: Duration| Lag { events: 5, age, bytes: 500 };
    let waits = behind(Retention::keep_for(HOUR), old(HOUR));
    assert_eq!((&*waits[0].check, waits[0].severity), ("retention-before-lag", Severity::Warning));
    assert_eq!(behind(Retention::keep_for(HOUR), old(HOUR / 2)), []);
    let forced = behind(Retention::keep_for(HOUR).force(true), old(HOUR / 2));
    assert_eq!((&*forced[0].check, forced[0].severity), ("retention-before-lag", Severity::Problem));
    assert_eq!(behind(Retention::keep_for(HOUR).force(true), old(HOUR / 3)), []);
    let large = Lag { events: 5, age: Duration::ZERO, bytes: 2 << 20 };
    assert_eq!(behind(Retention::keep_bytes(2 << 20), large).len(), 1);
    assert_eq!(behind(Retention::keep_bytes(3 << 20), large), []);
    assert_eq!(behind(Retention::default(), large), []);
}

#[test]
fn bounds_that_are_nearly_reached_are_found() {
    let held = |held: usize| {
        move |evidence: &mut Evidence| {
            evidence.consumers[0].config = Some(ConsumerConfig::new(["orders"]).held_max(100));
            evidence.consumers[0].status.lanes[1].held = held;
        }
    };
    assert_eq!(names(held(80)), ["held-near-bound"]);
    assert_eq!(names(held(79)), none());
    let timers =
        |timers: u64| move |evidence: &mut Evidence| evidence.consumers[0].status.lanes[1].timers = timers;
    assert_eq!(names(timers(TIMERS_MAX / 5 * 4)), ["timers-near-bound"]);
    assert_eq!(names(timers(TIMERS_MAX / 2)), none());
}

#[test]
fn retries_that_cannot_be_made_are_found() {
    let retry = |retry: RetryPolicy, retention: Retention| {
        move |evidence: &mut Evidence| {
            evidence.consumers[0].config = Some(ConsumerConfig::new(["orders"]).retry(retry));
            evidence.topics[0].status.config.retention = retention;
        }
    };
    let slow = RetryPolicy::default().attempts(11).backoff(HOUR, HOUR);
    assert_eq!(names(retry(slow.age(HOUR * 4), Retention::default())), ["attempts-after-age"], "five hours");
    assert_eq!(names(retry(slow.age(HOUR * 6), Retention::default())), none());
    let forced = Retention::keep_for(HOUR * 4).force(true);
    assert_eq!(names(retry(slow, forced)), ["retention-before-retries"]);
    assert_eq!(names(retry(slow, forced.force(false))), none(), "retention waits");
    for policy in [RetryPolicy::default(), RetryPolicy::patient()] {
        assert_eq!(names(retry(policy, Retention::default())), none());
    }
}

#[test]
fn a_consumer_without_order_that_is_to_park_is_found() {
    let parks = |order: Order| {
        move |evidence: &mut Evidence| {
            let config = ConsumerConfig::new(["orders"]).order(order).on_dead_letter(OnDeadLetter::Park);
            evidence.consumers[0].config = Some(config);
        }
    };
    assert_eq!(names(parks(Order::None)), ["nothing-to-park"]);
    assert_eq!(names(parks(Order::Key)), none());
}

#[test]
fn a_disk_is_nearly_full_before_publishing_ends() {
    let free = |free: u64| move |evidence: &mut Evidence| evidence.free_bytes = Some(free);
    let warned = found(free(100 << 20));
    assert_eq!((&*warned[0].check, warned[0].severity), ("disk-nearly-full", Severity::Warning));
    assert_eq!(found(free(31 << 20))[0].severity, Severity::Problem);
    assert_eq!(names(free(128 << 20)), none());
    assert_eq!(names(|evidence| evidence.free_bytes = None), none(), "a medium need not know");
}

#[test]
fn a_blob_store_is_nearly_full_before_large_events_are_refused() {
    let blobs = |bytes: u64, bytes_max: u64| {
        move |evidence: &mut Evidence| {
            evidence.blobs = Some(BlobUsage { blobs: 3, bytes, bytes_max });
        }
    };
    assert_eq!(names(blobs(80, 100)), ["blobs-nearly-full"]);
    assert_eq!(names(blobs(79, 100)), none());
    assert_eq!(names(blobs(0, 0)), none(), "who may have none has none");
}

#[test]
fn a_clock_that_follows_a_jump_is_found() {
    assert_eq!(names(|evidence| evidence.is_slewing = true), ["clock-slewing"]);
}

#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
#[test]
fn outboxes_that_stand_or_lag_are_found() {
    use crate::outbox::{Backlog, OutboxCounts, OutboxState, OutboxStatus};

    let outbox = |state: OutboxState, waiting: u64, minutes: u64, failed: u64| {
        let oldest = Duration::from_mins(minutes);
        let status = OutboxStatus {
            name: "shop".to_owned(),
            database: "shop.db".to_owned(),
            state,
            trouble: Some("it is locked".to_owned()),
            position: 0,
            backlog: Some(Backlog { waiting, oldest, failed }),
            counts: OutboxCounts::default(),
            last_published: None,
        };
        move |evidence: &mut Evidence| evidence.outboxes = vec![status]
    };
    assert_eq!(names(outbox(OutboxState::Away, 0, 0, 0)), ["outbox-stands"]);
    assert_eq!(names(outbox(OutboxState::Refused, 0, 0, 0)), ["outbox-stands"]);
    assert_eq!(names(outbox(OutboxState::Working, 9, 6, 0)), ["outbox-behind"]);
    assert_eq!(names(outbox(OutboxState::Idle, 0, 0, 1)), ["outbox-failed-rows"]);
    assert_eq!(names(outbox(OutboxState::Working, 9, 4, 0)), none());
}

#[cfg(feature = "server")]
#[test]
fn a_configuration_that_names_no_topic_or_feeds_itself_is_found() {
    use std::path::Path;

    use super::config_findings;
    use crate::config::Config;

    let checks = |text: &str, topics: &[TopicStatus]| -> Vec<String> {
        let config = Config::from_toml(text, Path::new("tidegate.toml")).unwrap();
        config_findings(&config, topics).into_iter().map(|finding| finding.check).collect()
    };
    let text = "[topics.a]\n[consumers.c]\nplugin = \"c.wasm\"\ntopics = [\"a\"]\ngrants = { publish = [\"orders\"] }\n";
    assert_eq!(checks(text, &[]), ["unknown-topic"]);
    assert_eq!(checks(text, &[topic(0).status]), none(), "the bus has it");
    assert_eq!(
        checks(&text.replace("topics = [\"a\"]", "topics = [\"b\"]"), &[topic(0).status]),
        ["unknown-topic"]
    );
    assert_eq!(checks(&text.replace("orders", "a"), &[]), ["feeds-itself"]);
}
