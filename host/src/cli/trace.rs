//! `tidegate trace`: the tree of what caused what.

use std::fmt::Write as _;

use tidegate::server::{Answer, Request};
use tidegate::{Outcome, TraceBy, TraceLink, TraceNode, TraceOptions, TraceSummary, Traced};

use super::access::Access;
use super::arguments::{Global, Trace};
use super::error::{CliError, Exit};
use super::output::{Output, moment, one_line, short};

/// Characters of an attribute or a message that a line shows.
const TEXT_CHARS: usize = 80;

/// Levels that are drawn: what lies deeper says how deep, and stands there.
const DEPTH_MAX: usize = 24;

/// Prints a trace.
pub fn trace(global: &Global, trace: Trace, output: &mut Output) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    let (id, by) = match (trace.id, trace.w3c_id) {
        (_, Some(trace_id)) => (trace_id, TraceBy::TraceId),
        (id, None) => (id.unwrap_or_default(), TraceBy::Correlation),
    };
    let mut options = TraceOptions::default().by(by).topics(trace.topic).limit(trace.limit);
    options.since = trace.since;
    let (mut nodes, mut summary) = (Vec::new(), TraceSummary::default());
    access.ask(Request::Trace { id: id.clone(), options }, |answer| {
        match answer {
            Answer::TraceNode(node) if output.is_json() => output.json(&node)?,
            Answer::TraceNode(node) => nodes.push(node),
            Answer::TraceSummary(found) => summary = found,
            _ => {}
        }
        Ok(())
    })?;
    access.close();
    if output.is_json() {
        output.json(&serde_json::json!({ "summary": summary }))?;
    } else {
        print(&id, &nodes, &summary, output)?;
    }
    Ok(if summary.damaged > 0 { Exit::Refused } else { Exit::Done })
}

fn print(
    id: &str,
    nodes: &[Box<TraceNode>],
    summary: &TraceSummary,
    output: &mut Output,
) -> Result<(), CliError> {
    for (node, branches) in nodes.iter().zip(branches(nodes)) {
        output.line(format_args!("{branches}{}", line(node)))?;
    }
    if nodes.is_empty() {
        let id = one_line(id, TEXT_CHARS);
        output.line(format_args!("nothing belongs to `{id}` ({} read)", summary.scanned))?;
    }
    if summary.left_out > 0 {
        let left_out = summary.left_out;
        output.line(format_args!("{left_out} more were left out: raise `--limit`, or name a `--topic`"))?;
    }
    if summary.damaged > 0 {
        let damaged = summary.damaged;
        output.line(format_args!("{damaged} that can't be read may belong to it: see `tidegate read`"))?;
    }
    for other in &summary.correlations {
        let other = one_line(other, TEXT_CHARS);
        output.line(format_args!(
            "an event of it belongs to correlation `{other}`, or began in it: trace that one"
        ))?;
    }
    Ok(())
}

/// What is drawn before each node: whether others follow on the levels above it.
fn branches(nodes: &[Box<TraceNode>]) -> Vec<String> {
    // From the end on, whether a node on each level comes before one above it does.
    let mut follows: Vec<bool> = Vec::new();
    let mut drawn: Vec<String> = Vec::with_capacity(nodes.len());
    for node in nodes.iter().rev() {
        let depth = node.depth;
        follows.resize((depth + 1).max(follows.len()), false);
        let mut text: String =
            (1..depth.min(DEPTH_MAX)).map(|at| if follows[at] { "│  " } else { "   " }).collect();
        if depth > 0 {
            text.push_str(if follows[depth] { "├─ " } else { "└─ " });
        }
        if depth > DEPTH_MAX {
            let _ = write!(text, "(level {depth}) ");
        }
        drawn.push(text);
        follows.truncate(depth + 1);
        follows[depth] = true;
    }
    drawn.reverse();
    drawn
}

fn line(node: &TraceNode) -> String {
    let text = |text: &str| one_line(text, TEXT_CHARS);
    let is_effect = matches!(node.link, TraceLink::Cause | TraceLink::Likely { .. });
    let mut time = if is_effect { format!("+{}", short(node.latency)) } else { moment(node.at) };
    let mut line = match &node.what {
        Traced::Event { topic, partition, offset, kind, source, id, key, consumer, is_in_log } => {
            let by = match consumer {
                Some(consumer) => format!("by {}", text(consumer)),
                None => format!("from {}", text(source)),
            };
            let gone = if *is_in_log { "" } else { ", not in the log" };
            format!(
                "{}  {topic} {partition}/{offset}  {}  key {}  {by}{gone}",
                text(kind),
                text(id),
                text(key)
            )
        }
        Traced::Timer { consumer, name, due: Some(due) } => {
            format!("timer {} of {}, due {}", text(name), text(consumer), moment(*due))
        }
        Traced::Timer { consumer, name, due: None } => {
            time.clear();
            format!("timer {} of {}, which has come", text(name), text(consumer))
        }
        Traced::Held { consumer, until, attempts, reason } => {
            let wait = match until {
                Some(until) => format!("until {}", moment(*until)),
                None => "behind another one of its key".to_owned(),
            };
            let reason =
                reason.as_ref().map_or_else(String::new, |reason| format!(": {}", text(&reason.to_string())));
            format!("held by {} {wait}, {}{reason}", text(consumer), failed(*attempts))
        }
        Traced::Letter { consumer, letter, attempts, reason, redriven } => {
            let before = if *redriven { ", redriven before" } else { "" };
            let reason = text(&reason.to_string());
            format!("dead letter {letter} of {}, {}{before}: {reason}", text(consumer), failed(*attempts))
        }
        Traced::Outcome { consumer, outcome } => {
            time.clear();
            format!("{} by {}", decided(outcome), text(consumer))
        }
        other => format!("{other:?}"),
    };
    if !time.is_empty() {
        line = format!("{line}  {time}");
    }
    match &node.link {
        TraceLink::Likely { candidates } => format!("{line}  (one of {candidates} of that id)"),
        TraceLink::Missing { cause } => format!("{line}  (its cause {} was not found)", text(cause)),
        TraceLink::Circle { cause } => format!("{line}  (caused by {}, in a circle)", text(cause)),
        _ => line,
    }
}

fn decided(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { version, events } => format!("accepted: version {version}, {events} new,"),
        Outcome::Rejected(rejection) => {
            format!("rejected: {},", one_line(&rejection.to_string(), TEXT_CHARS))
        }
        other => format!("{other:?}"),
    }
}

fn failed(attempts: usize) -> String {
    match attempts {
        1 => "1 attempt failed".to_owned(),
        attempts => format!("{attempts} attempts failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(depth: usize) -> Box<TraceNode> {
        let json = serde_json::json!({
            "depth": depth, "link": { "is": "cause" }, "at": "2018-01-31T12:00:00Z", "latency_seconds": 0.0,
            "what": { "is": "timer", "consumer": "c", "name": "n", "due": null },
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn branches_lead_to_each_node() {
        let nodes: Vec<_> = [0, 1, 2, 2, 1, 2, 0].map(node).into();
        let expected = ["", "├─ ", "│  ├─ ", "│  └─ ", "└─ ", "   └─ ", ""];
        assert_eq!(branches(&nodes), expected);
    }

    #[test]
    fn what_lies_very_deep_stays_on_the_screen() {
        let nodes: Vec<_> = (0..1000).map(node).collect();
        let last = branches(&nodes).pop().unwrap();
        assert!(last.ends_with("(level 999) ") && last.chars().count() < 100, "{last:?}");
    }
}
