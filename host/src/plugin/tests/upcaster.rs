//! Components that lift events.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::guest::Guest;
use super::lane::{all, options, runtime};
use crate::event::Event;
use crate::handler::FailureKind;
use crate::limits::PLUGIN_INSTANCES_MAX;
use crate::plugin::{LoadError, Runtime, UpcasterOptions};
use crate::upcast::{Lifted, Upcaster};

/// Longer than a test takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// An upcaster that names one lift and takes all data away. Its memory: 16 the description, 256 the lift, 512 what comes of an
/// event, which nothing is written to.
fn component(from: &str, to: &str, lift: &str, uses_state: bool) -> Vec<u8> {
    let text = format!(
        r#"(module
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\05\00\00\00\60\00\00\00\05\00\00\00\00\00\00\00\00\00\00\00\{state:02x}")
  (data (i32.const 64) "guest")
  (data (i32.const 96) "1.2.3")
  (data (i32.const 256) "\00\00\00\00\20\01\00\00\01\00\00\00")
  (data (i32.const 288) "\60\01\00\00\{from_len:02x}\00\00\00\80\01\00\00\{to_len:02x}\00\00\00")
  (data (i32.const 352) "{from}")
  (data (i32.const 384) "{to}")
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "tidegate:plugin/plugin@0.1.0#describe") (result i32) (i32.const 16))
  (func (export "tidegate:plugin/lifter@0.1.0#steps") (result i32) (i32.const 256))
  (func (export "tidegate:plugin/lifter@0.1.0#lift") (param i32) (result i32) {lift} (i32.const 512)))"#,
        state = u8::from(uses_state),
        from_len = from.len(),
        to_len = to.len(),
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/v0");
    let (package, _) = resolve.push_path(contract).unwrap();
    let world = resolve.select_world(&[package], Some("upcaster")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

async fn load(runtime: &Runtime, bytes: Vec<u8>) -> Result<Arc<dyn Upcaster>, LoadError> {
    let consumer = options(all());
    let options = UpcasterOptions {
        name: "up".into(),
        limits: consumer.limits,
        log: false,
        settings: consumer.settings,
    };
    Ok(runtime.load_upcaster(bytes.into(), options).await?)
}

fn event() -> Event {
    Event::new("1", "/s", "T.v1").json_text("1").build().unwrap()
}

#[tokio::test]
async fn an_upcaster_names_its_lifts_and_lifts_events() {
    let runtime = runtime(None);
    let upcaster = load(&runtime, component("T.v1", "T.v2", "", false)).await.unwrap();
    assert_eq!((upcaster.version().name.as_str(), upcaster.version().version.as_str()), ("guest", "1.2.3"));
    assert_eq!(upcaster.lifts()[0].to_string(), "`T.v1` to `T.v2`");
    let lifted = upcaster.begin().await.unwrap().lift(&event()).await.unwrap();
    assert_eq!(lifted, Lifted::default());
}

#[tokio::test]
async fn an_upcaster_lifts_while_the_pool_is_full() {
    let runtime = runtime(None);
    let upcaster = load(&runtime, component("T.v1", "T.v2", "", false)).await.unwrap();
    let left = u32::try_from(runtime.0.room.available_permits()).unwrap();
    assert_eq!(left, PLUGIN_INSTANCES_MAX - 1, "it keeps room for itself");
    let _taken = Arc::clone(&runtime.0.room).acquire_many_owned(left).await.unwrap();
    let lifted = async {
        for _ in 0..3 {
            upcaster.begin().await.unwrap().lift(&event()).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, lifted).await.expect("it has room of its own");
}

#[tokio::test]
async fn a_trap_in_a_lift_is_told_with_its_place() {
    let runtime = runtime(None);
    let upcaster = load(&runtime, component("T.v1", "T.v2", "unreachable", false)).await.unwrap();
    let failure = upcaster.begin().await.unwrap().lift(&event()).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "unreachable"));
    assert!(failure.backtrace.is_some());
}

#[tokio::test]
async fn what_is_no_upcaster_is_refused_and_told_what_it_is() {
    let runtime = runtime(None);
    let refused = |bytes| async { load(&runtime, bytes).await.err().unwrap().to_string() };
    let consumer = refused(Guest::default().component()).await;
    assert!(consumer.contains("runs a consumer, and is no upcaster: name it in `[consumers]`"), "{consumer}");
    let state = refused(component("T.v1", "T.v2", "", true)).await;
    assert!(state.contains("`guest` asks for state"), "{state}");
    let back = refused(component("T.v2", "T.v1", "", false)).await;
    assert!(back.contains("from `T.v2` to `T.v1` doesn't lead to a later version"), "{back}");
    let text = r#"(component (import "tidegate:plugin/state@0.1.0" (instance)))"#;
    let state = refused(wat::parse_str(text).unwrap()).await;
    assert!(state.contains("imports `tidegate:plugin/state@0.1.0`"), "{state}");

    let upcaster = component("T.v1", "T.v2", "", false);
    let error = runtime.load(upcaster.into(), options(all())).await.err().unwrap().to_string();
    assert!(error.contains("is an upcaster: name it in `[upcasters]`"), "{error}");
}
