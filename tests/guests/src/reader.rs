use tidegate_plugin::{Consumer, Delivery, Failure, Host, Raw};

/// Reads all bytes of each event's data.
#[derive(Default)]
pub struct Reader {
    sum: u64,
}

impl Consumer for Reader {
    const NAME: &'static str = "reader";
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, _host: &mut dyn Host) -> Result<(), Failure> {
        let bytes = match &delivery.event.data {
            Raw::Json(text) | Raw::Text(text) => text.as_bytes(),
            Raw::Binary(bytes) => bytes,
            Raw::Empty => &[],
        };
        self.sum = bytes.iter().fold(self.sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        // Where the sum is used, it has to be made.
        std::hint::black_box(self.sum);
        Ok(())
    }
}
