//! `sts ingestion-api-key`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::value::{self, Expiration};

/// What can be done to keys, in the order of the help.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Check a key, and whether endpoints take it
    #[command(
        long_about = "Check whether a key is well formed, and what each given endpoint answers to it. The key is read from the environment variable API_KEY, or else from standard input. Nothing is sent but the key. The exit code is 2 if anything is wrong with it, and 4 if an endpoint could not be asked."
    )]
    Check(CheckArgs),
    /// Create a new Ingestion Api Key
    #[command(
        long_about = "Create a key and print it. It is printed this once: it cannot be seen again."
    )]
    Create(CreateArgs),
    /// Delete an Ingestion Api Key
    #[command(long_about = "Delete a key. Whoever still uses it is refused from now on.")]
    Delete(DeleteArgs),
    /// Describe an Ingestion Api Key
    #[command(long_about = "Show all that the server tells of a key; never the key itself.")]
    Describe(IdArgs),
    /// List Ingestion Api Keys
    #[command(long_about = "List all keys; never the keys themselves.")]
    List(ListArgs),
    /// Create a new Ingestion Api Key in place of another
    #[command(
        long_about = "Create a key with the name and description of another and print it this once. The other one ends after the overlap, or at its own expiration if that is earlier."
    )]
    Rotate(RotateArgs),
    /// Change an Ingestion Api Key
    #[command(long_about = "Change what is given of a key, and leave the rest as it is.")]
    Update(UpdateArgs),
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name of the API Key
    #[arg(long, short, value_name = "string")]
    pub(crate) name: String,
    /// Expiration date of the API Key, yyyy-MM-dd: it ends as that day begins (UTC)
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    pub(crate) expiration: Option<Expiration>,
    /// Optional description of the API Key
    #[arg(long, value_name = "string")]
    pub(crate) description: Option<String>,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Show the status, the last use and the counters too
    #[arg(long)]
    pub(crate) wide: bool,
}

#[derive(Args)]
pub(crate) struct IdArgs {
    /// ID of the API Key
    #[arg(long, short, value_name = "int", value_parser = value::id, allow_hyphen_values = true)]
    pub(crate) id: i64,
}

#[derive(Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) key: IdArgs,
    /// Ask no question
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Args)]
#[group(id = "change", required = true, multiple = true, args = ["name", "description", "expiration", "no_expiration", "enable", "disable"])]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) key: IdArgs,
    /// New name
    #[arg(long, short, value_name = "string")]
    pub(crate) name: Option<String>,
    /// New description; empty for none
    #[arg(long, value_name = "string")]
    pub(crate) description: Option<String>,
    /// New expiration date, yyyy-MM-dd: it ends as that day begins (UTC)
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    pub(crate) expiration: Option<Expiration>,
    /// Let it never expire
    #[arg(long, conflicts_with = "expiration")]
    pub(crate) no_expiration: bool,
    /// Let it in again
    #[arg(long)]
    pub(crate) enable: bool,
    /// Refuse it until it is enabled again
    #[arg(long, conflicts_with = "enable")]
    pub(crate) disable: bool,
}

#[derive(Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(crate) key: IdArgs,
    /// How long both keys are let in, as in 24h, 30m or 0s (default "24h")
    #[arg(long, value_name = "duration", value_parser = value::overlap, allow_hyphen_values = true)]
    pub(crate) overlap: Option<Duration>,
    /// Expiration date of the new key, yyyy-MM-dd; it lives as long as the other was given by
    /// default
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    pub(crate) expiration: Option<Expiration>,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// OTLP/gRPC endpoint to ask
    #[arg(long, value_name = "url")]
    pub(crate) otlp_grpc: Option<String>,
    /// OTLP/HTTP endpoint to ask
    #[arg(long, value_name = "url")]
    pub(crate) otlp_http: Option<String>,
    /// Receiver of the agents to ask, with or without /receiver and /stsAgent
    #[arg(long, value_name = "url")]
    pub(crate) agent: Option<String>,
    /// Authentication scheme of the OTLP endpoints (default "StackState")
    #[arg(long, value_name = "string", default_value = "StackState", hide_default_value = true)]
    pub(crate) scheme: String,
}
