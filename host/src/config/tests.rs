//! What holds for all settings: their bounds, and how the log keeps them (`MessagePack` by serde).

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    BusConfig, CommitMode, ConsumerConfig, Dedup, Grants, OnDeadLetter, Order, PluginConfig, PluginLimits,
    Retention, RetryPolicy, Start, TopicConfig,
};
use crate::clock::Timestamp;

fn both_forms(value: &impl Serialize) -> [Vec<u8>; 2] {
    [rmp_serde::to_vec(value).unwrap(), rmp_serde::to_vec_named(value).unwrap()]
}

fn stays<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    for stored in both_forms(value) {
        assert_eq!(rmp_serde::from_slice::<T>(&stored).unwrap(), *value);
    }
}

#[test]
fn stored_settings_are_read_back_as_they_were() {
    let hour = Duration::from_hours(1);
    stays(&BusConfig {
        commit: CommitMode::OnePhase,
        event_bytes_max: 70_000,
        cache_bytes: 1 << 20,
        journal_bytes: 0,
        free_bytes_min: 0,
        blobs_bytes_max: 7,
    });
    stays(
        &TopicConfig::new(3)
            .claim_check_over(20_000)
            .retention(Retention::keep_for(hour).force(true))
            .dedup(Dedup::new(hour, 7)),
    );
    for start in [Start::Earliest, Start::Latest, Start::Time(Timestamp(-1))] {
        for order in [Order::Key, Order::Partition, Order::None] {
            stays(
                &ConsumerConfig::new(["a", "b"])
                    .start(start)
                    .order(order)
                    .held_max(1)
                    .on_dead_letter(OnDeadLetter::Park)
                    .retry(RetryPolicy::default().attempts(1).backoff(hour, hour).age(hour))
                    .paused(true)
                    .dataref_over(0),
            );
        }
    }
    stays(
        &PluginConfig::new("/a.wasm")
            .grants(Grants::nothing().publish("x").log().state())
            .limits(PluginLimits::default().memory_bytes(1 << 20).deadline(hour))
            .settings(r#"{"a":1}"#),
    );
}

/// What an earlier version stored is shorter: it lacks the fields that came later.
#[test]
fn settings_stored_before_a_field_was_added_are_read_with_its_default() {
    #[derive(Serialize)]
    struct EarlierTopic {
        partitions: u32,
    }
    #[derive(Serialize)]
    struct EarlierConsumer {
        topics: Vec<String>,
        order: Order,
        start: Start,
    }
    for stored in both_forms(&EarlierTopic { partitions: 5 }) {
        assert_eq!(rmp_serde::from_slice::<TopicConfig>(&stored).unwrap(), TopicConfig::new(5));
    }
    let earlier = EarlierConsumer { topics: vec!["a".to_owned()], order: Order::None, start: Start::Latest };
    for stored in both_forms(&earlier) {
        let expected = ConsumerConfig::new(["a"]).order(Order::None).start(Start::Latest);
        assert_eq!(rmp_serde::from_slice::<ConsumerConfig>(&stored).unwrap(), expected);
    }
}

#[test]
fn the_defaults_are_within_their_bounds() {
    BusConfig::default().validate().unwrap();
    TopicConfig::default().validate().unwrap();
    ConsumerConfig::new(["a"]).validate().unwrap();
    PluginConfig::new("a.wasm").validate().unwrap();
}

#[test]
fn a_refusal_outside_of_a_file_names_the_setting_alone() {
    let error =
        ConsumerConfig::new(["a"]).retry(RetryPolicy::default().attempts(101)).validate().unwrap_err();
    assert_eq!(error.to_string(), "`retry.attempts` is 101; allowed is 1 to 100");
    for settings in ["", "[]", "5", "{", "{}x"] {
        assert_eq!(PluginConfig::new("a.wasm").settings(settings).validate().unwrap_err().key(), "settings");
    }
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(crate::limits::SETTINGS_BYTES_MAX));
    assert_eq!(PluginConfig::new("a.wasm").settings(large).validate().unwrap_err().key(), "settings");
}
