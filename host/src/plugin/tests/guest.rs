//! Components for the tests, put together of a core module in text and the contract's WIT.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What a test's component does. Its memory: 16 the description, 64 its name, 96 its version, 128 the topic `alerts`,
/// 192 `list<string>` of that topic, 256 the answer `ok`, 320 the answer that [`fails`](Guest::fails) tells, 1024 to
/// 2048 for the test, from 4096 what the host hands over.
#[expect(clippy::struct_excessive_bools, reason = "a test says which of them it is about")]
pub struct Guest {
    /// Imports, and what else stands in the module.
    pub parts: &'static str,
    /// The body of `describe` before it answers.
    pub describe: &'static str,
    /// The body of `handle`: the pointer to the delivery is local 0, the answer a pointer. Locals `$a` and `$b` are free.
    pub handle: &'static str,
    /// Whether it asks for state.
    pub uses_state: bool,
    /// Whether it asks to publish to `alerts`.
    pub publishes: bool,
    /// The version that it says it has, of five characters.
    pub version: &'static str,
    /// What the world imports beside the contract's own.
    pub wasi: bool,
    /// Whether it fetches its deliveries. `handle` is the same then, but of the delivery it finds the attempt only.
    pub fetches: bool,
    /// What it does before it fetches the first one.
    pub before: &'static str,
}

/// The answer `ok`.
pub const OK: &str = "(i32.const 256)";

impl Default for Guest {
    fn default() -> Self {
        Self {
            parts: "",
            describe: "",
            handle: OK,
            uses_state: false,
            publishes: false,
            version: "1.2.3",
            wasi: false,
            fetches: false,
            before: "",
        }
    }
}

impl Guest {
    pub fn component(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).unwrap();
        let mut resolve = Resolve::default();
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/v0");
        let (mut package, _) = resolve.push_path(contract).unwrap();
        let mut world = if self.fetches { "consumer-pull" } else { "consumer" };
        if self.wasi {
            for (path, text) in WASI {
                package = resolve.push_str(path, text).unwrap();
            }
            world = if self.fetches { "guest-pull" } else { "guest" };
        }
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }

    fn module(&self) -> String {
        let Self { parts, describe, handle, version, before, .. } = self;
        let (fetch, entry) =
            if self.fetches { (FETCH, RUN.replace(";; before", before)) } else { ("", HANDLE.to_owned()) };
        let (uses_state, topics) = (u8::from(self.uses_state), u8::from(self.publishes));
        format!(
            r#"(module $guest
  {fetch}
  {parts}
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\05\00\00\00\60\00\00\00\05\00\00\00\c0\00\00\00\{topics:02x}\00\00\00\{uses_state:02x}\00\00\00\07\00\00\00")
  (data (i32.const 64) "guest")
  (data (i32.const 96) "{version}")
  (data (i32.const 128) "alerts")
  (data (i32.const 192) "\80\00\00\00\06\00\00\00")
  (data (i32.const 320) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\04\00\00\00\08\02\00\00\05\00\00\00\01\00\00\00\00\00\00\00\dc\05")
  (data (i32.const 512) "busy\00\00\00\00later")
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func $describe (export "tidegate:plugin/plugin@0.1.0#describe") (result i32) {describe} (i32.const 16))
  (func $handle (param i32) (result i32)
    (local $a i32) (local $b i64)
    {handle})
  {entry}
)"#
        )
    }
}

const HANDLE: &str = r#"
  (export "tidegate:plugin/handler@0.1.0#handle" (func $handle))
  (func (export "cabi_post_tidegate:plugin/handler@0.1.0#handle") (param i32)
    (global.set $heap (i32.const 4096)))"#;

const FETCH: &str = r#"
  (import "tidegate:plugin/deliveries@0.1.0" "next" (func $next (param i32 i32 i32 i32 i32 i32 i32 i64 i32)))"#;

/// Hands each answer on as it lies in memory. A record has the attempt 28 bytes before where a typed delivery has it.
const RUN: &str = r#"
  (func $run (export "tidegate:plugin/worker@0.1.0#run")
    (local $answer i32)
    ;; before
    (local.set $answer (i32.const 256))
    (loop $again
      (call $next
        (i32.load8_u (local.get $answer)) (i32.load8_u offset=8 (local.get $answer))
        (i32.load offset=16 (local.get $answer)) (i32.load offset=20 (local.get $answer))
        (i32.load offset=24 (local.get $answer)) (i32.load offset=28 (local.get $answer))
        (i32.load8_u offset=32 (local.get $answer)) (i64.load offset=40 (local.get $answer))
        (i32.const 2040))
      (global.set $heap (i32.const 4096))
      (local.set $answer (call $handle (i32.sub (i32.load (i32.const 2040)) (i32.const 28))))
      (br_if $again (local.get $answer))))"#;

const WASI: [(&str, &str); 5] = [
    ("io.wit", "package wasi:io@0.2.0;
        interface error { resource error; }
        interface poll { resource pollable { block: func(); } }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
        }"),
    ("clocks.wit", "package wasi:clocks@0.2.0;
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        }"),
    ("random.wit", "package wasi:random@0.2.0;
        interface random { get-random-u64: func() -> u64; }"),
    ("cli.wit", "package wasi:cli@0.2.0;
        interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
        interface exit { exit: func(status: result); }
        interface environment { get-arguments: func() -> list<string>; }"),
    ("guest.wit", "package test:guest;
        world guest {
            include tidegate:plugin/consumer@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.0;
            import wasi:random/random@0.2.0;
            import wasi:cli/stdout@0.2.0;
            import wasi:cli/exit@0.2.0;
            import wasi:cli/environment@0.2.0;
        }
        world guest-pull {
            include tidegate:plugin/consumer-pull@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.0;
            import wasi:random/random@0.2.0;
            import wasi:cli/stdout@0.2.0;
            import wasi:cli/exit@0.2.0;
            import wasi:cli/environment@0.2.0;
        }"),
];
