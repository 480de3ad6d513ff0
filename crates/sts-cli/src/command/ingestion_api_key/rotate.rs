//! `sts ingestion-api-key rotate`.

use super::{INGESTION_API_KEY, Session, require_no_token};
use crate::command::key::{self, RotateArgs};
use crate::error::Failure;

pub(super) fn run(session: &Session<'_>, args: &RotateArgs) -> Result<(), Failure> {
    let server = session.connect()?;
    require_no_token(&server, args.key.id)?;
    key::rotate(session, &server, args, &INGESTION_API_KEY)
}
