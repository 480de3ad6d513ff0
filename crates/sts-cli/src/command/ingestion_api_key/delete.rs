//! `sts ingestion-api-key delete`.

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{IdArgs, Session};
use crate::client::Server;
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
    if !args.yes && printer.can_ask() {
        let question = question(&server, id, session.environment.now);
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
/// recently, or if the server does not respond or does not report the last use.
fn question(server: &Server, id: i64, now: Timestamp) -> Option<String> {
    let key = server.get(id).ok()??;
    let used = Timestamp::from_millisecond(key.last_used_timestamp?).ok()?;
    let ago = now.duration_since(used);
    if ago > RECENT_USE {
        return None;
    }
    let ago = match ago.as_mins() {
        ..=0 => "less than a minute".to_owned(),
        minutes => format!("{minutes} min"),
    };
    let name = escape(&key.name);
    Some(format!(
        "The key {name} ({id}) was used {ago} ago. Requests with it will be refused. Delete it?"
    ))
}
