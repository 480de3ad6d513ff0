//! `sts ingestion-api-key rotate`.

use super::Session;
use super::create::print_secret;
use crate::cli::{RotateArgs, rotate_request};
use crate::error::Failure;

pub(crate) fn run(session: &Session<'_>, args: &RotateArgs) -> Result<(), Failure> {
    let server = session.connect()?;
    let key = server.rotate(args.key.id, rotate_request(args.overlap, args.expiration))?;
    print_secret(&session.printer, &key)?;
    if session.printer.has_reader() {
        let overlap = args.overlap.map_or_else(
            || "24h".to_owned(),
            |overlap| humantime::format_duration(overlap).to_string(),
        );
        session.printer.hint(&format!(
            "The new key has the id {}; {} is let in for another {overlap} at most.",
            key.key.id, args.key.id
        ));
    }
    Ok(())
}
