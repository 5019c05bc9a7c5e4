//! Asking projections.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::Bus;
use super::query::{EventPlace, LanePosition, Query, QueryAnswer, QueryError};
use super::tasks::Task;
use crate::clock::Timestamp;
use crate::delivery::Changes;
use crate::event::Data;
use crate::handler::{Failure, FailureKind, Program};
use crate::ids::TopicId;
use crate::limits::ANSWERS_BYTES_MAX;
use crate::log::{ConsumerMoment, LetterOf, ReadError};
use crate::question::Question;

/// A place that an answer has to reflect.
struct Wanted {
    place: EventPlace,
    topic: TopicId,
}

/// Why a moment doesn't reflect a place yet.
struct Missing<'a> {
    place: &'a EventPlace,
    next: u64,
    is_held: bool,
}

impl Missing<'_> {
    fn into_error(self, projection: &str, waited: Duration) -> QueryError {
        let Self { place, next, is_held } = self;
        QueryError::Behind { projection: projection.to_owned(), place: place.clone(), next, is_held, waited }
    }
}

/// Whom to ask, and of what.
struct Asked {
    program: Arc<dyn Program>,
    moment: ConsumerMoment,
    question: Question,
    /// One partition, or all.
    partition: Option<u32>,
    now: Timestamp,
}

/// Why there is no answer.
enum Unanswered {
    Failed(Failure),
    Read(ReadError),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ReadError> for Unanswered {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Bus {
    /// Asks a projection. It answers from what is durable of its state at one moment, and says which position that is.
    ///
    /// With a key, it is asked on the lane of that key; otherwise on each of its lanes, and makes one answer of theirs. It may
    /// be asked to reflect some events at least, such as those that were just published: then it is waited for, for as long
    /// as the query says.
    ///
    /// A question runs beside the projection's lanes, which notice nothing of it, under the limits of its plugin. Of each
    /// projection, 8 are worked on at one time; others wait.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus, order: tidegate::Event) -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::Query;
    ///
    /// let published = bus.publish("orders", order).await?;
    /// let query = Query::new("orders-of").json("customer-4")?.key("customer-4").at_least("orders", &published);
    /// let answer = bus.query("shop-window", query).await?;
    /// println!("{:?}", answer.data_as::<Vec<String>>()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`QueryError`].
    pub async fn query(&self, projection: &str, mut query: Query) -> Result<QueryAnswer, QueryError> {
        if self.inner.log.is_in_closure() {
            return Err(QueryError::InTransaction);
        }
        query.check()?;
        let wanted = self.wanted(projection, &query.at_least)?;
        let begun = self.clock().now();
        let mut timer = None;
        loop {
            // Made before the look, so that nothing is missed that comes after it.
            let changes = self.changes(projection).await?;
            let changed = changes.next();
            // Without anything to wait for, it is looked at once.
            if !wanted.is_empty()
                && let Some(missing) = missing(projection, &self.moment(projection)?, &wanted)?
            {
                let timer = timer.get_or_insert_with(|| self.timer(begun.after(query.wait)));
                tokio::select! {
                    biased;
                    // First: lanes that report all the time are not to keep it from coming.
                    _ = &mut timer.0 => {
                        let waited = self.clock().now().since(begun);
                        return Err(missing.into_error(projection, waited));
                    }
                    () = changed => continue,
                }
            }
            // The moment that is answered from is one of its own: none is kept while others are answered.
            let place = self.place_to_ask(projection).await?;
            let moment = self.moment(projection)?;
            if missing(projection, &moment, &wanted)?.is_some() {
                continue;
            }
            let program = self.inner.roster.with_id(moment.id, |running| running.consumer.program());
            let Some(program) = program else {
                // It is just being given another configuration, or has ended.
                let id = moment.id;
                drop((moment, place));
                let _turn = self.inner.roster.change().await;
                let is_it = self.inner.log.consumer(projection).is_some_and(|(now, _)| now == id);
                if is_it && self.inner.roster.with_id(id, |_| ()).is_none() {
                    return Err(QueryError::NotRunning(projection.to_owned()));
                }
                continue;
            };
            return self.ask(projection, query, program, moment, place).await;
        }
    }

    /// The consumer at this moment.
    fn moment(&self, projection: &str) -> Result<ConsumerMoment, QueryError> {
        let moment = self.inner.log.moment(projection)?;
        moment.ok_or_else(|| QueryError::UnknownProjection(projection.to_owned()))
    }

    /// Ends at `end`, on the bus's own threads: whoever waits may be on none with a timer.
    fn timer(&self, end: Timestamp) -> Task {
        let clock = Arc::clone(self.clock());
        Task(self.inner.handle.spawn(async move { clock.sleep_until(end).await }))
    }

    /// What the lanes of a projection do. One that is just being given another configuration is waited for.
    async fn changes(&self, projection: &str) -> Result<Changes, QueryError> {
        let look = || self.inner.roster.with(projection, |running| running.consumer.changes());
        if let Some(changes) = look() {
            return Ok(changes);
        }
        if self.inner.log.consumer(projection).is_none() {
            return Err(QueryError::UnknownProjection(projection.to_owned()));
        }
        drop(self.inner.roster.change().await);
        look().ok_or_else(|| QueryError::NotRunning(projection.to_owned()))
    }

    /// A place among the questions that a projection works on.
    async fn place_to_ask(&self, projection: &str) -> Result<OwnedSemaphorePermit, QueryError> {
        let places = self.inner.roster.with(projection, |running| Arc::clone(&running.questions));
        let places = places.ok_or_else(|| QueryError::NotRunning(projection.to_owned()))?;
        places.acquire_owned().await.map_err(|_| QueryError::Closed)
    }

    fn wanted(&self, projection: &str, places: &[EventPlace]) -> Result<Vec<Wanted>, QueryError> {
        let log = &self.inner.log;
        let Some((_, row)) = log.consumer(projection) else {
            return Err(QueryError::UnknownProjection(projection.to_owned()));
        };
        let wanted = places.iter().map(|place| {
            let topic = log.topic_id(&place.topic).filter(|topic| row.topics.contains(topic));
            match topic {
                Some(topic) if place.partition < row.partitions => Ok(Wanted { place: place.clone(), topic }),
                _ => Err(QueryError::NotRead { projection: projection.to_owned(), place: place.clone() }),
            }
        });
        wanted.collect()
    }

    /// Has the generation that has the name at this moment answer from it.
    async fn ask(
        &self,
        projection: &str,
        query: Query,
        program: Arc<dyn Program>,
        moment: ConsumerMoment,
        place: OwnedSemaphorePermit,
    ) -> Result<QueryAnswer, QueryError> {
        if program.answering().is_none() {
            return Err(QueryError::NotProjection(projection.to_owned()));
        }
        let partition = query.key.as_deref().map(|key| moment.partition_of(key));
        let positions = self.positions(&moment, partition)?;
        let (generation, version) = (moment.row.generation, program.version().clone());
        let name = query.question.name.clone();
        let asked = Asked { program, moment, question: query.question, partition, now: self.clock().now() };
        let answer = self.run_paced(async move {
            let answer = asked.answer().await;
            // The next one may begin.
            drop(place);
            answer
        });
        let answer = answer.await.map_err(|_| QueryError::Closed)?;
        let data = answer.map_err(|unanswered| unanswered.into_error(projection, name))?;
        Ok(QueryAnswer { data, positions, generation, version })
    }

    fn positions(
        &self,
        moment: &ConsumerMoment,
        partition: Option<u32>,
    ) -> Result<Vec<LanePosition>, ReadError> {
        let partitions = partition.map_or(0..moment.row.partitions, |partition| partition..partition + 1);
        let name = |topic: TopicId| match self.inner.log.topic_name(topic) {
            Some(name) => name.to_string(),
            None => topic.to_string(),
        };
        let position = |partition| {
            let lane = moment.lane(partition)?;
            let next = lane.next.into_iter().map(|(topic, next)| (name(topic), next)).collect();
            Ok(LanePosition { partition, next, held: lane.held, dead_letters: lane.dead_letters })
        };
        partitions.map(position).collect()
    }
}

/// The first place that a moment doesn't reflect yet. It is an error where it never will by itself.
fn missing<'a>(
    projection: &str,
    moment: &ConsumerMoment,
    wanted: &'a [Wanted],
) -> Result<Option<Missing<'a>>, QueryError> {
    for Wanted { place, topic } in wanted {
        let lane = moment.lane(place.partition)?;
        let next = lane.next.get(topic).copied().unwrap_or(0);
        if next <= place.offset {
            return Ok(Some(Missing { place, next, is_held: false }));
        }
        if lane.held > 0 && moment.holds(place.partition, *topic, place.offset)? {
            return Ok(Some(Missing { place, next, is_held: true }));
        }
        if lane.dead_letters > 0 {
            let letter = match moment.letter_of(place.partition, *topic, place.offset)? {
                LetterOf::No => continue,
                LetterOf::Letter(letter) => Some(letter),
                LetterOf::Unknown => None,
            };
            let (projection, place) = (projection.to_owned(), place.clone());
            return Err(QueryError::GivenUp { projection, place, letter });
        }
    }
    Ok(None)
}

impl Asked {
    async fn answer(self) -> Result<Option<Data>, Unanswered> {
        let Self { program, moment, question, partition, now } = self;
        let Some(answering) = program.answering() else { unreachable!("it was looked at before") };
        let mut respondent = answering.respondent(now).await?;
        if let Some(partition) = partition {
            return Ok(respondent.answer(&question, moment.state(partition)?).await?);
        }
        let (mut answers, mut bytes) = (Vec::new(), 0);
        for partition in 0..moment.row.partitions {
            let answer = respondent.answer(&question, moment.state(partition)?).await?;
            bytes += answer.as_ref().map_or(0, |data| data.as_bytes().len());
            if bytes > ANSWERS_BYTES_MAX {
                let message = format!(
                    "the answers of all lanes have at most {ANSWERS_BYTES_MAX} bytes: ask for less at a time, or with a key"
                );
                return Err(Failure::new(FailureKind::Memory, "answers-size", message).into());
            }
            answers.push(answer);
        }
        drop(moment);
        Ok(respondent.combine(&question, answers).await?)
    }
}

impl Unanswered {
    fn into_error(self, projection: &str, question: String) -> QueryError {
        let projection = projection.to_owned();
        match self {
            Self::Read(error) => error.into(),
            Self::Failed(Failure { kind: FailureKind::Permanent, code, message, .. }) => {
                QueryError::Refused { projection, question, code, message }
            }
            Self::Failed(failure) => QueryError::Failed { projection, question, failure: Box::new(failure) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::bus::Options;
    use crate::config::{ConsumerConfig, TopicConfig};
    use crate::event::Event;
    use crate::handler::handler_fn;
    use crate::log::Position;
    use crate::testing::{ManualClock, MemoryMedium};

    #[tokio::test]
    async fn what_is_reflected_no_more_once_the_question_has_its_place_is_not_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000_000)));
        let options = Options::new(directory.path()).clock(Arc::clone(&clock) as Arc<_>);
        let bus = Bus::open_with(options.medium(MemoryMedium::new())).unwrap();
        bus.create_topic("in", TopicConfig::new(1)).await.unwrap();
        // That it is no projection is found out when it is to answer.
        bus.subscribe("c", ConsumerConfig::new(["in"]), handler_fn(|_, _| Ok(()))).await.unwrap();
        let published = bus.publish("in", Event::new("a", "/tests", "T.v1").build().unwrap()).await.unwrap();
        bus.caught_up("c").await.unwrap();
        let places = bus.inner.roster.with("c", |running| Arc::clone(&running.questions)).unwrap();
        let all = places.acquire_many(u32::try_from(places.available_permits()).unwrap()).await.unwrap();
        let query = Query::new("count").at_least("in", &published).wait(Duration::from_secs(1));
        let mut asking = pin!(bus.query("c", query));
        tokio::select! {
            biased;
            answer = &mut asking => panic!("there is no place: {answer:?}"),
            () = std::future::ready(()) => {}
        }
        bus.pause("c").await.unwrap();
        bus.seek("c", None, None, Position::Earliest).await.unwrap();
        drop(all);
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut asking => break answer,
                () = tokio::task::yield_now() => clock.advance(Duration::from_millis(1)),
            }
        };
        assert!(matches!(answer, Err(QueryError::Behind { next: 0, .. })), "{answer:?}");
    }
}
