//! `sts follower`: the tokens with which other processes follow the gateway.

use clap::{Args, Subcommand};
use ingestion_api::{FollowerConnection, GenerateRequest, IngestionApiKey, KeyRole};
use serde_json::json;

use super::key::{IdArgs, KeyName, RotateArgs, last_use, or_dash, print_new_key, rotate, status};
use super::value::{self, Expiration};
use super::{Session, time};
use crate::client::Server;
use crate::error::{Failure, FailureKind};
use crate::printer::{Table, sorted};

const TOKEN: KeyName =
    KeyName { json: "follower-token", text: "Follower token", command: "sts follower" };

const EMPTY: &str = "No follower tokens found.";

/// The commands on the tokens of followers, in the order of the help.
#[derive(Subcommand)]
pub(crate) enum FollowerCommand {
    /// Create a token for a follower
    #[command(long_about = "Create a token and print it. The token is printed once and cannot be \
                      displayed again. It is only for following: no request with telemetry is \
                      accepted with it.")]
    Create(CreateArgs),
    /// Delete the token of a follower
    #[command(
        long_about = "Delete a token. Followers that are connected with it are disconnected, and \
                      become undecided after their maximum staleness."
    )]
    Delete(IdArgs),
    /// List the tokens of followers
    #[command(
        long_about = "List all tokens by name, with their last use, and the followers that are \
                      connected to this gateway. A follower may be behind by a number of changes, \
                      and what it has may be some seconds old. The tokens themselves are not shown."
    )]
    List,
    /// Replace the token of a follower with a new one
    #[command(
        long_about = "Create a token with the name and description of another one, and print it. \
                      The token is printed once and cannot be displayed again. The other token \
                      expires after the overlap, or at its own expiration if that is earlier."
    )]
    Rotate(RotateArgs),
}

/// The flags of `create`.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name of the token
    #[arg(long, short, value_name = "string")]
    name: String,
    /// Expiration date of the token, yyyy-MM-dd: the token expires when that day begins (UTC)
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    expiration: Option<Expiration>,
    /// Optional description of the token
    #[arg(long, value_name = "string")]
    description: Option<String>,
}

impl FollowerCommand {
    /// Runs the command.
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let server = session.connect()?;
        match self {
            Self::Create(args) => create(session, &server, args),
            Self::Delete(args) => delete(session, &server, args.id),
            Self::List => list(session, &server),
            Self::Rotate(args) => {
                require_token(&server, args.key.id)?;
                rotate(session, &server, args, &TOKEN)
            }
        }
    }
}

fn create(session: &Session<'_>, server: &Server, args: &CreateArgs) -> Result<(), Failure> {
    let token = server.create(&GenerateRequest {
        name: args.name.clone(),
        description: args.description.clone().filter(|description| !description.is_empty()),
        expiration: args.expiration.map(Expiration::as_millis),
        role: Some(KeyRole::Follower),
    })?;
    if token.key.role != Some(KeyRole::Follower) {
        let message = "the server does not know tokens of followers: it created a key for \
                       ingestion, which is not printed";
        let hint = format!("Delete it with `sts ingestion-api-key delete --id {}`", token.key.id);
        return Err(Failure::new(FailureKind::Response, message).with_hint(&hint));
    }
    print_new_key(&session.printer, &token, &TOKEN)
}

fn delete(session: &Session<'_>, server: &Server, id: i64) -> Result<(), Failure> {
    require_token(server, id)?;
    server.delete(id)?;
    if session.printer.is_json() {
        return Ok(session.printer.json(&json!({"deleted-follower-token": id}))?);
    }
    Ok(session.printer.success(&format!("Follower token deleted: {id}"))?)
}

fn list(session: &Session<'_>, server: &Server) -> Result<(), Failure> {
    let mut tokens = server.list_tokens()?;
    tokens.sort_by(|a, b| a.name.cmp(&b.name));
    if session.printer.is_json() {
        let value = sorted(&json!({"follower-tokens": tokens})).map_err(std::io::Error::from)?;
        return Ok(session.printer.json(&value)?);
    }
    let header =
        ["id", "name", "status", "expiration", "last use", "follower", "behind", "description"];
    let rows = tokens.iter().flat_map(rows).collect();
    Ok(session.printer.table(&Table { header, rows }, EMPTY, true)?)
}

/// Returns a row for each follower that is connected with a token, or one row if there is none.
fn rows(token: &IngestionApiKey) -> Vec<[String; 8]> {
    let row = |follower: Option<&FollowerConnection>| {
        [
            token.id.to_string(),
            token.name.clone(),
            or_dash(token.status.map(|token| status(token).to_owned())),
            token.expiration.map(time::expiration).unwrap_or_default(),
            or_dash(last_use(token)),
            or_dash(follower.map(|follower| follower.address.clone())),
            or_dash(follower.map(behind)),
            or_dash(token.description.clone()),
        ]
    };
    match token.connections.as_deref() {
        None | Some([]) => vec![row(None)],
        Some(followers) => followers.iter().map(|follower| row(Some(follower))).collect(),
    }
}

/// Returns how far behind a follower is: in changes, and in time.
fn behind(follower: &FollowerConnection) -> String {
    match (follower.revisions_behind, follower.milliseconds_behind) {
        (Some(revisions), Some(millis)) => {
            format!("{revisions} changes, {}.{} s", millis / 1000, millis % 1000 / 100)
        }
        _ => "reads all keys".to_owned(),
    }
}

/// Fails if the key with this id is a key for ingestion.
fn require_token(server: &Server, id: i64) -> Result<(), Failure> {
    match server.get(id)? {
        Some(key) if key.role == Some(KeyRole::Follower) => Ok(()),
        _ => {
            let message = format!("the key {id} is not a token of a follower");
            let hint = "`sts follower list` lists the tokens";
            Err(Failure::new(FailureKind::Response, message).with_hint(hint))
        }
    }
}
