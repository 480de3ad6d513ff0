//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use ingestion_gateway::config::Sources;

/// Issues ingestion API keys and admits telemetry that carries one
#[derive(Debug, Parser)]
#[command(name = "ingestion-gateway", version)]
pub(crate) struct Cli {
    /// A YAML file; may be repeated, later files override earlier ones. Every setting has a default
    #[arg(long, value_name = "FILE", global = true)]
    config: Vec<PathBuf>,
    /// A setting that overrides all files: its path and its value as YAML; may be repeated
    #[arg(long, value_name = "path.to.key=value", global = true)]
    set: Vec<String>,
    /// The file that receives the bound addresses as JSON once every listener is bound
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) ready_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway; this is the default
    Run,
    /// Check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Commands on the key database
    #[command(subcommand)]
    Storage(StorageCommand),
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Copy the key database to FILE, also while a gateway is running
    Backup {
        /// The new file; it appears when it is complete, and only its owner can read it
        file: PathBuf,
        /// Replace FILE if it exists
        #[arg(long)]
        force: bool,
    },
    /// Copy an SQLite key database to an empty PostgreSQL database; stop its gateway first
    Copy {
        /// The SQLite database: sqlite:///path/to/keys.db
        #[arg(long, value_name = "URL")]
        from: String,
        /// The PostgreSQL database, which never had keys: postgres://user@host:port/database
        #[arg(long, value_name = "URL")]
        to: String,
        /// The file with the password for the PostgreSQL database
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Create the tables of the configured PostgreSQL database, or bring them up to date
    Migrate,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Report every problem of the configuration
    Check,
    /// Print the configuration in force, with every default and without secrets
    Print,
}

impl Cli {
    pub(crate) fn sources(&self) -> Sources {
        Sources { files: self.config.clone(), sets: self.set.clone() }
    }

    pub(crate) fn command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Run)
    }
}
