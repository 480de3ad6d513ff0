//! The command line: what can be asked for, and how it is explained.

mod context;
mod help;
mod key;
mod parse;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use secrecy::SecretString;

pub(crate) use context::{ContextCommand, SaveArgs};
pub(crate) use help::{help, unknown};
pub(crate) use key::{
    CheckArgs, CreateArgs, DeleteArgs, KeyCommand, ListArgs, RotateArgs, UpdateArgs,
};
pub(crate) use parse::{Parsed, parse, wants_color, wants_json};
pub(crate) use value::{Expiration, rotate_request};

/// Manages StackState from the command line: ingestion API keys, and the connections they are
/// managed over.
#[derive(Parser)]
#[command(
    name = "sts",
    bin_name = "sts",
    version = crate::MINIMUM_SERVER,
    about = "Manages StackState from the command line",
    propagate_version = true,
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Generate the completion script for a shell
    #[command(
        long_about = "Prints a script that completes commands and flags in the given shell: bash, elvish, fish, powershell or zsh."
    )]
    Completion(CompletionArgs),
    /// Manage the connections of this command line
    #[command(
        long_about = "Manage the contexts of the configuration file: where a server is, and the token it is asked with."
    )]
    Context {
        #[command(subcommand)]
        command: Option<ContextCommand>,
    },
    /// Help about any command
    Help(HelpArgs),
    /// Manage Ingestion API Keys
    #[command(
        long_about = "Manage the API Keys that let data (traces, metrics, logs and so on) of agents and OTel Collectors in."
    )]
    IngestionApiKey {
        #[command(subcommand)]
        command: Option<KeyCommand>,
    },
    /// Display the version of this command line
    Version,
}

/// What every command can be told.
#[derive(Args)]
pub(crate) struct GlobalFlags {
    /// URL of the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) url: Option<String>,
    /// API token for the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) api_token: Option<SecretString>,
    /// Service token for the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) service_token: Option<SecretString>,
    /// Kubernetes service account token for the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) k8s_sa_token: Option<SecretString>,
    /// File with a Kubernetes service account token for the StackState server
    #[arg(long, global = true, value_name = "path")]
    pub(crate) k8s_sa_token_path: Option<PathBuf>,
    /// PEM file with certificate authorities to trust besides the system's
    #[arg(long, global = true, alias = "ca-cert-path", value_name = "path")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Accept any certificate of the server
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "bool")]
    pub(crate) skip_ssl: Option<bool>,
    /// How long to wait for each answer (default "30s")
    #[arg(long, global = true, value_name = "duration", value_parser = value::timeout, default_value = "30s", hide_default_value = true)]
    pub(crate) timeout: Duration,
    /// Other configuration file than the default
    #[arg(long, global = true, value_name = "path")]
    pub(crate) config: Option<PathBuf>,
    /// Other context than the current one
    #[arg(long, short, global = true, value_name = "string")]
    pub(crate) context: Option<String>,
    /// Format of the output (must be { json | text })
    #[arg(
        long,
        short,
        global = true,
        value_name = "enum",
        default_value = "text",
        hide_default_value = true
    )]
    pub(crate) output: Output,
    /// Print no more than was asked for: of a created key, the key alone
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print no colors
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "bool")]
    pub(crate) no_color: bool,
    /// Print what is asked of the server and what it answers, to stderr; secrets are left out
    /// (twice: headers too)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The oldest server that this command line works with
    #[arg(long, global = true, hide = true, action = ArgAction::Version)]
    version: Option<bool>,
}

/// In which form results and errors are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Json,
    Text,
}

#[derive(Args)]
pub(crate) struct CompletionArgs {
    /// One of bash, elvish, fish, powershell, zsh
    pub(crate) shell: Shell,
}

#[derive(Args)]
pub(crate) struct HelpArgs {
    /// The command
    #[arg(allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}
