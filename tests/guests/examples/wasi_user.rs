//! Asks the interfaces of WASI 0.2 that a component of another language imports, and publishes what they say.
//!
//! Settings: `{"topic": "out"}`.

use serde::Deserialize;
use tidegate_guests::Surroundings;
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, Raw};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    topic: String,
}

#[derive(Default)]
struct WasiUser;

impl Consumer for WasiUser {
    const NAME: &'static str = "wasi-user";
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let Settings { topic } = host.settings()?;
        let surroundings = Surroundings { now: host.now().as_micros(), ..surroundings() };
        host.publish(
            &topic,
            Outgoing::new("Surroundings.v1").key(delivery.event.key()).json(&surroundings)?,
        )?;
        Ok(())
    }
}

#[cfg(target_arch = "wasm32")]
fn surroundings() -> Surroundings {
    use tidegate_guests::bindings::wasi_user::wasi::{cli, clocks, filesystem, random};

    let clock = clocks::wall_clock::now();
    Surroundings {
        now: 0,
        wall_clock_seconds: clock.seconds,
        wall_clock_nanoseconds: clock.nanoseconds,
        monotonic_clock: clocks::monotonic_clock::now(),
        random: random::random::get_random_bytes(32),
        random_u64: random::random::get_random_u64(),
        environment: cli::environment::get_environment(),
        arguments: cli::environment::get_arguments(),
        initial_cwd: cli::environment::initial_cwd(),
        directories: filesystem::preopens::get_directories().into_iter().map(|(_, path)| path).collect(),
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn surroundings() -> Surroundings {
    Surroundings::default()
}

tidegate_plugin::export!(WasiUser);
