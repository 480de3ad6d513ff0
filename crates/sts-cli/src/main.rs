//! `sts` manages ingestion API keys from the command line. In comments, the original command is the
//! `sts` of StackState, which this command imitates.
//!
//! A module may use the modules below it in this table, but not the modules above it.
//!
//! | module | does |
//! |---|---|
//! | `cli` | the command line as a whole: parsing, help, and errors in the arguments |
//! | `command` | what each command does, and its flags |
//! | `client` | the management API, over HTTP |
//! | `config` | the configuration file, and the settings that are in force |
//! | `printer` | everything that is printed |
//! | `error`, `environment` | failures and exit codes; environment variables and the clock |

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

fn main() -> ExitCode {
    // Installs the provider explicitly. Otherwise rustls would depend on which providers are
    // linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let environment = Environment::new(std::env::vars_os(), jiff::Timestamp::now());
    let args = std::env::args_os().collect::<Vec<_>>();
    match cli::parse(&args) {
        Ok(Parsed::Command(cli)) => {
            let printer = Printer::new(&cli.output, &environment);
            exit_code(&printer, cli.run(&environment, printer))
        }
        Ok(Parsed::Text(text)) => {
            let printer = Printer::new(&cli::output_flags(&args), &environment);
            exit_code(&printer, printer.text(&text).map_err(Failure::from))
        }
        Err(failure) => {
            let printer = Printer::new(&cli::output_flags(&args), &environment);
            exit_code(&printer, Err(failure))
        }
    }
}

fn exit_code(printer: &Printer, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    printer.failure(&failure);
    if let Some(command) = failure.usage.filter(|_| !printer.is_json()) {
        // The failure was already reported, so an error of printing the usage is ignored.
        let _ = printer.text(&cli::usage(command.iter().map(String::as_str)));
    }
    ExitCode::from(failure.kind as u8)
}
