//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use ingestion_gateway::config::Sources;

/// Issues ingestion API keys, and lets telemetry in by them
#[derive(Debug, Parser)]
#[command(name = "ingestion-gateway", version)]
pub(crate) struct Cli {
    /// YAML file; may be repeated, later ones override. None is needed: every key has a default
    #[arg(long, value_name = "FILE", global = true)]
    config: Vec<PathBuf>,
    /// A setting, over all files: its path and its value as YAML; may be repeated
    #[arg(long, value_name = "path.to.key=value", global = true)]
    set: Vec<String>,
    /// Written whole once everything listens: the addresses as JSON
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) ready_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves; this is what is done without a command
    Run,
    /// Looks at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Works on where keys are kept
    #[command(subcommand)]
    Storage(StorageCommand),
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Tells every problem
    Check,
    /// Prints what is in force, with every default and without secrets
    Print,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Copies all keys to another store; not built yet
    Copy,
}

impl Cli {
    pub(crate) fn sources(&self) -> Sources {
        Sources { files: self.config.clone(), sets: self.set.clone() }
    }

    pub(crate) fn command(&self) -> Command {
        self.command.unwrap_or(Command::Run)
    }
}
