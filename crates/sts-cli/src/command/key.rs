//! What the commands on keys for ingestion and on the tokens of followers share.

use std::time::Duration;

use clap::Args;
use ingestion_api::{GeneratedKey, IngestionApiKey, KeyStatus, RotateRequest};
use secrecy::ExposeSecret;
use serde_json::json;

use super::Session;
use super::time::timestamp;
use super::value::{self, Expiration};
use crate::client::Server;
use crate::error::Failure;
use crate::printer::{Printer, escape, sorted};

/// The flag of the commands that work on one key.
#[derive(Args)]
pub(crate) struct IdArgs {
    /// ID of the API Key
    #[arg(long, short, value_name = "int", value_parser = value::id, allow_hyphen_values = true)]
    pub(super) id: i64,
}

/// What a key is called in the output.
pub(super) struct KeyName {
    pub(super) json: &'static str,
    pub(super) text: &'static str,
    /// The command for these keys.
    pub(super) command: &'static str,
}

/// The flags of `rotate`.
#[derive(Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(super) key: IdArgs,
    /// How long both keys are accepted, such as 24h, 30m or 0s (default "24h")
    #[arg(long, value_name = "duration", value_parser = value::overlap, allow_hyphen_values = true)]
    overlap: Option<Duration>,
    /// Expiration date of the new key, yyyy-MM-dd (default: it is valid for as long as the other
    /// key was)
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    expiration: Option<Expiration>,
}

/// Prints a new key with its secret. The secret cannot be printed again later. Warns if another key
/// has the same name.
pub(super) fn print_new_key(
    printer: &Printer,
    key: &GeneratedKey,
    called: &KeyName,
) -> Result<(), Failure> {
    let secret = escape(key.api_key.expose_secret());
    let result = if printer.is_json() {
        sorted(&json!({called.json: key}))
            .map_err(Into::into)
            .and_then(|value| printer.json(&value))
    } else if printer.is_quiet() {
        printer.line(&secret)
    } else {
        let secret = printer.highlight(&secret);
        printer.success(&format!("{} generated: {secret}\n", called.text))
    };
    let hint = format!(
        "The key with the id {id} was created, but nobody can read it any more: delete it with \
         `{} delete --id {id}`",
        called.command,
        id = key.key.id
    );
    result.map_err(|error| Failure::from(error).with_hint(&hint))?;
    if key.duplicate_name == Some(true) {
        printer.warning(&format!(
            "another key has the name {} too; the new key has the id {}",
            escape(&key.key.name),
            key.key.id
        ));
    }
    Ok(())
}

/// Rotates a key, and prints the new one.
pub(super) fn rotate(
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

/// Returns the name of a status.
pub(super) fn status(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "active",
        KeyStatus::Expiring => "expiring",
        KeyStatus::Expired => "expired",
        KeyStatus::Disabled => "disabled",
        KeyStatus::Unknown => "unknown",
    }
}

/// Returns the time of the last use, if the server reports it.
pub(super) fn last_use(key: &IngestionApiKey) -> Option<String> {
    match (key.last_used_timestamp, key.accepted) {
        (Some(millis), _) => Some(timestamp(millis)),
        // The server counts requests, but the key has no last use. So the key was never used.
        (None, Some(_)) => Some("never".to_owned()),
        (None, None) => None,
    }
}

pub(super) fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

impl RotateArgs {
    fn to_request(&self) -> RotateRequest {
        let overlap = self.overlap.and_then(|overlap| u64::try_from(overlap.as_millis()).ok());
        RotateRequest { overlap, expiration: self.expiration.map(Expiration::as_millis) }
    }
}
