//! What is loaded and what is refused.

use super::guest::{Guest, OK};
use super::lane::{all, load, options, runtime};
use crate::config::Grants;
use crate::handler::{FailureKind, Program};
use crate::plugin::LoadError;

pub async fn refused(bytes: Vec<u8>) -> LoadError {
    match runtime(None).load(bytes.into(), options(Grants::nothing())).await {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

pub async fn refused_text(text: &str) -> LoadError {
    refused(wat::parse_str(text).unwrap()).await
}

#[tokio::test]
async fn a_component_of_the_contract_is_loaded_and_known_by_name_version_and_hash() {
    let guest = Guest { publishes: true, uses_state: true, ..Guest::default() };
    let plugin = load(&guest, all()).await.unwrap();
    assert_eq!(plugin.version().name, "guest");
    assert_eq!(plugin.version().version, "1.2.3");
    assert_eq!(plugin.version().hash, crate::plugin::cache::component_hash(&guest.component()));
    assert_eq!(plugin.state_version(), 7);
}

#[tokio::test]
async fn what_is_not_a_component_is_refused_and_told_how_to_become_one() {
    assert!(matches!(refused(b"hello".to_vec()).await, LoadError::NotWasm));
    assert!(matches!(refused(Vec::new()).await, LoadError::NotWasm));
    let error = refused_text("(module)").await;
    assert!(matches!(error, LoadError::CoreModule));
    assert!(error.to_string().contains("build it as a component"), "{error}");
}

#[tokio::test]
async fn a_torn_component_is_refused() {
    let mut bytes = Guest::default().component();
    bytes.truncate(bytes.len() / 2);
    assert!(matches!(refused(bytes).await, LoadError::Compile(_)));
}

#[tokio::test]
async fn a_component_of_too_many_parts_is_refused_before_it_is_compiled() {
    let text = format!("(component {})", "(core module)".repeat(200));
    let error = refused_text(&text).await;
    assert!(matches!(error, LoadError::Structure { max: 128, .. }), "{error}");
}

#[tokio::test]
async fn an_import_that_the_host_does_not_offer_is_named() {
    let error = refused_text(r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance)))"#).await;
    assert!(error.to_string().contains("imports `wasi:http/outgoing-handler@0.2.0`"), "{error}");
    let error = refused_text(r#"(component (import "tidegate:plugin/state@0.2.0" (instance)))"#).await;
    assert!(error.to_string().contains("imports `tidegate:plugin/state@0.2.0`"), "{error}");
}

#[tokio::test]
async fn a_component_for_another_world_is_refused_and_the_world_is_named() {
    let error =
        refused_text(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#).await;
    assert!(error.to_string().contains("is a command for the world `wasi:cli/command`"), "{error}");
    let error = refused_text("(component)").await;
    assert!(
        error.to_string().contains(
            "`tidegate:plugin/plugin@0.1.0`, `tidegate:plugin/worker@0.1.0`, `tidegate:plugin/handler@0.1.0`"
        ),
        "{error}"
    );
    assert!(error.to_string().contains("exports nothing"), "{error}");
    let error =
        refused_text(r#"(component (instance $i) (export "tidegate:plugin/handler@0.9.0" (instance $i)))"#)
            .await;
    assert!(error.to_string().contains("of another version"), "{error}");
}

#[tokio::test]
async fn a_component_with_one_export_of_the_contract_is_told_which_is_missing() {
    let error =
        refused_text(r#"(component (instance $i) (export "tidegate:plugin/plugin@0.1.0" (instance $i)))"#)
            .await;
    let LoadError::Exports { missing, .. } = error else { panic!("{error}") };
    assert_eq!(missing, ["tidegate:plugin/worker@0.1.0", "tidegate:plugin/handler@0.1.0"]);
}

#[tokio::test]
async fn a_projection_that_imports_more_than_it_may_is_told_which() {
    let text = |import: &str| {
        format!(
            r#"(component (import "tidegate:plugin/{import}@0.1.0" (instance)) (instance $i)
                (export "tidegate:plugin/plugin@0.1.0" (instance $i))
                (export "tidegate:plugin/handler@0.1.0" (instance $i))
                (export "tidegate:plugin/queries@0.1.0" (instance $i)))"#
        )
    };
    for import in ["publisher", "timers"] {
        let error = refused_text(&text(import)).await;
        let LoadError::ProjectionImports(imports) = &error else { panic!("{error}") };
        assert_eq!(imports, &[format!("tidegate:plugin/{import}@0.1.0")]);
        assert!(error.to_string().contains("build it for the world `tidegate:plugin/projection`"), "{error}");
    }
    // Of what it may import, this one has the wrong types.
    assert!(matches!(refused_text(&text("state")).await, LoadError::Contract(_)));
}

#[tokio::test]
async fn an_export_of_the_right_name_and_the_wrong_type_is_refused() {
    for interface in ["worker", "handler"] {
        // There is a `describe`, so that it is not what the refusal is for.
        let text = format!(
            r#"(component (instance $i)
                (component $describing (import "f" (func $f)) (export "describe" (func $f)))
                (core module $m (func (export "f")))
                (core instance $m (instantiate $m))
                (func $f (canon lift (core func $m "f")))
                (instance $d (instantiate $describing (with "f" (func $f))))
                (export "tidegate:plugin/plugin@0.1.0" (instance $d))
                (export "tidegate:plugin/{interface}@0.1.0" (instance $i)))"#
        );
        let error = refused_text(&text).await;
        assert!(matches!(error, LoadError::Contract(_)), "{error}");
        assert!(error.to_string().contains(interface), "{error}");
        let typed = text.replace(
            r#"(export "tidegate:plugin/worker@0.1.0" (instance $i))"#,
            r#"(component $running (import "f" (func $f (param "a" u32))) (export "run" (func $f)))
               (core module $n (func (export "f") (param i32)))
               (core instance $n (instantiate $n))
               (func $g (param "a" u32) (canon lift (core func $n "f")))
               (instance $r (instantiate $running (with "f" (func $g))))
               (export "tidegate:plugin/worker@0.1.0" (instance $r))"#,
        );
        assert_eq!(typed == text, interface == "handler");
        let error = refused_text(&typed).await;
        assert!(matches!(error, LoadError::Contract(_)), "a parameter too many: {error}");
    }
}

#[tokio::test]
async fn a_plugin_that_asks_for_more_than_it_was_granted_is_refused_with_the_lines_to_add() {
    let guest = Guest { publishes: true, uses_state: true, ..Guest::default() };
    let error = load(&guest, Grants::nothing().log()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        r#"plugin `guest` asks for what consumer `counter` is not granted: add "alerts" to `publish` and `state = true` to its grants"#
    );
}

#[tokio::test]
async fn a_version_that_is_none_is_refused() {
    let error = load(&Guest { version: "vers.", ..Guest::default() }, all()).await.err().unwrap();
    assert!(matches!(error, LoadError::Description { .. }), "{error}");
}

#[tokio::test]
async fn a_describe_that_traps_or_spins_is_refused() {
    for (describe, kind) in [("unreachable", FailureKind::Trap), ("(loop $l (br $l))", FailureKind::Timeout)]
    {
        let error = load(&Guest { describe, ..Guest::default() }, all()).await.err().unwrap();
        let LoadError::Describe(failure) = error else { panic!("{error}") };
        assert_eq!(failure.kind, kind);
    }
}

#[tokio::test]
async fn a_start_function_that_spins_is_refused() {
    let parts = "(func $spin (loop $l (br $l))) (start $spin)";
    let error = load(&Guest { parts, ..Guest::default() }, all()).await.err().unwrap();
    let LoadError::Describe(failure) = error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::Timeout);
}

#[tokio::test]
async fn outside_of_a_delivery_nothing_is_granted() {
    let guest = Guest {
        parts: r#"(import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#,
        // Traps unless the answer is the error `not-granted`.
        describe: "(call $set (i32.const 64) (i32.const 5) (i32.const 64) (i32.const 5) (i32.const 1024))
                   (if (i32.eqz (i32.load8_u (i32.const 1024))) (then unreachable))",
        handle: OK,
        ..Guest::default()
    };
    load(&guest, all()).await.unwrap();
}
