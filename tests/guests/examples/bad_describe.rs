//! Asks for the topic `forbidden`, which no test grants.

use tidegate_plugin::{Consumer, Delivery, Failure, Host, Raw};

#[derive(Default)]
struct BadDescribe;

impl Consumer for BadDescribe {
    const NAME: &'static str = "bad-describe";
    const PUBLISHES: &'static [&'static str] = &["forbidden"];
    type Data = Raw;

    fn handle(&mut self, _delivery: &Delivery, _host: &mut dyn Host) -> Result<(), Failure> {
        Ok(())
    }
}

tidegate_plugin::export!(BadDescribe);
