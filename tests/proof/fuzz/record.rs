//! Records, batches, and the rows of topics, consumers and lanes. The first byte says which; half of them get checksums that are right, so that what lies behind them is reached.

use tidegate::testing::probe;
use tidegate::{Attribute, Event};

use super::Target;
use super::mutate::Chance;

pub struct Records;

const RECORD: u8 = 0;
const BATCH: u8 = 1;
const ROW: u8 = 2;

/// An event with every kind of attribute.
pub fn full_event() -> Event {
    Event::new("id-1", "/source", "Type.v1")
        .subject("subject")
        .time("2018-04-05T17:31:00Z")
        .extension("flag", Attribute::Boolean(true))
        .extension("number", Attribute::Integer(-5))
        .extension("bytes", Attribute::Binary(vec![0, 255]))
        .extension("link", Attribute::Uri("https://example.com/a".to_owned()))
        .extension("place", Attribute::UriReference("../a".to_owned()))
        .extension("when", Attribute::Timestamp("2018-04-05T17:31:00Z".to_owned()))
        .json_text(r#"{"a": 1.50}"#)
        .build()
        .expect("it follows the rules")
}

fn events() -> Vec<Event> {
    let built = [
        Event::new("2", "/s", "T").binary("image/png", vec![1, 2, 3]).build(),
        Event::new("3", "/s", "T").text("text/plain", "hello".to_owned()).build(),
        Event::new("4", "/s", "T").build(),
    ];
    built.into_iter().map(|event| event.expect("it follows the rules")).chain([full_event()]).collect()
}

impl Target for Records {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let of = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
        let mut seeds: Vec<_> =
            events().iter().map(|event| of(RECORD, probe::record_of(event, Some(7)))).collect();
        seeds.push(of(BATCH, probe::batch_of(&events())));
        seeds.push(of(BATCH, probe::batch_of(&events()[..1])));
        seeds.extend(probe::sample_rows(&full_event()).into_iter().map(|row| of(ROW, row)));
        seeds
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\xc0",
            b"\xc2",
            b"\xc4\x00",
            b"\xcf",
            b"\xd3",
            b"\xdb\xff\xff\xff\xff",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf",
        ]
    }

    fn change(&self, chance: &Chance, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        chance.change(input, self.words(), pool, self.bytes_max());
        if let Some((kind, bytes)) = input.split_first_mut()
            && chance.one_in(2)
        {
            match *kind % 3 {
                RECORD => probe::seal_record(bytes),
                BATCH => probe::seal_batch(bytes),
                _ => probe::seal_row(bytes),
            }
        }
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let Some((kind, bytes)) = input.split_first() else { return Ok("nothing".to_owned()) };
        match *kind % 3 {
            RECORD => match probe::record(bytes) {
                Ok(event) => again(&event),
                Err(error) => Ok(error),
            },
            BATCH => match probe::batch(bytes) {
                Ok(events) => {
                    let mut outcome = "batch".to_owned();
                    for event in events {
                        outcome += "\n";
                        outcome += &match event {
                            Ok(event) => again(&event)?,
                            Err(error) => error,
                        };
                    }
                    Ok(outcome)
                }
                Err(error) => Ok(error),
            },
            _ => {
                let (outcome, kept) = probe::rows(bytes);
                kept.map(|()| outcome)
            }
        }
    }
}

/// An event that was read has to be the same when it is written and read again.
fn again(event: &Event) -> Result<String, String> {
    let written = probe::record_of(event, None);
    match probe::record(&written) {
        Ok(read) if read == *event => {
            let data = event.data().map(std::mem::discriminant);
            Ok(format!("{data:?} {}", "e".repeat(event.extensions().len().min(9))))
        }
        Ok(read) => Err(format!("{event:?} is {read:?} when it is written and read")),
        Err(error) => Err(format!("{event:?} can't be read back: {error}")),
    }
}
