use tidegate_plugin::{Consumer, Delivery, Failure, Host, Raw};

/// Does nothing with any event.
#[derive(Default)]
pub struct Idle;

impl Consumer for Idle {
    const NAME: &'static str = "idle";
    type Data = Raw;

    fn handle(&mut self, _delivery: &Delivery, _host: &mut dyn Host) -> Result<(), Failure> {
        Ok(())
    }
}
