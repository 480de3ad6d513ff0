//! `sts ingestion-api-key create`.

use clap::Args;
use ingestion_api::GenerateRequest;

use super::{INGESTION_API_KEY, Session};
use crate::command::key::print_new_key;
use crate::command::value::{self, Expiration};
use crate::error::Failure;

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
