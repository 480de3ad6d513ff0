//! `sts ingestion-api-key create`, and how a new key is printed.

use clap::Args;
use ingestion_api::{GenerateRequest, GeneratedKey};
use secrecy::ExposeSecret;
use serde_json::json;

use super::Session;
use super::value::{self, Expiration};
use crate::error::Failure;
use crate::printer::{Printer, escape, sorted};

/// The flags of `create`.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name of the API Key
    #[arg(long, short, value_name = "string")]
    name: String,
    /// Expiration date of the API Key, yyyy-MM-dd: the key expires when that day begins (UTC)
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    expiration: Option<Expiration>,
    /// Optional description of the API Key
    #[arg(long, value_name = "string")]
    description: Option<String>,
}

pub(super) fn run(session: &Session<'_>, args: &CreateArgs) -> Result<(), Failure> {
    let server = session.connect()?;
    let key = server.create(&GenerateRequest {
        name: args.name.clone(),
        description: args.description.clone().filter(|description| !description.is_empty()),
        expiration: args.expiration.map(Expiration::as_millis),
        role: None,
    })?;
    print_new_key(&session.printer, &key, &INGESTION_API_KEY)
}

/// What a key is called in the output.
pub(in crate::command) struct KeyName {
    pub(in crate::command) json: &'static str,
    pub(in crate::command) text: &'static str,
    /// The command for these keys.
    pub(in crate::command) command: &'static str,
}

pub(super) const INGESTION_API_KEY: KeyName = KeyName {
    json: "ingestion-api-key",
    text: "Ingestion API Key",
    command: "sts ingestion-api-key",
};

/// Prints a new key with its secret. The secret cannot be printed again later. Warns if another key
/// has the same name.
pub(in crate::command) fn print_new_key(
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
