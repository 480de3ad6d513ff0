//! `sts ingestion-api-key delete`.

use clap::Args;
use ingestion_api::IngestionApiKey;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Session, require_no_token};
use crate::command::key::IdArgs;
use crate::error::{Failure, FailureKind};
use crate::printer::escape;

/// A key that was used within this time is probably still in use.
const RECENT_USE: SignedDuration = SignedDuration::from_hours(1);

/// The flags of `delete`.
#[derive(Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    key: IdArgs,
    /// Delete the key without asking for confirmation, even if it was used within the last hour
    #[arg(long, short)]
    yes: bool,
}

pub(super) fn run(session: &Session<'_>, args: &DeleteArgs) -> Result<(), Failure> {
    let (printer, id) = (session.printer, args.key.id);
    let server = session.connect()?;
    let key = require_no_token(&server, id)?;
    if !args.yes && printer.can_ask() {
        let question = key.and_then(|key| question(&key, session.environment.now));
        if question.is_some_and(|question| !printer.ask(&question)) {
            return Err(Failure::new(FailureKind::Declined, "the key was not deleted"));
        }
    }
    server.delete(id)?;
    if printer.is_json() {
        return Ok(printer.json(&json!({"deleted-ingestion-api-key": id}))?);
    }
    Ok(printer.success(&format!("Ingestion Api Key deleted: {id}"))?)
}

/// Returns the question to ask before the key is deleted. Returns `None` if the key was not used
/// recently, or if the server does not report the last use.
fn question(key: &IngestionApiKey, now: Timestamp) -> Option<String> {
    let used = Timestamp::from_millisecond(key.last_used_timestamp?).ok()?;
    let ago = now.duration_since(used);
    if ago > RECENT_USE {
        return None;
    }
    let ago = match ago.as_mins() {
        ..=0 => "less than a minute".to_owned(),
        minutes => format!("{minutes} min"),
    };
    let (name, id) = (escape(&key.name), key.id);
    Some(format!(
        "The key {name} ({id}) was used {ago} ago. Requests with it will be refused. Delete it?"
    ))
}
