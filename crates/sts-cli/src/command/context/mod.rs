//! `sts context`.

use std::path::absolute;

use http::HeaderValue;
use ingestion_api::ServerInfo;
use reqwest::Url;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;

use super::Session;
use crate::cli::SaveArgs;
use crate::client::shown;
use crate::config::{NamedContext, Settings, StsContext, given};
use crate::error::{Failure, Kind};
use crate::printer::{Table, escape, sorted};

/// The keys of contexts keep their order; those around them are sorted.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Saved<'a> {
    context: &'a StsContext,
    current_context: &'a str,
}

#[derive(Serialize)]
struct Listed<'a> {
    contexts: &'a [NamedContext],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown<'a> {
    current_context: &'a StsContext,
    name: &'a str,
}

pub(super) fn save(session: &Session<'_>, args: &SaveArgs) -> Result<(), Failure> {
    let (flags, printer) = (session.flags, session.printer);
    let misuse = |message: &str| session.misuse(message, &["context", "save"]);
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

pub(super) fn list(session: &Session<'_>) -> Result<(), Failure> {
    let config = session.config_file()?.require()?;
    if session.printer.is_json() {
        return Ok(session.printer.json(&Listed { contexts: &config.contexts })?);
    }
    let rows = config
        .contexts
        .iter()
        .map(|context| [context.name.clone(), shown_url(&context.context.url)])
        .collect();
    Ok(session.printer.table(
        &Table { header: ["name", "url"], rows },
        "No contexts found.",
        false,
    )?)
}

pub(super) fn show(session: &Session<'_>) -> Result<(), Failure> {
    let config = session.config_file()?.require()?;
    if config.current_context.is_empty() {
        return Err(Failure::new(Kind::UnknownContext, "there is no current context")
            .with_hint("Set one: `sts context set --name NAME`"));
    }
    let context = config.context(&config.current_context)?;
    if session.printer.is_json() {
        return Ok(session
            .printer
            .json(&Shown { current_context: context, name: &config.current_context })?);
    }
    Ok(session.printer.line(&config.current_context)?)
}

pub(super) fn set(session: &Session<'_>, name: &str) -> Result<(), Failure> {
    let file = session.config_file()?;
    // Without a file there is nothing to lock.
    file.require()?;
    let _lock = file.lock()?;
    let mut config = file.require()?;
    config.context(name)?;
    name.clone_into(&mut config.current_context);
    file.write(&config)?;
    if session.printer.is_json() {
        return Ok(session.printer.json(&json!({"current-context": name}))?);
    }
    Ok(session.printer.line(&format!("Current context set to {name}"))?)
}

pub(super) fn validate(session: &Session<'_>, name: Option<&str>) -> Result<(), Failure> {
    let config = session.config_file()?.require()?;
    let name = name.unwrap_or(&config.current_context);
    let context = config.context(name)?;
    let info = verify(session, &Settings::of(name, context.clone())?)?;
    if session.printer.is_json() {
        let value = sorted(&json!({"connected": true, "context": name, "server-info": info}))
            .map_err(std::io::Error::from)?;
        return Ok(session.printer.json(&value)?);
    }
    Ok(session.printer.success(&format!("Context {} is valid.\n", escape(name)))?)
}

pub(super) fn delete(session: &Session<'_>, name: &str) -> Result<(), Failure> {
    let file = session.config_file()?;
    file.require()?;
    let _lock = file.lock()?;
    let mut config = file.require()?;
    if name == config.current_context {
        return Err(Failure::new(
            Kind::Usage,
            format!("cannot delete the current context ({})", escape(name)),
        )
        .with_hint("Set another one first: `sts context set --name NAME`"));
    }
    config.delete(name)?;
    file.write(&config)?;
    if session.printer.is_json() {
        return Ok(session.printer.json(&json!({"deleted context": name}))?);
    }
    Ok(session.printer.success(&format!("Deleted context '{}'\n", escape(name)))?)
}

/// Asks the server whether it takes the token. Its version does not matter here.
fn verify(session: &Session<'_>, settings: &Settings) -> Result<ServerInfo, Failure> {
    let info = session.server(settings)?.info()?;
    if !session.printer.is_json() {
        let version = match &info.platform_version {
            Some(version) if !version.is_empty() => {
                format!("Platform version: {}", escape(version))
            }
            _ => format!("StackState version: {}", escape(&info.version.to_string())),
        };
        session.printer.success(&format!(
            "Connection verified to {} ({version})",
            escape(&shown_url(&settings.url))
        ))?;
    }
    Ok(info)
}

/// As it was typed, unless there is a password in it.
fn shown_url(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            shown(&parsed)
        }
        _ => url.to_owned(),
    }
}
