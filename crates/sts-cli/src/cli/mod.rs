//! The command line as a whole: commands, help, and errors in the arguments.

mod help;
mod parse;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::client::MINIMUM_SERVER;
use crate::command::{ContextCommand, FollowerCommand, KeyCommand, Session, version};
use crate::config::ConnectionFlags;
use crate::environment::Environment;
use crate::error::Failure;
use crate::printer::{OutputFlags, Printer};

pub(crate) use help::usage;
pub(crate) use parse::{Parsed, output_flags, parse};

/// The command line: global flags and a command.
#[derive(Parser)]
#[command(
    name = "sts",
    bin_name = "sts",
    version = MINIMUM_SERVER,
    about = "Manages StackState from the command line",
    propagate_version = true,
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    connection: ConnectionFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    /// The oldest server that sts works with
    #[arg(long, global = true, hide = true, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands, in the order of the help.
#[derive(Subcommand)]
enum Command {
    /// Generate the completion script for a shell
    #[command(
        long_about = "Print a script that completes commands and flags in the given shell: bash, \
                      elvish, fish, powershell or zsh."
    )]
    Completion(CompletionArgs),
    /// Manage the servers that sts connects to
    #[command(
        long_about = "Manage the contexts of the configuration file. Each has the URL of a server \
                      and a token for it."
    )]
    Context {
        #[command(subcommand)]
        command: Option<ContextCommand>,
    },
    /// Manage the tokens of followers
    #[command(
        long_about = "Manage the tokens with which other processes follow the ingestion gateway: \
                      they learn its keys, and decide on requests themselves."
    )]
    Follower {
        #[command(subcommand)]
        command: Option<FollowerCommand>,
    },
    /// Help about any command
    Help(HelpArgs),
    /// Manage Ingestion API Keys
    #[command(
        long_about = "Manage the API Keys with which agents and OTel Collectors send data (traces, \
                      metrics, logs and so on)."
    )]
    IngestionApiKey {
        #[command(subcommand)]
        command: Option<KeyCommand>,
    },
    /// Display the version of sts
    Version,
}

#[derive(Args)]
struct CompletionArgs {
    /// One of bash, elvish, fish, powershell, zsh
    shell: Shell,
}

#[derive(Args)]
struct HelpArgs {
    /// Command to get help about
    command: Vec<String>,
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(&self, environment: &Environment, printer: Printer) -> Result<(), Failure> {
        let session = Session { flags: &self.connection, environment, printer };
        let text = match &self.command {
            Some(Command::Context { command: Some(command) }) => return command.run(&session),
            Some(Command::IngestionApiKey { command: Some(command) }) => {
                return command.run(&session);
            }
            Some(Command::Follower { command: Some(command) }) => return command.run(&session),
            Some(Command::Version) => return version::run(&session),
            None => help::help([]),
            Some(Command::Context { command: None }) => help::help(["context"]),
            Some(Command::Follower { command: None }) => help::help(["follower"]),
            Some(Command::IngestionApiKey { command: None }) => help::help(["ingestion-api-key"]),
            Some(Command::Help(args)) => help::requested(&args.command)?,
            Some(Command::Completion(args)) => completion(args.shell),
        };
        Ok(printer.text(&text)?)
    }
}

fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sts", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests;
