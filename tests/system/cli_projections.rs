//! `tidegate query` and `tidegate projections`.

use serde_json::json;

use crate::cli_process::Directory;

const MODEL: &str = r#"
    [topics.in]
    partitions = 2
    [consumers.model]
    plugin = "model.wasm"
    topics = ["in"]
    grants = { state = true }
    retry = { attempts = 2, base = "1ms", max = "2ms" }
"#;

fn model() -> Directory {
    let directory = Directory::new(MODEL);
    directory.put_guest("model", "model.wasm");
    directory.publish("in", &[("a", "k"), ("b", "k"), ("c", "other")], "null");
    directory
}

/// How many events the topic has, as the answer says its position.
fn position(answer: &serde_json::Value) -> u64 {
    let positions = answer["positions"].as_array().unwrap().iter();
    positions.map(|position| position["next"]["in"].as_u64().unwrap()).sum()
}

#[test]
fn a_projection_that_runs_is_asked_through_the_control_socket() {
    let directory = model();
    let running = directory.serve();
    directory.until_handled("model", 3);
    assert_eq!(directory.done(&["query", "model", "count"]), "{\"count\":3,\"layout\":1}\n");
    let of_key = ["query", "model", "count-of", "--key", "k", "--parameters", "\"k\""];
    assert_eq!(directory.done(&of_key), "2\n");
    let answer = directory.json(&["query", "model", "count"]).remove(0);
    assert_eq!((&answer["data"]["json"]["count"], position(&answer)), (&json!(3), 3));
    assert_eq!(answer["positions"][0]["partition"], 0);

    let place = directory.json(&["read", "in", "--limit", "1"]).remove(0);
    let at_least = format!("in/{}/{}", place["partition"], place["offset"]);
    directory.done(&["query", "model", "count", "--at-least", &at_least]);
    let outcome = directory.run(&["query", "model", "count", "--at-least", "in/0/999", "--wait", "10ms"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("`model` doesn't reflect in/0/999 after"), "{outcome:?}");
    for (arguments, code, words) in [
        (&["query", "model", "what"][..], 1, "unknown-question"),
        (&["query", "nobody", "count"], 1, "there is no projection `nobody`"),
        (&["query", "model", "count", "--parameters", "{"], 2, "the parameters are no JSON"),
        (&["query", "model", "count", "--at-least", "in/0"], 2, "TOPIC/PARTITION/OFFSET"),
    ] {
        let outcome = directory.run(arguments);
        assert!(outcome.code == code && outcome.err.contains(words), "{outcome:?}");
    }
    assert_eq!(running.end().0, 0);
    let outcome = directory.run(&["query", "model", "count"]);
    assert!(outcome.code == 1 && outcome.err.contains("isn't running"), "{outcome:?}");
}

#[test]
fn a_projection_goes_over_to_another_layout_by_a_rebuild() {
    let directory = model();
    let running = directory.serve();
    directory.until_handled("model", 3);
    directory.put_guest("model_v2", "model.wasm");
    let refused = directory.run(&["plugins", "reload", "model"]);
    assert!(refused.err.contains("`tidegate projections rebuild model`"), "{refused:?}");
    assert!(directory.done(&["query", "model", "count"]).contains("\"layout\":1"));
    let told = directory.done(&["projections", "rebuild", "model", "--wait"]);
    assert_eq!(told, "projection `model`: generation 1 answers\n");
    assert!(directory.done(&["query", "model", "count"]).contains("\"count\":3,\"layout\":2"));
    let listed = directory.json(&["projections"]).remove(0);
    assert_eq!((&listed["generation"], &listed["model"]["state_version"]), (&json!(1), &json!(2)));
    assert!(directory.done(&["projections", "list"]).contains("model: generation 1 answers"));
    let outcome = directory.run(&["projections", "cancel", "model"]);
    assert!(outcome.code == 1 && outcome.err.contains("isn't being rebuilt"), "{outcome:?}");
    assert_eq!(directory.json(&["consumers"]).len(), 1);
    assert_eq!(running.end().0, 0);
}
