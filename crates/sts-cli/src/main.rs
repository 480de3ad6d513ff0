//! `sts`: ingestion API keys from the command line.
//!
//! | module | does |
//! |---|---|
//! | `cli` | the command line and its help |
//! | `config` | the configuration file, and what is in force |
//! | `client` | the management API |
//! | `command` | what each command does |
//! | `printer` | everything that is printed |
//! | `error` | failures and exit codes |

mod cli;
mod client;
mod command;
mod config;
mod environment;
mod error;
mod printer;

use std::process::ExitCode;

use cli::Parsed;
use environment::Environment;
use error::Failure;
use printer::Printer;

/// The oldest server that the commands work with.
const MINIMUM_SERVER: &str = "5.0.0";

fn main() -> ExitCode {
    // The only provider, named as rustls wants it: nothing depends on which ones happen to be
    // linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let environment = Environment::new(std::env::vars_os(), jiff::Timestamp::now());
    let args = std::env::args_os().collect::<Vec<_>>();
    match cli::parse(&args) {
        Ok(Parsed::Command(cli)) => {
            let printer = Printer::new(&cli.flags, &environment);
            exit_code(&printer, command::run(&cli, &environment, printer))
        }
        Ok(Parsed::Text(text)) => {
            let printer = Printer::without_flags(false, false, &environment);
            exit_code(&printer, printer.text(&text).map_err(Failure::from))
        }
        Err(failure) => {
            let printer = Printer::without_flags(
                cli::wants_json(&args),
                cli::wants_color(&args),
                &environment,
            );
            exit_code(&printer, Err(failure))
        }
    }
}

fn exit_code(printer: &Printer, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.kind as u8)
        }
    }
}
