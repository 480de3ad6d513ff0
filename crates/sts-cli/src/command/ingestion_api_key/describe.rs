//! `sts ingestion-api-key describe`.

use ingestion_api::IngestionApiKey;
use serde_json::json;

use super::Session;
use crate::command::key::status;
use crate::command::time::{expiration, timestamp};
use crate::error::{Failure, FailureKind};
use crate::printer::{escape, sorted};

pub(super) fn run(session: &Session<'_>, id: i64) -> Result<(), Failure> {
    let server = session.connect()?;
    let key = match server.get(id)? {
        Some(key) => key,
        // The original server has no operation for a single key.
        None => server.list()?.into_iter().find(|key| key.id == id).ok_or_else(|| {
            Failure::new(FailureKind::Response, format!("there is no key with the id {id}"))
                .with_hint("To see the ids run `sts ingestion-api-key list`")
        })?,
    };
    if session.printer.is_json() {
        let value = sorted(&json!({"ingestion-api-key": key})).map_err(std::io::Error::from)?;
        return Ok(session.printer.json(&value)?);
    }
    Ok(session.printer.text(&describe(&key))?)
}

/// Renders one line for each known field.
fn describe(key: &IngestionApiKey) -> String {
    let never = || Some("never".to_owned());
    let is_counted = key.accepted.is_some();
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let fields = [
        ("ID", Some(key.id.to_string())),
        ("Name", Some(key.name.clone())),
        ("Description", key.description.clone()),
        ("Status", key.status.map(|status_of| status(status_of).to_owned())),
        (
            "Starts with",
            key.key_start.as_ref().map(|start| format!("{}{start}", ingestion_api::KEY_PREFIX)),
        ),
        ("Expiration", key.expiration.map_or_else(never, |millis| Some(expiration(millis)))),
        ("Created", key.created_timestamp.map(timestamp)),
        // The time is zero if the server did not send it.
        (
            "Last update",
            Some(key.last_update_timestamp).filter(|millis| *millis != 0).map(timestamp),
        ),
        (
            "Last use",
            key.last_used_timestamp
                .map(timestamp)
                .or_else(|| if is_counted { never() } else { None }),
        ),
        ("Accepted", number(key.accepted)),
        ("Failed", number(key.failed)),
        ("Denied", number(key.denied)),
        ("Bytes", number(key.bytes)),
        ("Replaced by", key.successor.map(|id| id.to_string())),
    ];
    let known = fields.into_iter().filter_map(|(label, value)| Some((label.to_owned(), value?)));
    let sources = key.sources.iter().flatten().map(|source| {
        let agent =
            source.user_agent.as_deref().map(|agent| format!(", {agent}")).unwrap_or_default();
        (
            "Used from".to_owned(),
            format!("{}{agent}, {}", source.address, timestamp(source.last_used_timestamp)),
        )
    });
    known
        .chain(sources)
        .map(|(label, value)| format!("{:13}{}\n", format!("{label}:"), escape(&value)))
        .collect()
}
