//! A read model of earthquakes: how many each seismic network has reported, and its strongest.
//!
//! State: `network/NAME` holds a [`Network`] as JSON, where `NAME` is the event's `partitionkey`. So a question about one
//! network is asked with that key, and goes to one lane; one about all goes to all lanes.

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Projection, Query, Raw, Refusal};

/// Places of a network's board: what a question can ask for.
const BOARD_MAX: usize = 20;

/// What is read of an earthquake.
#[derive(Deserialize)]
pub struct Quake {
    place: String,
    mag: f64,
}

/// A place on the board.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Entry {
    /// The event's id.
    pub id: String,
    /// Where it was.
    pub place: String,
    /// Its magnitude.
    pub mag: f64,
}

/// What is known of a network.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Network {
    /// Events so far.
    pub count: u64,
    /// The strongest of them, the strongest first.
    pub board: Vec<Entry>,
}

/// What `strongest` may be asked with.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Strongest {
    /// One network; otherwise all.
    network: Option<String>,
    /// How many.
    limit: usize,
}

impl Default for Strongest {
    fn default() -> Self {
        Self { network: None, limit: 10 }
    }
}

/// The projection.
#[derive(Default)]
pub struct QuakeBoard;

impl Consumer for QuakeBoard {
    const NAME: &'static str = "quake-board";
    const EVENT_TYPES: &'static [&'static str] = &["gov.usgs.quake.v1"];
    const USES_STATE: bool = true;
    type Data = Quake;

    fn handle(&mut self, delivery: &Delivery<Quake>, host: &mut dyn Host) -> Result<(), Failure> {
        let event = &delivery.event;
        let key = format!("network/{}", event.key());
        let mut network: Network = host.get_json(&key)?.unwrap_or_default();
        network.count += 1;
        let Quake { place, mag } = &event.data;
        network.board.push(Entry { id: event.id.clone(), place: place.clone(), mag: *mag });
        rank(&mut network.board, BOARD_MAX);
        Ok(host.set_json(&key, &network)?)
    }
}

impl Projection for QuakeBoard {
    fn answer(query: &Query, host: &dyn Host) -> Result<Raw, Refusal> {
        match query.question.as_str() {
            "count" => {
                let networks = networks(query.parameters()?, host)?;
                Ok(Raw::json(&networks.iter().map(|network| network.count).sum::<u64>())?)
            }
            "strongest" => {
                let Strongest { network, limit } = asked(query)?;
                let mut board: Vec<_> =
                    networks(network, host)?.into_iter().flat_map(|network| network.board).collect();
                rank(&mut board, limit);
                Ok(Raw::json(&board)?)
            }
            _ => Err(query.unknown()),
        }
    }

    fn combine(query: &Query, answers: Vec<Raw>) -> Result<Raw, Refusal> {
        match query.question.as_str() {
            "count" => {
                let counts = answers.into_iter().map(Raw::read::<u64>);
                Ok(Raw::json(&counts.sum::<Result<u64, _>>()?)?)
            }
            "strongest" => {
                let mut all = Vec::new();
                for answer in answers {
                    all.extend(answer.read::<Vec<Entry>>()?);
                }
                rank(&mut all, asked(query)?.limit);
                Ok(Raw::json(&all)?)
            }
            _ => Err(query.unknown()),
        }
    }
}

fn asked(query: &Query) -> Result<Strongest, Refusal> {
    let asked = query.parameters::<Option<Strongest>>()?.unwrap_or_default();
    if asked.limit > BOARD_MAX {
        return Err(Refusal::new(
            "limit",
            format_args!("a board has {BOARD_MAX} places, not {}", asked.limit),
        ));
    }
    Ok(asked)
}

/// One network, or all of the lane.
fn networks(name: Option<String>, host: &dyn Host) -> Result<Vec<Network>, Refusal> {
    match name {
        Some(name) => Ok(host.get_json(format!("network/{name}"))?.into_iter().collect()),
        None => host.scan_prefix("network/")?.into_iter().map(|(_, value)| read(value)).collect(),
    }
}

fn read(value: Vec<u8>) -> Result<Network, Refusal> {
    let network = String::from_utf8(value).map_err(|error| Refusal::new("bad-state", error))?;
    Raw::Json(network).read()
}

/// The strongest first, and so many of them. Of two with the same magnitude the lesser id is first, so that the order is the
/// same whatever came first.
fn rank(board: &mut Vec<Entry>, limit: usize) {
    board.sort_by(|a, b| b.mag.total_cmp(&a.mag).then_with(|| a.id.cmp(&b.id)));
    board.truncate(limit);
}

tidegate_plugin::export_projection!(QuakeBoard);

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::{FakeHost, delivery_of_json};

    use super::*;

    const WEEK: &str = include_str!("../../data/quakes.jsonl");

    /// The lanes of a week, as if the networks' names with an even first letter went to one and all others to the other.
    fn lanes() -> [FakeHost; 2] {
        let mut lanes = [FakeHost::new::<QuakeBoard>(), FakeHost::new::<QuakeBoard>()];
        for line in WEEK.lines() {
            let delivery = delivery_of_json(line);
            let lane = usize::from(delivery.event.key().as_bytes()[0] % 2);
            lanes[lane].deliver(&mut QuakeBoard, delivery).unwrap();
        }
        lanes
    }

    fn ask_all<T: serde::de::DeserializeOwned>(query: &Query) -> T {
        let answers = lanes().iter().map(|lane| lane.ask::<QuakeBoard>(query).unwrap()).collect();
        QuakeBoard::combine(query, answers).unwrap().read().unwrap()
    }

    #[test]
    fn a_week_is_counted_as_a_whole_and_by_network() {
        assert_eq!(ask_all::<u64>(&Query::new("count")), 1707);
        assert_eq!(ask_all::<u64>(&Query::new("count").with("ci").unwrap()), 386);
        assert_eq!(ask_all::<u64>(&Query::new("count").with("nowhere").unwrap()), 0);
    }

    #[test]
    fn the_strongest_of_all_lanes_are_the_strongest_of_the_week() {
        let mut week: Vec<Entry> = WEEK
            .lines()
            .map(|line| {
                let quake = delivery_of_json(line).decode::<Quake>().unwrap().event;
                Entry { id: quake.id, place: quake.data.place, mag: quake.data.mag }
            })
            .collect();
        rank(&mut week, 7);
        let query = Query::new("strongest").with(&serde_limit(7)).unwrap();
        assert_eq!(ask_all::<Vec<Entry>>(&query), week);
    }

    fn serde_limit(limit: usize) -> std::collections::BTreeMap<&'static str, usize> {
        [("limit", limit)].into()
    }

    #[test]
    fn what_isnt_asked_rightly_is_refused() {
        let host = FakeHost::new::<QuakeBoard>();
        let refusals = [
            (Query::new("weakest"), "unknown-question"),
            (Query::new("strongest").with(&serde_limit(21)).unwrap(), "limit"),
            (Query::new("strongest").with("ak").unwrap(), "bad-parameters"),
        ];
        for (query, code) in refusals {
            assert_eq!(host.ask::<QuakeBoard>(&query).unwrap_err().code, code);
        }
    }
}
