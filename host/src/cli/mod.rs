//! The command line: what it understands, and a file for each command.

mod access;
mod aggregate_arguments;
mod aggregates;
mod arguments;
mod blobs;
mod consumers;
mod demo;
mod dlq;
mod doctor;
mod error;
mod init;
mod outbox;
mod output;
mod plugins;
mod programs;
mod projection_arguments;
mod projections;
mod publish;
mod query;
mod read;
mod run;
mod sagas;
mod schemas;
mod signals;
mod state;
mod table;
mod timers;
mod topics;
mod trace;
mod upcasters;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use error::{CliError, Exit};
use output::Output;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.global.json);
    let outcome = dispatch(arguments, &mut output).and_then(|exit| output.finish().map(|()| exit));
    match outcome {
        Ok(exit) => exit.into(),
        // Who reads has enough, as `head` does.
        Err(CliError::OutputClosed) => Exit::Done.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.exit().into()
        }
    }
}

fn dispatch(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let global = arguments.global;
    match arguments.command {
        Command::Init(init) => init::init(&global, &init, output),
        Command::Run(run) => run::run(&global, &run),
        Command::Publish(publish) => publish::publish(&global, &publish, output),
        Command::Read(read) => read::read(&global, &read, output),
        Command::Topics(topics) => topics::topics(&global, topics.command, output),
        Command::Blobs(blobs) => blobs::blobs(&global, blobs.command, output),
        Command::Schemas(schemas) => schemas::schemas(&global, schemas.command, output),
        Command::Consumers(consumers) => consumers::consumers(&global, consumers.command, output),
        Command::Timers(timers) => timers::timers(&global, timers.command, output),
        Command::Execute(execute) => aggregates::execute(&global, &execute, output),
        Command::Aggregates(aggregates) => aggregates::aggregates(&global, aggregates.command, output),
        Command::Doctor => doctor::doctor(&global, output),
        Command::Trace(trace) => trace::trace(&global, trace, output),
        Command::Sagas(sagas) => sagas::sagas(&global, sagas.command, output),
        Command::Plugins(plugins) => plugins::plugins(&global, plugins.command, output),
        Command::Upcasters(upcasters) => upcasters::upcasters(&global, upcasters.command, output),
        Command::Query(query) => query::query(&global, query, output),
        Command::Projections(projections) => projections::projections(&global, projections.command, output),
        Command::Dlq(dlq) => dlq::dlq(&global, dlq.command, output),
        Command::Outbox(outbox) => outbox::outbox(&global, outbox.command, output),
        Command::Demo(demo) => demo::demo(&demo),
    }
}
