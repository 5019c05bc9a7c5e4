//! What the bus says in the end.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use tidegate::server::{Answer, Client, Letter, RecordLine, Request};
use tidegate::{ConsumerStatus, Position};

use crate::cli::error::CliError;

/// All that is checked.
#[derive(Debug)]
pub struct ReadBack {
    /// The topic of earthquakes.
    pub quakes: Vec<RecordLine>,
    /// The topic of alerts.
    pub alerts: Vec<RecordLine>,
    /// By their names.
    pub consumers: BTreeMap<String, ConsumerStatus>,
    /// The state of `stats`: counts, by network.
    pub networks: BTreeMap<String, u64>,
    /// The state of `notifier`: how often each alert took effect, by earthquake.
    pub sent: BTreeMap<String, u32>,
    /// The state of `notifier`: the earthquakes of each key in the order in which their alerts took effect.
    pub order: BTreeMap<String, Vec<String>>,
    /// The dead letters of all consumers.
    pub letters: Vec<(String, Letter)>,
}

impl ReadBack {
    /// Reads everything.
    pub fn read(client: &mut Client) -> Result<Self, CliError> {
        #[derive(serde::Deserialize)]
        struct Network {
            count: u64,
        }
        let consumers = consumers(client)?;
        let mut found = Vec::new();
        for consumer in &consumers {
            let request =
                Request::DeadLetters { consumer: consumer.name.clone(), after: 0, limit: usize::MAX };
            for answer in client.ask(&request)? {
                if let Answer::Letter(letter) = answer? {
                    found.push((consumer.name.clone(), *letter));
                }
            }
        }
        let networks = state::<Network>(client, "stats", "network/")?;
        Ok(Self {
            quakes: records(client, "quakes")?,
            alerts: records(client, "alerts")?,
            consumers: consumers.into_iter().map(|consumer| (consumer.name.clone(), consumer)).collect(),
            networks: networks.into_iter().map(|(name, network)| (name, network.count)).collect(),
            sent: state(client, "notifier", "sent/")?,
            order: state(client, "notifier", "order/")?,
            letters: found,
        })
    }
}

/// Whether every consumer has handled all that there is, with nothing held.
pub fn is_done(client: &mut Client, quakes: u64) -> Result<Option<()>, CliError> {
    // `alerts` comes before `notifier`, by name: once the one is done, the other's topic is complete.
    let consumers = consumers(client)?;
    let idle = consumers.iter().all(|consumer| consumer.lag_events == 0 && consumer.held == 0);
    let handled =
        |name: &str| consumers.iter().find(|consumer| consumer.name == name).map(|it| it.counts.handled);
    let published = records(client, "alerts")?.len() as u64;
    let settled = consumers.iter().find(|consumer| consumer.name == "notifier");
    let settled = settled.is_some_and(|it| it.counts.handled + it.counts.dead_letters == published);
    let all = handled("stats") == Some(quakes) && handled("alerts") == Some(quakes);
    Ok((idle && settled && all).then_some(()))
}

/// All consumers, by name.
pub fn consumers(client: &mut Client) -> Result<Vec<ConsumerStatus>, CliError> {
    one(client, &Request::Consumers, |answer| match answer {
        Answer::Consumers(consumers) => Some(consumers),
        _ => None,
    })
}

/// Asks for something with one answer.
pub fn one<T>(
    client: &mut Client,
    request: &Request,
    pick: impl Fn(Answer) -> Option<T>,
) -> Result<T, CliError> {
    let mut found = None;
    for answer in client.ask(request)? {
        found = pick(answer?);
    }
    found.ok_or_else(|| CliError::Failed("the bus gave an answer of another kind".to_owned()))
}

fn records(client: &mut Client, topic: &str) -> Result<Vec<RecordLine>, CliError> {
    let request = Request::Read {
        topic: topic.to_owned(),
        partition: None,
        from: Position::Earliest,
        limit: None,
        follow: false,
        lift: false,
        data: false,
    };
    let mut records = Vec::new();
    for answer in client.ask(&request)? {
        match answer? {
            Answer::Record(record) => records.push(record),
            Answer::Damaged { reason } => return Err(CliError::Failed(reason)),
            _ => {}
        }
    }
    Ok(records)
}

/// The values of a consumer's state, by what follows `prefix` in their keys.
fn state<T: DeserializeOwned>(
    client: &mut Client,
    consumer: &str,
    prefix: &str,
) -> Result<BTreeMap<String, T>, CliError> {
    let request =
        Request::State { consumer: consumer.to_owned(), partition: None, prefix: prefix.to_owned() };
    let mut entries = BTreeMap::new();
    for answer in client.ask(&request)? {
        let Answer::State(line) = answer? else { continue };
        let key = String::from_utf8_lossy(&line.key);
        let name = key.strip_prefix(prefix).unwrap_or(&key).to_owned();
        let value = serde_json::from_slice(&line.value);
        let value = value
            .map_err(|error| CliError::Failed(format!("the state of `{consumer}` at `{key}`: {error}")))?;
        if entries.insert(name, value).is_some() {
            return Err(CliError::Failed(format!("the state of `{consumer}` has `{key}` on two partitions")));
        }
    }
    Ok(entries)
}
