//! The pool: what fits into it, and what happens when it is full.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::guest::Guest;
use super::lane::{all, options, runtime};
use crate::handler::{LaneName, Program};
use crate::limits::PLUGIN_INSTANCES_MAX;
use crate::plugin::engine::engine;

#[tokio::test]
async fn a_component_of_an_interpreters_build_has_room() {
    let engine = engine().unwrap();
    let modules: Vec<_> = (0..14)
        .map(|n| {
            let memory = if n < 3 { "(memory 64)" } else { "" };
            format!("(core module $m{n} (table 6000 funcref) {memory}) (core instance (instantiate $m{n}))")
        })
        .collect();
    let bytes = wat::parse_str(format!("(component {})", modules.concat())).unwrap();
    let component = Component::from_binary(&engine, &bytes).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(1);
    Linker::new(&engine).instantiate_async(&mut store, &component).await.unwrap();
}

#[tokio::test]
async fn a_lane_that_finds_no_room_waits_for_it() {
    let runtime = runtime(None);
    let plugin = runtime.load(Guest::default().component().into(), options(all())).await.unwrap();
    let taken = Arc::clone(&runtime.0.room).acquire_many_owned(PLUGIN_INSTANCES_MAX).await.unwrap();
    let lane = LaneName { consumer: "counter".into(), partition: 0 };
    let mut starting = pin!(plugin.instantiate(&lane));
    let polled = starting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
    drop(taken);
    let instance = starting.await.unwrap();
    assert_eq!(runtime.0.room.available_permits(), PLUGIN_INSTANCES_MAX as usize - 1);
    drop(instance);
    assert_eq!(
        runtime.0.room.available_permits(),
        PLUGIN_INSTANCES_MAX as usize,
        "nothing else holds memory"
    );
}
