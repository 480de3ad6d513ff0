//! `sts context`.

use clap::{Args, Subcommand};

/// What can be done to contexts, in the order of the help.
#[derive(Subcommand)]
pub(crate) enum ContextCommand {
    /// Delete a context
    #[command(
        long_about = "Delete a context from the configuration file. The current one stays: set another one first."
    )]
    Delete(NameArgs),
    /// List all contexts
    #[command(long_about = "List the contexts of the configuration file.")]
    List,
    /// Save a context and make it the current one
    #[command(
        long_about = "Save where a server is, and the token it is asked with, in the configuration file. The server is asked first whether it takes the token. The context becomes the current one."
    )]
    Save(SaveArgs),
    /// Set the current context
    #[command(long_about = "Set the context that every command uses unless it is told otherwise.")]
    Set(NameArgs),
    /// Show the current context
    #[command(long_about = "Show the name of the current context.")]
    Show,
    /// Ask the server of a context whether it takes its token
    #[command(
        long_about = "Ask the server of a context whether it takes its token. Flags and environment variables that say otherwise are left aside."
    )]
    Validate(OptionalNameArgs),
}

#[derive(Args)]
pub(crate) struct NameArgs {
    /// Name of the context
    #[arg(long, short, value_name = "string")]
    pub(crate) name: String,
}

#[derive(Args)]
pub(crate) struct OptionalNameArgs {
    /// Name of the context; the default is the current one
    #[arg(long, short, value_name = "string")]
    pub(crate) name: Option<String>,
}

#[derive(Args)]
pub(crate) struct SaveArgs {
    /// Name of the context (default "default")
    #[arg(
        long,
        short,
        value_name = "string",
        default_value = "default",
        hide_default_value = true
    )]
    pub(crate) name: String,
    /// Path of the API, after the URL (default "/api")
    #[arg(long, value_name = "string", default_value = ingestion_api::route::API_PATH, hide_default_value = true)]
    pub(crate) api_path: String,
    /// Do not ask the server
    #[arg(long)]
    pub(crate) skip_validate: bool,
}
