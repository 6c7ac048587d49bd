//! The binary `chancery`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    chancery::cli::Cli::parse().run()
}
