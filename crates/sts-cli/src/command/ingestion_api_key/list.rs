//! `sts ingestion-api-key list`.

use clap::Args;
use ingestion_api::IngestionApiKey;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Session;
use crate::command::key::{last_use, or_dash, status};
use crate::command::time::expiration;
use crate::error::Failure;
use crate::printer::{Table, escape, sorted};

const EMPTY: &str = "No ingestion api keys found.";

/// A hint names the keys that expire within this time.
const EXPIRY_WARNING: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The largest number of keys that the hint names.
const MAX_NAMED: usize = 5;

/// The flags of `list`.
#[derive(Args)]
pub(crate) struct ListArgs {
    /// Also show the status, the last use and the counters
    #[arg(long)]
    wide: bool,
}

pub(super) fn run(session: &Session<'_>, args: &ListArgs) -> Result<(), Failure> {
    let printer = session.printer;
    let mut keys = session.connect()?.list()?;
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    if printer.is_json() {
        let value = sorted(&json!({"ingestion-api-keys": keys})).map_err(std::io::Error::from)?;
        return Ok(printer.json(&value)?);
    }
    if args.wide {
        let header = [
            "id",
            "name",
            "status",
            "expiration",
            "last use",
            "accepted",
            "failed",
            "denied",
            "bytes",
            "description",
        ];
        printer.table(&Table { header, rows: keys.iter().map(wide_row).collect() }, EMPTY, true)?;
    } else {
        let header = ["id", "name", "expiration", "description"];
        printer.table(&Table { header, rows: keys.iter().map(row).collect() }, EMPTY, false)?;
    }
    if let Some(hint) = expiring(&keys, session.environment.now).filter(|_| printer.shows_hints()) {
        printer.hint(&hint);
    }
    Ok(())
}

fn row(key: &IngestionApiKey) -> [String; 4] {
    let ends = key.expiration.map(expiration).unwrap_or_default();
    [key.id.to_string(), key.name.clone(), ends, or_dash(key.description.clone())]
}

fn wide_row(key: &IngestionApiKey) -> [String; 10] {
    let [id, name, ends, description] = row(key);
    let number = |number: Option<u64>| or_dash(number.map(|number| number.to_string()));
    let status = or_dash(key.status.map(|key| status(key).to_owned()));
    [
        id,
        name,
        status,
        ends,
        or_dash(last_use(key)),
        number(key.accepted),
        number(key.failed),
        number(key.denied),
        number(key.bytes),
        description,
    ]
}

/// Returns the hint about keys that expire soon. This function compares expirations with the local
/// clock, because not every server reports the status of a key.
fn expiring(keys: &[IngestionApiKey], now: Timestamp) -> Option<String> {
    let ends_soon = |key: &&IngestionApiKey| {
        let end = key.expiration.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let is_replaced = key.successor.is_some() || key.enabled == Some(false);
        !is_replaced
            && end.is_some_and(|end| end > now && end.duration_since(now) <= EXPIRY_WARNING)
    };
    let mut soon = keys.iter().filter(ends_soon).collect::<Vec<_>>();
    soon.sort_by_key(|key| key.expiration);
    let first = soon.first()?;
    let named = soon.iter().take(MAX_NAMED);
    let mut names = named
        .map(|key| {
            format!(
                "{} ({})",
                escape(&key.name),
                key.expiration.map(expiration).unwrap_or_default()
            )
        })
        .collect::<Vec<_>>();
    if soon.len() > MAX_NAMED {
        names.push(format!("and {} more", soon.len() - MAX_NAMED));
    }
    Some(format!(
        "These keys expire within 14 days: {}. Replace one with `sts ingestion-api-key rotate --id \
         {}`",
        names.join(", "),
        first.id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: some keys have expired, some expire within 14 days, and others expire later or
    // never. One key was rotated.
    // Guarantee: the hint names the keys that expire within 14 days and have no successor. The key
    // that expires first is named first.
    #[test]
    fn keys_that_expire_soon_are_named() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let day = 86_400_000;
        let key = |id, days: Option<i64>| IngestionApiKey {
            id,
            name: format!("k{id}"),
            expiration: days.map(|days| 1_800_000_000_000 / day * day + days * day),
            ..IngestionApiKey::default()
        };
        assert_eq!(expiring(&[key(1, None), key(2, Some(-1)), key(3, Some(15))], now), None);
        let rotated = IngestionApiKey { successor: Some(9), ..key(6, Some(1)) };
        let hint = expiring(&[key(4, Some(13)), key(5, Some(2)), rotated], now).unwrap();
        assert_eq!(
            hint,
            "These keys expire within 14 days: k5 (2027-01-17), k4 (2027-01-28). Replace one with \
             `sts ingestion-api-key rotate --id 5`"
        );
        let many = (0..7).map(|id| key(id, Some(3))).collect::<Vec<_>>();
        assert!(expiring(&many, now).unwrap().contains("k4 (2027-01-18), and 2 more. "));
    }
}
