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
            claim_check_over,
        } => {
            let mut retention = Retention::default();
            retention.age = retention_age;
            retention.bytes = retention_bytes;
            let schemas = if require_schemas { SchemaPolicy::Required } else { SchemaPolicy::Off };
            let mut config =
                TopicConfig::new(partitions).retention(retention).sequence(sequence).schemas(schemas);
            config.claim_check_over =
                claim_check_over.map(|over| usize::try_from(over).unwrap_or(usize::MAX));
            access.tell(Request::CreateTopic { name: name.clone(), config })?;
            let numbers = if sequence { ", numbers the events of each key" } else { "" };
            let requires = if require_schemas { ", requires schemas" } else { "" };
            let checks = claim_check_over.map(|over| format!(", a claim check over {}", format_bytes(over)));
            let checks = checks.unwrap_or_default();
            output.line(format_args!(
                "topic `{name}` has {partitions} partitions{numbers}{requires}{checks} and {}",
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
    let mut table = Table::new([
        "TOPIC",
        ">PARTITIONS",
        ">EVENTS",
        ">SIZE",
        "CREATED",
        "KEYS",
        "SCHEMAS",
        "CLAIM CHECK",
        "RETENTION",
    ]);
    for topic in &topics {
        table.push(row![
            topic.name,
            topic.partitions.len(),
            topic.events(),
            size(topic.bytes()),
            moment(topic.created),
            if topic.config.sequence { "numbered" } else { "" },
            if topic.config.schemas == SchemaPolicy::Required { "required" } else { "" },
            topic
                .config
                .claim_check_over
                .map(|over| format!("over {}", size(over as u64)))
                .unwrap_or_default(),
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
