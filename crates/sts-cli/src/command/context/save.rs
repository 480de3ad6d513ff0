//! `sts context save`.

use std::path::absolute;

use clap::Args;
use ingestion_api::route::API_PATH;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Session, verify};
use crate::command::usage_error;
use crate::config::{Settings, StsContext, of_flag, problem};
use crate::error::{Failure, FailureKind};
use crate::printer::escape;

/// The flags of `save`.
#[derive(Args)]
pub(crate) struct SaveArgs {
    /// Name of the context (default "default")
    #[arg(
        long,
        short,
        value_name = "string",
        default_value = "default",
        hide_default_value = true
    )]
    name: String,
    /// Path of the API below the URL (default "/api")
    #[arg(
        long,
        value_name = "string",
        default_value = API_PATH,
        hide_default_value = true
    )]
    api_path: String,
    /// Do not check that the server accepts the token
    #[arg(long)]
    skip_validate: bool,
}

/// The JSON output. The fields of the context keep their order. The other fields are sorted.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SavedContext<'a> {
    context: &'a StsContext,
    current_context: &'a str,
}

pub(super) fn run(session: &Session<'_>, args: &SaveArgs) -> Result<(), Failure> {
    let (flags, printer) = (session.flags, session.printer);
    let misuse = |message: &str| usage_error(message, &["context", "save"]);
    // Only flags are saved, because settings of the environment apply to every command anyway.
    let url = flags.url.clone().ok_or_else(|| misuse("required flag(s) \"url\" not set"))?;
    if flags.k8s_sa_token.is_some() || flags.k8s_sa_token_path.is_some() {
        return Err(misuse(
            "a Kubernetes service account token cannot be saved, because it is short-lived: give \
             --api-token or --service-token",
        ));
    }
    if args.name.is_empty() {
        return Err(misuse(
            "the name of a context must not be empty: give another one with --name",
        ));
    }
    let api_token = of_flag("api-token", &flags.api_token)?;
    let service_token = of_flag("service-token", &flags.service_token)?;
    if api_token.is_some() == service_token.is_some() {
        return Err(misuse(
            "exactly one of the flags \"api-token\" and \"service-token\" is required",
        ));
    }
    let token = api_token.as_ref().or(service_token.as_ref());
    if let Some(problem) = token.and_then(|token| problem(token.expose_secret())) {
        return Err(Failure::new(FailureKind::Usage, format!("the token {problem}")));
    }
    let context = StsContext {
        url,
        api_token,
        service_token,
        api_path: args.api_path.clone(),
        skip_ssl: flags.skip_ssl.unwrap_or(false),
        ca_cert_path: flags
            .ca_cert
            .as_ref()
            .map(|path| absolute(path).unwrap_or_else(|_| path.clone())),
        ..StsContext::default()
    };
    let file = session.config_file()?;
    // Reports an unreadable file before a request is sent.
    file.read_or_default()?;
    let settings = Settings::from_new_context(&args.name, context.clone())?;
    if !args.skip_validate {
        verify(session, &settings)?;
    }
    let _lock = file.lock()?;
    let mut config = file.read_or_default()?;
    config.save(&args.name, context);
    file.write(&config)?;
    if printer.is_json() {
        return Ok(printer.json(&SavedContext {
            context: config.context(&args.name)?,
            current_context: &args.name,
        })?);
    }
    Ok(printer.success(&format!("Saved context: '{}'", escape(&args.name)))?)
}
