//! `sts ingestion-api-key update`.

use clap::Args;
use ingestion_api::UpdateRequest;
use serde_json::json;

use super::{Session, require_no_token};
use crate::command::key::IdArgs;
use crate::command::value::{self, Expiration};
use crate::error::Failure;
use crate::printer::sorted;

/// The flags of `update`.
#[derive(Args)]
#[group(
    id = "change",
    required = true,
    multiple = true,
    args = ["name", "description", "expiration", "no_expiration", "enable", "disable"]
)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    key: IdArgs,
    /// New name
    #[arg(long, short, value_name = "string")]
    name: Option<String>,
    /// New description; an empty one removes the description
    #[arg(long, value_name = "string")]
    description: Option<String>,
    /// New expiration date, yyyy-MM-dd: the key expires when that day begins (UTC)
    #[arg(long, value_name = "date", value_parser = value::expiration, allow_hyphen_values = true)]
    expiration: Option<Expiration>,
    /// Remove the expiration date
    #[arg(long, conflicts_with = "expiration")]
    no_expiration: bool,
    /// Accept the key again
    #[arg(long)]
    enable: bool,
    /// Refuse the key until it is enabled again
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
}

pub(super) fn run(session: &Session<'_>, args: &UpdateArgs) -> Result<(), Failure> {
    let change = UpdateRequest {
        name: args.name.clone(),
        description: args
            .description
            .clone()
            .map(|description| Some(description).filter(|text| !text.is_empty())),
        expiration: if args.no_expiration {
            Some(None)
        } else {
            args.expiration.map(|date| Some(date.as_millis()))
        },
        enabled: args.enable.then_some(true).or(args.disable.then_some(false)),
    };
    let server = session.connect()?;
    require_no_token(&server, args.key.id)?;
    let key = server.update(args.key.id, &change)?;
    if session.printer.is_json() {
        let value = sorted(&json!({"ingestion-api-key": key})).map_err(std::io::Error::from)?;
        return Ok(session.printer.json(&value)?);
    }
    Ok(session.printer.success(&format!("Ingestion Api Key updated: {}", key.id))?)
}
