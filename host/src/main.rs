//! The `tidegate` command. It speaks to the library's public API alone.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
