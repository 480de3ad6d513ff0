//! `sts version`.

use serde_json::json;

use super::Session;
use crate::error::Failure;
use crate::printer::Table;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The values of environment variables at compile time. The build of a release sets these
/// variables.
const BUILD_DATE: Option<&str> = option_env!("STS_BUILD_DATE");
const COMMIT: Option<&str> = option_env!("STS_COMMIT");

pub(crate) fn run(session: &Session<'_>) -> Result<(), Failure> {
    let (build_date, commit) = (BUILD_DATE.unwrap_or_default(), COMMIT.unwrap_or_default());
    if session.printer.is_json() {
        return Ok(session
            .printer
            .json(&json!({"build-date": build_date, "commit": commit, "version": VERSION}))?);
    }
    if BUILD_DATE.is_none() && COMMIT.is_none() {
        let rows = vec![[VERSION.to_owned()]];
        return Ok(session.printer.table(&Table { header: ["version"], rows }, "", false)?);
    }
    let rows = vec![[VERSION, build_date, commit].map(str::to_owned)];
    Ok(session.printer.table(
        &Table { header: ["version", "build date", "commit"], rows },
        "",
        false,
    )?)
}
