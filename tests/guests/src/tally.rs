use tidegate_plugin::{Consumer, Delivery, Failure, Host, Raw};

/// Counts the events of each key in its state: the key, and a number of eight bytes, the least first.
#[derive(Default)]
pub struct Tally;

impl Consumer for Tally {
    const NAME: &'static str = "tally";
    const USES_STATE: bool = true;
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let key = delivery.event.key().as_bytes();
        let count = match host.get(key)? {
            Some(bytes) => {
                let count =
                    bytes.try_into().map_err(|_| Failure::permanent("count", "a count has eight bytes"))?;
                u64::from_le_bytes(count)
            }
            None => 0,
        };
        Ok(host.set(key, &(count + 1).to_le_bytes())?)
    }
}
