//! tidegate as a whole: real files, real components, real processes.
//!
//! A file is a guarantee of the design, or a thing that users do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod aggregate_limits;
mod aggregate_streams;
mod aggregates;
mod causation;
mod chapters;
mod claim_check;
mod cli_aggregates;
mod cli_bad_input;
mod cli_outbox;
mod cli_process;
mod cli_projections;
mod cli_publish;
mod cli_run;
mod cli_schema_files;
mod cli_schemas;
mod configuration;
mod contract;
mod crash;
mod dead_letters;
mod deduplication;
mod determinism;
mod doctor;
mod durability;
mod endpoint;
mod exactly_once;
mod examples;
mod hostile;
mod house;
mod isolation;
mod library;
mod manners;
mod nats_process;
mod nats_server;
mod old_files;
mod order;
mod outbox_house;
mod outbox_postgres;
mod outbox_sqlite;
mod postgres_server;
mod projections;
mod rebuilds;
mod relay_http;
mod relay_nats;
mod reload;
mod resources;
mod retries;
mod sagas;
mod samples;
mod schemas;
mod schemas_protobuf;
mod sequences;
mod shop;
mod shutdown;
mod tidy;
mod timers;
mod transactions;
mod upcasters;
#[path = "../../host/src/plugin/tests/guest.rs"]
mod written_guest;
