//! `sts context save`.

use std::path::absolute;

use clap::Args;
use http::HeaderValue;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Session, verify};
use crate::command::usage_error;
use crate::config::{Settings, StsContext, given};
use crate::error::Failure;
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
    /// Path of the API, after the URL (default "/api")
    #[arg(long, value_name = "string", default_value = ingestion_api::route::API_PATH, hide_default_value = true)]
    api_path: String,
    /// Do not ask the server
    #[arg(long)]
    skip_validate: bool,
}

/// The keys of contexts keep their order; those around them are sorted.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Saved<'a> {
    context: &'a StsContext,
    current_context: &'a str,
}

pub(super) fn run(session: &Session<'_>, args: &SaveArgs) -> Result<(), Failure> {
    let (flags, printer) = (session.flags, session.printer);
    let misuse = |message: &str| usage_error(message, &["context", "save"]);
    // Only flags count: what the environment says is in force anyway.
    let url = flags.url.clone().ok_or_else(|| misuse("required flag(s) \"url\" not set"))?;
    if flags.k8s_sa_token.is_some() || flags.k8s_sa_token_path.is_some() {
        return Err(misuse(
            "the token of a Kubernetes service account is not saved: it is short-lived",
        ));
    }
    if args.name.is_empty() {
        return Err(misuse("the name of a context must not be empty"));
    }
    let (api_token, service_token) =
        (given(flags.api_token.clone()), given(flags.service_token.clone()));
    if api_token.is_some() == service_token.is_some() {
        return Err(misuse("exactly one of the flags \"api-token\", \"service-token\" is needed"));
    }
    let token = api_token.as_ref().or(service_token.as_ref());
    if token.is_some_and(|token| HeaderValue::from_str(token.expose_secret()).is_err()) {
        return Err(misuse("the token has a character that no header can carry"));
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
    // One that cannot be changed is told before the server is asked.
    file.read_to_change()?;
    let settings = Settings::of(&args.name, context.clone())?;
    if !args.skip_validate {
        verify(session, &settings)?;
    }
    let _lock = file.lock()?;
    let mut config = file.read_to_change()?;
    config.save(&args.name, context);
    file.write(&config)?;
    if printer.is_json() {
        return Ok(printer
            .json(&Saved { context: config.context(&args.name)?, current_context: &args.name })?);
    }
    Ok(printer.success(&format!("Saved context: '{}'", escape(&args.name)))?)
}
