//! Checks of a configuration file, for what the bus itself doesn't know.

use std::collections::BTreeSet;

use super::finding::Finding;
use crate::bus::TopicStatus;
use crate::config::Config;

/// What will hurt in a configuration: names of topics that there aren't, neither in it nor in the bus, and consumers that feed
/// themselves. What one setting alone may be is checked where it is read.
///
/// ```
/// use std::path::Path;
/// use tidegate::config::Config;
/// use tidegate::server::config_findings;
///
/// let text = r#"
///     [topics.quakes]
///     [consumers.alerts]
///     plugin = "alerts.wasm"
///     topics = ["quakes"]
///     grants = { publish = ["alertz"] }
/// "#;
/// let config = Config::from_toml(text, Path::new("tidegate.toml"))?;
/// let findings = config_findings(&config, &[]);
/// assert_eq!(findings[0].check, "unknown-topic");
/// # Ok::<(), tidegate::config::ConfigFileError>(())
/// ```
pub fn config_findings(config: &Config, topics: &[TopicStatus]) -> Vec<Finding> {
    let mut known: BTreeSet<&str> = config.topics.keys().map(String::as_str).collect();
    known.extend(topics.iter().map(|topic| topic.name.as_str()));
    let mut findings = Vec::new();
    for (name, (consumer, program)) in &config.consumers {
        let subject = format!("consumer `{name}`");
        for topic in consumer.topics.iter().filter(|topic| !known.contains(topic.as_str())) {
            findings.push(unknown_topic(&subject, topic, "it reads", "the consumer can't be started"));
        }
        let Some(plugin) = program.plugin() else { continue };
        let of_aggregate = plugin.aggregate.iter().flat_map(|aggregate| {
            [
                (Some(&aggregate.stream), "its stream is"),
                (aggregate.rejections.as_ref(), "its rejections go to"),
            ]
        });
        for (topic, use_of_it) in of_aggregate {
            if let Some(topic) = topic.filter(|topic| !known.contains(topic.as_str())) {
                findings.push(unknown_topic(&subject, topic, use_of_it, "the consumer can't be started"));
            }
        }
        for topic in &plugin.grants.publish {
            if !known.contains(topic.as_str()) {
                findings.push(unknown_topic(
                    &subject,
                    topic,
                    "it is granted to publish to",
                    "each delivery that publishes there fails",
                ));
            }
            if consumer.topics.contains(topic) {
                findings.push(
                    Finding::warning("feeds-itself", subject.clone())
                        .seen(format!("it reads topic `{topic}`, and is granted to publish to it"))
                        .why("an event that makes it publish one of the same kind never ends: the topic grows as fast as it can")
                        .remedy(
                            "publish to another topic, or see that the plugin passes over what it publishes itself, as a saga does \
                             with its inbox",
                        ),
                );
            }
        }
    }
    for (name, outbox) in &config.outboxes {
        let named = outbox.topics.iter().chain(&outbox.topic);
        for topic in
            named.collect::<BTreeSet<_>>().into_iter().filter(|topic| !known.contains(topic.as_str()))
        {
            let subject = format!("outbox `{name}`");
            findings.push(unknown_topic(&subject, topic, "it publishes to", "rows for it are set aside"));
        }
    }
    findings
}

fn unknown_topic(subject: &str, topic: &str, use_of_it: &str, why: &str) -> Finding {
    Finding::problem("unknown-topic", subject.to_owned())
        .seen(format!("{use_of_it} topic `{topic}`, and there is none"))
        .why(why)
        .remedy(format!("`[topics.{topic}]` in the configuration, or `tidegate topics create {topic}`; or correct the name"))
}
