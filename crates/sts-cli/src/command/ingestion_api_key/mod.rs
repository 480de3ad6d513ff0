//! `sts ingestion-api-key`. Each command has a module.

mod check;
mod create;
mod delete;
mod describe;
mod list;
mod rotate;
mod update;

use clap::Subcommand;
use ingestion_api::{IngestionApiKey, KeyRole};

use super::Session;
use super::key::{IdArgs, KeyName, RotateArgs};
use crate::client::Server;
use crate::error::{Failure, FailureKind};

/// The commands on keys, in the order of the help.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Check a key, and whether endpoints accept it
    #[command(
        long_about = "Check the format of a key, and whether each given endpoint accepts it. The \
                      key is read from the environment variable API_KEY, or else from standard \
                      input. Requests have the key and no telemetry. The exit code is 2 if a check \
                      fails, and 4 if the only failure is that an endpoint cannot be reached."
    )]
    Check(check::CheckArgs),
    /// Create a new Ingestion Api Key
    #[command(
        long_about = "Create a key and print it. The key is printed once and cannot be displayed \
                      again."
    )]
    Create(create::CreateArgs),
    /// Delete an Ingestion Api Key
    #[command(
        long_about = "Delete a key. From then on requests with the key are refused. On a terminal, \
                      the command asks for confirmation if the server reports that the key was \
                      used within the last hour."
    )]
    Delete(delete::DeleteArgs),
    /// Describe an Ingestion Api Key
    #[command(
        long_about = "Show everything that the server knows about a key, except the key itself."
    )]
    Describe(IdArgs),
    /// List Ingestion Api Keys
    #[command(
        long_about = "List all keys by name, with their ids. The keys themselves are not shown. \
                      Only the ingestion gateway reports what --wide adds."
    )]
    List(list::ListArgs),
    /// Replace an Ingestion Api Key with a new one
    #[command(
        long_about = "Create a key with the name and description of another one, and print it. The \
                      key is printed once and cannot be displayed again. The other key expires \
                      after the overlap, or at its own expiration if that is earlier."
    )]
    Rotate(RotateArgs),
    /// Change an Ingestion Api Key
    #[command(long_about = "Change the given fields of a key. The other fields keep their values.")]
    Update(update::UpdateArgs),
}

const INGESTION_API_KEY: KeyName = KeyName {
    json: "ingestion-api-key",
    text: "Ingestion API Key",
    command: "sts ingestion-api-key",
};

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

/// Fails if the key with this id is the token of a follower. Otherwise returns the key, unless the
/// server does not describe it.
fn require_no_token(server: &Server, id: i64) -> Result<Option<IngestionApiKey>, Failure> {
    match server.get(id) {
        Ok(Some(key)) if key.role == Some(KeyRole::Follower) => {
            let message = format!("the key {id} is a token of a follower");
            let hint = "For tokens there are the commands of `sts follower`";
            Err(Failure::new(FailureKind::Response, message).with_hint(hint))
        }
        // The call that follows says what is wrong.
        key => Ok(key.ok().flatten()),
    }
}
