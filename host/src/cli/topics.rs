//! `tidegate topics`.

use tidegate::TopicStatus;
use tidegate::config::{Retention, SchemaPolicy, TopicConfig, format_bytes, format_duration};
use tidegate::server::{Answer, Request};

use super::access::Access;
use super::arguments::{Global, TopicsCommand};
use super::error::{CliError, Exit};
use super::output::{Output, moment, size};
use super::table::{Table, row};

/// Lists topics, or creates one.
pub fn topics(
    global: &Global,
    command: Option<TopicsCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command.unwrap_or(TopicsCommand::List) {
        TopicsCommand::List => list(&mut access, output)?,
        TopicsCommand::Create {
            name,
            partitions,
            retention_age,
            retention_bytes,
            sequence,
            require_schemas,
        } => {
            let mut retention = Retention::default();
            retention.age = retention_age;
            retention.bytes = retention_bytes;
            let schemas = if require_schemas { SchemaPolicy::Required } else { SchemaPolicy::Off };
            let config =
                TopicConfig::new(partitions).retention(retention).sequence(sequence).schemas(schemas);
            access.tell(Request::CreateTopic { name: name.clone(), config })?;
            let numbers = if sequence { ", numbers the events of each key" } else { "" };
            let requires = if require_schemas { ", requires schemas" } else { "" };
            output.line(format_args!(
                "topic `{name}` has {partitions} partitions{numbers}{requires} and {}",
                kept(&retention)
            ))?;
        }
    }
    access.close();
    Ok(Exit::Done)
}

fn list(access: &mut Access, output: &mut Output) -> Result<(), CliError> {
    let topics = all(access)?;
    if output.is_json() {
        return topics.iter().try_for_each(|topic| output.json(topic));
    }
    let mut table =
        Table::new(["TOPIC", ">PARTITIONS", ">EVENTS", ">SIZE", "CREATED", "KEYS", "SCHEMAS", "RETENTION"]);
    for topic in &topics {
        table.push(row![
            topic.name,
            topic.partitions.len(),
            topic.events(),
            size(topic.bytes()),
            moment(topic.created),
            if topic.config.sequence { "numbered" } else { "" },
            if topic.config.schemas == SchemaPolicy::Required { "required" } else { "" },
            kept(&topic.config.retention),
        ]);
    }
    table
        .print(output, "no topics: `tidegate topics create NAME` creates one, or the configuration file does")
}

/// All topics.
pub fn all(access: &mut Access) -> Result<Vec<TopicStatus>, CliError> {
    access.one(Request::Topics, |answer| match answer {
        Answer::Topics(topics) => Some(topics),
        _ => None,
    })
}

fn kept(retention: &Retention) -> String {
    let age = retention.age.map(|age| format!("keeps {}", format_duration(age)));
    let bytes = retention.bytes.map(|bytes| format!("keeps {}", format_bytes(bytes)));
    match (age, bytes) {
        (None, None) => "keeps all".to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(age), Some(bytes)) => format!("{age}, {bytes}"),
    }
}
