//! A shop in trouble, twice: on tidegate, and on what teams write first.
//!
//! ```text
//! cargo xtask shop                      # builds what it takes and runs this
//! cargo xtask shop --orders 1000 --seed 3
//! ```
//!
//! - The story is what customers and their connections do: `story.rs`. Orders come twice, in another order and in a new
//!   version, some are cancelled before they are placed, one can't be shipped, and the shop is killed in the middle.
//! - The payments are somebody else's service, over HTTP, which answers late, with 503, or not at all: `provider.rs`.
//! - The shop is a process of its own: `service.rs`. `on_tidegate.rs` is the one to copy from, `naive` the one to compare with.
//!   Both have the rules of `plugins/shop-rules`.
//! - At the end an auditor counts from outside what has gone wrong: `audit.rs`.

mod audit;
mod client;
mod course;
mod error;
mod naive;
mod on_tidegate;
mod payments;
mod process;
mod producers;
mod provider;
mod service;
mod story;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use audit::Comparison;
use error::ShopError;
use naive::NaiveShop;
use on_tidegate::TidegateShop;
use process::Side;
use story::Story;

/// Plays a story of orders, with all that goes wrong, on a shop on tidegate and on a naive one, and counts the damage.
#[derive(Parser)]
#[command(
    name = "shop",
    after_help = "\
The seed fixes what is sent, by which connection and in which order, and what the payment service does; how the threads of a
shop take turns is the machine's affair. It ends with 0 if nothing has gone wrong on tidegate."
)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What the story and the shop both have to know.
#[derive(Args)]
struct Common {
    /// How many orders the customers place
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000), global = true)]
    orders: u32,
    /// What the story is made of
    #[arg(long, value_name = "N", default_value_t = 7, global = true)]
    seed: u64,
    /// The folder of the built plugins, as `cargo xtask plugins` makes it
    #[arg(long, value_name = "DIR", default_value = "target/plugins", global = true)]
    plugins: PathBuf,
}

#[derive(Subcommand)]
enum Role {
    /// The shop, as the story starts and kills it
    #[command(hide = true)]
    Serve {
        /// On what
        side: Side,
        /// Its data directory
        #[arg(long)]
        dir: PathBuf,
        /// Where the payment service is
        #[arg(long)]
        payments: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode, ShopError> {
    let Common { orders, seed, plugins } = &arguments.common;
    let story = Story::new(*orders, *seed)?;
    match &arguments.role {
        Some(Role::Serve { side: Side::Tidegate, dir, payments }) => {
            service::serve(TidegateShop::open(dir, plugins, *payments, &story).await?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Role::Serve { side: Side::Naive, dir, payments }) => {
            service::serve(NaiveShop::open(dir, *payments, &story)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let naive = course::play(Side::Naive, &story, plugins).await?;
            let tidegate = course::play(Side::Tidegate, &story, plugins).await?;
            let comparison = Comparison::of(&story, &naive, &tidegate);
            if arguments.json {
                println!("{}", serde_json::to_string(&comparison)?);
            } else {
                print!("{comparison}");
            }
            Ok(if comparison.tidegate.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
