//! `sts ingestion-api-key update`.

use ingestion_api::UpdateRequest;
use serde_json::json;

use super::Session;
use crate::cli::UpdateArgs;
use crate::error::Failure;
use crate::printer::sorted;

pub(crate) fn run(session: &Session<'_>, args: &UpdateArgs) -> Result<(), Failure> {
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
    let key = session.connect()?.update(args.key.id, &change)?;
    if session.printer.is_json() {
        let value = sorted(&json!({"ingestion-api-key": key})).map_err(std::io::Error::from)?;
        return Ok(session.printer.json(&value)?);
    }
    Ok(session.printer.success(&format!("Ingestion Api Key updated: {}", key.id))?)
}
