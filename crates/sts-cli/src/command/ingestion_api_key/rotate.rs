//! `sts ingestion-api-key rotate`.

use clap::Args;
use std::time::Duration;

use ingestion_api::RotateRequest;

use super::create::{INGESTION_API_KEY, KeyName, print_new_key};
use super::value::{self, Expiration};
use super::{IdArgs, Session, require_no_token};
use crate::client::Server;
use crate::error::Failure;

/// The flags of `rotate`.
#[derive(Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(in crate::command) key: IdArgs,
    /// How long both keys are accepted, such as 24h, 30m or 0s (default "24h")
    #[arg(long, value_name = "duration", value_parser = value::overlap, allow_hyphen_values = true)]
    overlap: Option<Duration>,
    /// Expiration date of the new key, yyyy-MM-dd (default: it is valid for as long as the other
    /// key was)
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    expiration: Option<Expiration>,
}

pub(super) fn run(session: &Session<'_>, args: &RotateArgs) -> Result<(), Failure> {
    let server = session.connect()?;
    require_no_token(&server, args.key.id)?;
    rotate(session, &server, args, &INGESTION_API_KEY)
}

/// Rotates a key, and prints the new one.
pub(in crate::command) fn rotate(
    session: &Session<'_>,
    server: &Server,
    args: &RotateArgs,
    called: &KeyName,
) -> Result<(), Failure> {
    let key = server.rotate(args.key.id, args.to_request())?;
    print_new_key(&session.printer, &key, called)?;
    if session.printer.shows_hints() {
        let overlap = args.overlap.map_or_else(
            || "24h".to_owned(),
            |overlap| humantime::format_duration(overlap).to_string(),
        );
        session.printer.hint(&format!(
            "The new key has the id {}. The key {} is accepted for at most {overlap} more.",
            key.key.id, args.key.id
        ));
    }
    Ok(())
}

impl RotateArgs {
    fn to_request(&self) -> RotateRequest {
        let overlap = self.overlap.and_then(|overlap| u64::try_from(overlap.as_millis()).ok());
        RotateRequest { overlap, expiration: self.expiration.map(Expiration::as_millis) }
    }
}
