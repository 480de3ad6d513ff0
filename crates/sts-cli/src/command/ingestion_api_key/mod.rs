//! `sts ingestion-api-key`: one module for each command.

mod check;
mod create;
mod delete;
mod describe;
mod list;
mod rotate;
mod time;
mod update;
mod value;

use clap::{Args, Subcommand};

use super::Session;
use crate::error::Failure;

/// The commands on keys, in the order of the help.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Check a key, and whether endpoints take it
    #[command(
        long_about = "Check whether a key is well formed, and what each given endpoint answers to it. The key is read from the environment variable API_KEY, or else from standard input. Nothing is sent but the key. The exit code is 2 if anything is wrong with it, and 4 if an endpoint could not be asked."
    )]
    Check(check::CheckArgs),
    /// Create a new Ingestion Api Key
    #[command(
        long_about = "Create a key and print it. It is printed this once: it cannot be seen again."
    )]
    Create(create::CreateArgs),
    /// Delete an Ingestion Api Key
    #[command(long_about = "Delete a key. Whoever still uses it is refused from now on.")]
    Delete(delete::DeleteArgs),
    /// Describe an Ingestion Api Key
    #[command(long_about = "Show all that the server tells of a key; never the key itself.")]
    Describe(IdArgs),
    /// List Ingestion Api Keys
    #[command(long_about = "List all keys; never the keys themselves.")]
    List(list::ListArgs),
    /// Create a new Ingestion Api Key in place of another
    #[command(
        long_about = "Create a key with the name and description of another and print it this once. The other one ends after the overlap, or at its own expiration if that is earlier."
    )]
    Rotate(rotate::RotateArgs),
    /// Change an Ingestion Api Key
    #[command(long_about = "Change what is given of a key, and leave the rest as it is.")]
    Update(update::UpdateArgs),
}

/// The flag of the commands that work on one key.
#[derive(Args)]
pub(crate) struct IdArgs {
    /// ID of the API Key
    #[arg(long, short, value_name = "int", value_parser = value::id, allow_hyphen_values = true)]
    id: i64,
}

impl KeyCommand {
    /// Runs the command.
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Check(args) => check::run(session, args),
            Self::Create(args) => create::run(session, args),
            Self::Delete(args) => delete::run(session, args),
            Self::Describe(args) => describe::run(session, args.id),
            Self::List(args) => list::run(session, args),
            Self::Rotate(args) => rotate::run(session, args),
            Self::Update(args) => update::run(session, args),
        }
    }
}
