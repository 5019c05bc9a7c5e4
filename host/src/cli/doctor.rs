//! `tidegate doctor`: what will hurt.

use tidegate::server::{Answer, Request, config_findings};
use tidegate::{DoctorOptions, Severity};

use super::access::{self, Access};
use super::arguments::Global;
use super::error::{CliError, Exit};
use super::output::Output;

/// Looks at a bus and at its configuration, and prints what it finds.
pub fn doctor(global: &Global, output: &mut Output) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    let mut exit = Exit::Done;
    // The bus may run well with the configuration that it read before somebody broke the file.
    let config = access::config(global).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        exit = Exit::Refused;
        tidegate::config::Config::default()
    });
    let mut options = DoctorOptions::default();
    for (name, (consumer, _)) in &config.consumers {
        options = options.consumer(name, consumer.clone());
    }
    let topics = access.one(Request::Topics, |answer| match answer {
        Answer::Topics(topics) => Some(topics),
        _ => None,
    })?;
    let mut findings = access.one(Request::Doctor { options }, |answer| match answer {
        Answer::Findings(findings) => Some(findings),
        _ => None,
    })?;
    access.close();
    findings.extend(config_findings(&config, &topics));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if findings.iter().any(|finding| finding.severity == Severity::Problem) {
        exit = Exit::Refused;
    }
    if output.is_json() {
        findings.iter().try_for_each(|finding| output.json(finding))?;
        return Ok(exit);
    }
    for finding in &findings {
        output.line(finding)?;
    }
    if findings.is_empty() {
        output.line("nothing was found that will hurt")?;
    }
    Ok(exit)
}
