//! `sts ingestion-api-key delete`.

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{IdArgs, Session};
use crate::client::Server;
use crate::error::{Failure, Kind};
use crate::printer::escape;

/// Whoever used a key so recently will use it again.
const IN_USE: SignedDuration = SignedDuration::from_hours(1);

/// The flags of `delete`.
#[derive(Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    key: IdArgs,
    /// Ask no question
    #[arg(long, short)]
    yes: bool,
}

pub(super) fn run(session: &Session<'_>, args: &DeleteArgs) -> Result<(), Failure> {
    let (printer, id) = (session.printer, args.key.id);
    let server = session.connect()?;
    if !args.yes && printer.can_ask() {
        let question = question(&server, id, session.environment.now);
        if question.is_some_and(|question| !printer.ask(&question)) {
            return Err(Failure::new(Kind::Declined, "the key was not deleted"));
        }
    }
    server.delete(id)?;
    if printer.is_json() {
        return Ok(printer.json(&json!({"deleted-ingestion-api-key": id}))?);
    }
    Ok(printer.success(&format!("Ingestion Api Key deleted: {id}"))?)
}

/// What to ask about a key that is in use. A server that does not say when it was used is no reason
/// to ask, and neither is one that does not answer.
fn question(server: &Server, id: i64, now: Timestamp) -> Option<String> {
    let key = server.get(id).ok()??;
    let used = Timestamp::from_millisecond(key.last_used_timestamp?).ok()?;
    let ago = now.duration_since(used);
    if ago > IN_USE {
        return None;
    }
    let minutes = ago.as_mins().max(0);
    let name = escape(&key.name);
    Some(format!(
        "The key {name} ({id}) was used {minutes} min ago. Whoever uses it will be refused. Delete it?"
    ))
}
