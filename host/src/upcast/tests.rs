//! What lifts do and what they leave alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::BoxFuture;
use crate::effects::TopicDirectory;
use crate::event::{Data, Event};
use crate::handler::{Failure, FailureKind, ProgramVersion};
use crate::ids::TopicId;
use crate::limits::{LIFT_CHAIN_MAX, UPCASTER_LIFTS_MAX};
use crate::schema::SchemaRefusal;

const BYTES_MAX: usize = 1 << 16;

/// A log that holds the events of topic 7 against a schema of `T.v3`, which no data are valid by.
struct Topics;

impl TopicDirectory for Topics {
    fn topic_id(&self, _: &str) -> Option<TopicId> {
        None
    }

    fn is_sequenced(&self, _: TopicId) -> bool {
        false
    }

    fn event_bytes_max(&self, _: TopicId, _: &Event) -> usize {
        BYTES_MAX
    }

    fn check_schema(&self, topic: TopicId, event: &Event) -> Result<(), SchemaRefusal> {
        if topic != TopicId(7) {
            return Ok(());
        }
        let (id, event_type) = (event.id().to_owned(), event.kind().to_owned());
        let (path, reason) = ("/price".to_owned(), "it is missing".to_owned());
        Err(SchemaRefusal::Invalid { id, event_type, path, reason })
    }
}

/// Writes the type that it lifts to behind the data, and counts its runs. What the data say may go wrong.
struct Appending {
    lifts: Vec<Lift>,
    version: ProgramVersion,
    runs: AtomicUsize,
    /// Runs that have not ended.
    open: Arc<AtomicUsize>,
}

impl Appending {
    fn new(lifts: &[(&str, &str)], open: &Arc<AtomicUsize>) -> Arc<Self> {
        let lifts = lifts.iter().map(|(from, to)| Lift::new(from, to).unwrap()).collect();
        let (version, runs) = (ProgramVersion::default(), AtomicUsize::new(0));
        Arc::new(Self { lifts, version, runs, open: Arc::clone(open) })
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Upcaster for Appending {
    fn version(&self) -> &ProgramVersion {
        &self.version
    }

    fn lifts(&self) -> &[Lift] {
        &self.lifts
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn LiftRun + '_>, Failure>> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.open.fetch_add(1, Ordering::SeqCst), 0, "one upcaster at a time is held");
        Box::pin(async move { Ok(Box::new(Run(self)) as Box<dyn LiftRun + '_>) })
    }
}

struct Run<'u>(&'u Appending);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl LiftRun for Run<'_> {
    fn lift<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<Lifted, Failure>> {
        let to = self.0.lifts.iter().find(|lift| lift.from() == event.kind()).unwrap().to();
        let text = String::from_utf8(event.data().unwrap().as_bytes().to_vec()).unwrap();
        let lifted = match text.as_str() {
            "refused" => Err(Failure::permanent("refused", "no")),
            "trap" => Err(Failure::new(FailureKind::Trap, "unreachable", "trap").with_backtrace("0: lift")),
            "large" => Ok(plain("x".repeat(BYTES_MAX))),
            "nonsense" => {
                Ok(Lifted { datacontenttype: Some("no media type".to_owned()), ..plain(String::new()) })
            }
            _ => Ok(plain(format!("{text} {to}"))),
        };
        Box::pin(async move { lifted })
    }
}

fn plain(text: String) -> Lifted {
    Lifted {
        datacontenttype: Some("text/plain".to_owned()),
        dataschema: Some("https://example.com/s".to_owned()),
        data: Some(Data::Text(text)),
    }
}

fn of(upcasters: &[(&str, &Arc<Appending>)]) -> Result<Lifts, LiftError> {
    let upcasters: Vec<_> =
        upcasters.iter().map(|(name, upcaster)| (*name, Arc::clone(upcaster) as Arc<dyn Upcaster>)).collect();
    Lifts::of(upcasters.iter().map(|(name, upcaster)| (*name, upcaster)))
}

fn event(kind: &str, text: &str) -> Arc<Event> {
    let event = Event::new("1", "/s", kind).subject("key").time("2018-04-05T17:31:00Z");
    Arc::new(event.extension("traceid", "t").text("text/plain", text).build().unwrap())
}

fn works(topic: u32, events: &[(&str, &str)]) -> Vec<Work> {
    (0..).zip(events).map(|(at, (kind, text))| Work::new(TopicId(topic), at, event(kind, text))).collect()
}

/// What has become of each: what it is now, or its failure; nothing of those that were not come to.
async fn lifted(lifts: &Lifts, mut works: Vec<Work>, goes_on: bool) -> Vec<String> {
    lifts.lift_all(&Topics, &mut works, |_| goes_on).await;
    let told = |work: Work| match work.outcome().unwrap() {
        Ok(event) => {
            format!("{}:{}", event.kind(), String::from_utf8_lossy(event.data().unwrap().as_bytes()))
        }
        Err(failure) => failure.to_string(),
    };
    works.into_iter().map(told).collect()
}

#[tokio::test]
async fn an_event_goes_through_a_chain_of_several_upcasters_that_are_held_one_at_a_time() {
    let open = Arc::default();
    let first = Appending::new(&[("T.v1", "T.v2"), ("T.v3", "T.v4")], &open);
    let second = Appending::new(&[("T.v2", "T.v3")], &open);
    let lifts = of(&[("first", &first), ("second", &second)]).unwrap();
    let events = [("T.v1", "a"), ("T.v2", "b"), ("T.v4", "c"), ("U.v1", "d"), ("T.v3", "e")];
    assert_eq!(
        lifted(&lifts, works(1, &events), true).await,
        ["T.v4:a T.v2 T.v3 T.v4", "T.v4:b T.v3 T.v4", "T.v4:c", "U.v1:d", "T.v4:e T.v4"]
    );
    assert_eq!((first.runs(), second.runs()), (2, 1), "all events of a stretch share a run");
}

#[tokio::test]
async fn a_lift_changes_the_type_and_the_data_and_nothing_else() {
    let upcaster = Appending::new(&[("T.v1", "T.v2")], &Arc::default());
    let lifts = of(&[("up", &upcaster)]).unwrap();
    let mut works = works(1, &[("T.v1", "a")]);
    lifts.lift_all(&Topics, &mut works, |_| true).await;
    let lifted = works.remove(0).outcome().unwrap().unwrap();
    let before = event("T.v1", "a");
    let mut expected = (*before).clone().into_parts();
    expected.kind = "T.v2".to_owned();
    expected.dataschema = Some("https://example.com/s".to_owned());
    expected.data = Some(Data::Text("a T.v2".to_owned()));
    assert_eq!((*lifted).clone().into_parts(), expected);
    assert_eq!((lifted.id(), lifted.source(), lifted.key()), (before.id(), before.source(), before.key()));
}

#[tokio::test]
async fn an_event_that_cannot_be_lifted_names_its_upcaster_and_the_others_are_lifted() {
    let upcaster = Appending::new(&[("T.v1", "T.v2")], &Arc::default());
    let lifts = of(&[("up", &upcaster)]).unwrap();
    let events = [("T.v1", "refused"), ("T.v1", "nonsense"), ("T.v1", "large"), ("T.v1", "d")];
    let told = lifted(&lifts, works(1, &events), true).await;
    for (told, words) in told.iter().zip(["(refused): ", "(invalid-event): ", "(event-size): "]) {
        assert!(told.starts_with("permanent ") && told.contains(words), "{told}");
        assert!(told.contains("upcaster `up`, `T.v1` to `T.v2`: "), "{told}");
    }
    assert_eq!(told[3], "T.v2:d T.v2");
    assert_eq!(upcaster.runs(), 4, "a run that has failed is thrown away");
}

#[tokio::test]
async fn a_trap_keeps_its_kind_and_place_and_ends_the_lifting_of_what_is_behind_it() {
    let upcaster = Appending::new(&[("T.v1", "T.v2")], &Arc::default());
    let lifts = of(&[("up", &upcaster)]).unwrap();
    let mut works = works(1, &[("T.v1", "a"), ("T.v1", "trap"), ("T.v1", "c")]);
    lifts.lift_all(&Topics, &mut works, |_| true).await;
    let places: Vec<_> = works.iter().map(|work| work.place().1).collect();
    assert_eq!(places, [0, 1]);
    let failure = works.remove(1).outcome().unwrap().unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "unreachable"));
    assert_eq!(failure.backtrace.as_deref(), Some("0: lift"));
}

#[tokio::test]
async fn the_first_event_is_lifted_however_little_time_there_is() {
    let open = Arc::default();
    let first = Appending::new(&[("T.v1", "T.v2")], &open);
    let second = Appending::new(&[("T.v2", "T.v3")], &open);
    let lifts = of(&[("first", &first), ("second", &second)]).unwrap();
    let told = lifted(&lifts, works(1, &[("T.v1", "a"), ("T.v1", "b")]), false).await;
    assert_eq!(told, ["T.v3:a T.v2 T.v3"]);
}

#[tokio::test]
async fn what_comes_of_all_lifts_is_held_against_the_schema_of_its_type() {
    let upcaster = Appending::new(&[("T.v1", "T.v2"), ("T.v2", "T.v3")], &Arc::default());
    let lifts = of(&[("up", &upcaster)]).unwrap();
    let told = lifted(&lifts, works(7, &[("T.v1", "a")]), true).await;
    assert!(told[0].starts_with("permanent (schema): ") && told[0].contains("`T.v2` to `T.v3`"), "{told:?}");
    assert!(told[0].contains("at `/price`: it is missing"), "{told:?}");
}

#[test]
fn a_type_has_one_lift_that_leads_to_a_later_version_of_it() {
    let open = Arc::default();
    let first = Appending::new(&[("T.v1", "T.v2")], &open);
    let second = Appending::new(&[("T.v1", "T.v3")], &open);
    let taken = of(&[("first", &first), ("second", &second)]).unwrap_err();
    assert!(taken.to_string().contains("`T.v1` is lifted by upcaster `first` already"), "{taken}");
    for (from, to) in [("T.v2", "T.v2"), ("T.v2", "T.v1"), ("T.v1", "U.v2"), ("T", "T.v2"), ("T.v1", "T.v02")]
    {
        assert!(Lift::new(from, to).is_err(), "{from} to {to}");
    }
}

#[test]
fn an_upcaster_has_some_lifts_and_a_chain_an_end_that_is_near() {
    let open = Arc::default();
    assert_eq!(of(&[("up", &Appending::new(&[], &open))]).unwrap_err(), LiftError::Nothing);
    let name = |version: usize| format!("T.v{version}");
    let chain = |len: usize| -> Vec<_> { (1..=len).map(|at| (name(at), name(at + 1))).collect() };
    let upcaster = |lifts: &[(String, String)]| {
        let lifts: Vec<_> = lifts.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        Appending::new(&lifts, &open)
    };
    assert!(of(&[("up", &upcaster(&chain(LIFT_CHAIN_MAX)))]).is_ok());
    let long = of(&[("up", &upcaster(&chain(LIFT_CHAIN_MAX + 1)))]).unwrap_err();
    assert!(matches!(long, LiftError::ChainTooLong { .. }), "{long}");
    let many: Vec<_> =
        (0..=UPCASTER_LIFTS_MAX).map(|at| (format!("T{at}.v1"), format!("T{at}.v2"))).collect();
    let many = of(&[("up", &upcaster(&many))]).unwrap_err();
    assert!(matches!(many, LiftError::TooMany { .. }), "{many}");
}

#[tokio::test]
async fn a_function_that_panics_has_failed_like_a_trap() {
    let lift = Lift::new("T.v1", "T.v2").unwrap();
    let panics = |_: &Event| -> Result<Lifted, Failure> { panic!("told to") };
    let upcaster: Arc<dyn Upcaster> = Arc::new(NativeUpcaster::new(lift, panics));
    let lifts = Lifts::of([("up", &upcaster)]).unwrap();
    let told = lifted(&lifts, works(1, &[("T.v1", "a")]), true).await;
    assert!(told[0].starts_with("trap (panic): ") && told[0].ends_with("told to"), "{told:?}");
}
