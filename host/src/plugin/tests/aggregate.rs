//! Components that decide on commands.

use std::path::Path;
use std::sync::Arc;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::lane::{all, options, runtime};
use crate::aggregate::Models;
use crate::plugin::{LoadError, LoadOptions, Plugin};

/// Worlds of aggregates that want more than there is.
const GREEDY: &str = "package test:greedy;
    world with-state { include tidegate:plugin/aggregate@0.1.0; import tidegate:plugin/state@0.1.0; }
    world with-publisher { include tidegate:plugin/aggregate@0.1.0; import tidegate:plugin/publisher@0.1.0; }
    world with-timers { include tidegate:plugin/aggregate@0.1.0; import tidegate:plugin/timers@0.1.0; }";

/// An aggregate that traps whatever it is asked. Its memory: 16 the description, 64 its name, 96 its version.
struct Decider<'d> {
    world: &'d str,
    import: &'d str,
    uses_state: bool,
    state_version: [u8; 4],
}

impl Default for Decider<'_> {
    fn default() -> Self {
        Self { world: "aggregate", import: "", uses_state: false, state_version: [1, 0, 0, 0] }
    }
}

impl Decider<'_> {
    fn component(&self) -> Vec<u8> {
        let [a, b, c, d] = self.state_version;
        let text = format!(
            r#"(module
  {import}
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\05\00\00\00\60\00\00\00\05\00\00\00\00\00\00\00\00\00\00\00\{state:02x}\00\00\00\{a:02x}\{b:02x}\{c:02x}\{d:02x}")
  (data (i32.const 64) "guest")
  (data (i32.const 96) "1.2.3")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "tidegate:plugin/plugin@0.1.0#describe") (result i32) (i32.const 16))
  (func (export "tidegate:plugin/decider@0.1.0#decide") (param i32) (result i32) unreachable)
  (func (export "tidegate:plugin/decider@0.1.0#evolve") (param i32 i32 i32 i32 i32) (result i32) unreachable))"#,
            import = self.import,
            state = u8::from(self.uses_state),
        );
        let mut module = wat::parse_str(text).unwrap();
        let mut resolve = Resolve::default();
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/v0");
        let (mut package, _) = resolve.push_path(contract).unwrap();
        if self.world != "aggregate" {
            package = resolve.push_str("greedy.wit", GREEDY).unwrap();
        }
        let world = resolve.select_world(&[package], Some(self.world)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }

    async fn load(&self) -> Result<Arc<Plugin>, LoadError> {
        // Whatever it is granted.
        let options = LoadOptions { is_aggregate: true, ..options(all()) };
        runtime(None).load(self.component().into(), options).await
    }
}

#[tokio::test]
async fn an_aggregate_is_loaded_and_says_its_version() {
    let plugin = Decider::default().load().await.unwrap();
    assert_eq!((Models::version(&*plugin).name.as_str(), Models::state_version(&*plugin)), ("guest", 1));
}

#[tokio::test]
async fn an_aggregate_reaches_neither_its_state_nor_its_stream_by_itself() {
    let cases = [
        ("with-state", r#"(import "tidegate:plugin/state@0.1.0" "get" (func (param i32 i32 i32)))"#),
        ("with-publisher", r#"(import "tidegate:plugin/publisher@0.1.0" "publish" (func (param i32 i32)))"#),
        ("with-timers", r#"(import "tidegate:plugin/timers@0.1.0" "cancel" (func (param i32 i32 i32)))"#),
    ];
    for (world, import) in cases {
        let refused = Decider { world, import, ..Decider::default() }.load().await.err().unwrap();
        let LoadError::AggregateImports(names) = &refused else { panic!("{world}: {refused}") };
        assert!(import.contains(&names[0]), "{refused}");
        assert!(refused.to_string().contains("the host keeps its state"), "{refused}");
    }
    let refused = Decider { uses_state: true, ..Decider::default() }.load().await.err().unwrap();
    assert!(matches!(refused, LoadError::NotPure { .. }), "{refused}");
}

#[tokio::test]
async fn the_state_version_that_says_aggregate_is_no_plugins_own() {
    let refused = Decider { state_version: [0xff; 4], ..Decider::default() }.load().await.err().unwrap();
    assert!(refused.to_string().contains("4294967295"), "{refused}");
}
