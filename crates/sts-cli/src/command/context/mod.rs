//! `sts context`: the contexts of the configuration file.

mod save;

use clap::{Args, Subcommand};
use ingestion_api::ServerInfo;
use reqwest::Url;
use serde::Serialize;
use serde_json::json;

use super::Session;
use crate::client::without_user_info;
use crate::config::{NamedContext, Settings, StsContext};
use crate::error::{Failure, FailureKind};
use crate::printer::{Table, escape, sorted};

/// The commands on contexts, in the order of the help.
#[derive(Subcommand)]
pub(crate) enum ContextCommand {
    /// Delete a context
    #[command(
        long_about = "Delete a context from the configuration file. The current context cannot be \
                      deleted: set or save another one first."
    )]
    Delete(NameArgs),
    /// List all contexts
    #[command(long_about = "List the contexts of the configuration file.")]
    List,
    /// Save a context and make it the current one
    #[command(
        long_about = "Save the URL of a server and a token for it in the configuration file, after \
                      checking that the server accepts the token. The context becomes the current \
                      one."
    )]
    Save(save::SaveArgs),
    /// Set the current context
    #[command(long_about = "Set the context that commands use without the flag --context.")]
    Set(NameArgs),
    /// Show the current context
    #[command(long_about = "Show the name of the current context.")]
    Show,
    /// Check that the server of a context accepts its token
    #[command(
        long_about = "Check that the server of a context accepts the token of the context. Flags \
                      and environment variables for the URL and the token are ignored."
    )]
    Validate(OptionalNameArgs),
}

#[derive(Args)]
pub(crate) struct NameArgs {
    /// Name of the context
    #[arg(long, short, value_name = "string")]
    name: String,
}

#[derive(Args)]
pub(crate) struct OptionalNameArgs {
    /// Name of the context; the default is the current one
    #[arg(long, short, value_name = "string")]
    name: Option<String>,
}

#[derive(Serialize)]
struct ContextList<'a> {
    contexts: &'a [NamedContext],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CurrentContext<'a> {
    current_context: &'a StsContext,
    name: &'a str,
}

impl ContextCommand {
    /// Runs the command.
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Delete(args) => delete(session, &args.name),
            Self::List => list(session),
            Self::Save(args) => save::run(session, args),
            Self::Set(args) => set(session, &args.name),
            Self::Show => show(session),
            Self::Validate(args) => validate(session, args.name.as_deref()),
        }
    }
}

fn list(session: &Session<'_>) -> Result<(), Failure> {
    let config = session.config_file()?.require()?;
    if session.printer.is_json() {
        return Ok(session.printer.json(&ContextList { contexts: &config.contexts })?);
    }
    let rows = config
        .contexts
        .iter()
        .map(|context| [context.name.clone(), display_url(&context.context.url)])
        .collect();
    Ok(session.printer.table(
        &Table { header: ["name", "url"], rows },
        "No contexts found.",
        false,
    )?)
}

fn show(session: &Session<'_>) -> Result<(), Failure> {
    let config = session.config_file()?.require()?;
    if config.current_context.is_empty() {
        return Err(Failure::new(FailureKind::UnknownContext, "there is no current context")
            .with_hint("Set one with `sts context set --name NAME`"));
    }
    let context = config.context(&config.current_context)?;
    if session.printer.is_json() {
        return Ok(session
            .printer
            .json(&CurrentContext { current_context: context, name: &config.current_context })?);
    }
    Ok(session.printer.line(&config.current_context)?)
}

fn set(session: &Session<'_>, name: &str) -> Result<(), Failure> {
    let file = session.config_file()?;
    // Reports a missing file before locking, because locking would create the directory of the
    // file.
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

fn validate(session: &Session<'_>, name: Option<&str>) -> Result<(), Failure> {
    let config = session.config_file()?.require()?;
    let name = name.unwrap_or(&config.current_context);
    let context = config.context(name)?;
    let info = verify(session, &Settings::from_context(name, context.clone())?)?;
    if session.printer.is_json() {
        let value = sorted(&json!({"connected": true, "context": name, "server-info": info}))
            .map_err(std::io::Error::from)?;
        return Ok(session.printer.json(&value)?);
    }
    Ok(session.printer.success(&format!("Context {} is valid.\n", escape(name)))?)
}

fn delete(session: &Session<'_>, name: &str) -> Result<(), Failure> {
    let file = session.config_file()?;
    file.require()?;
    let _lock = file.lock()?;
    let mut config = file.require()?;
    if name == config.current_context {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("cannot delete the current context ({})", escape(name)),
        )
        .with_hint(
            "Set another one first with `sts context set --name NAME`, or save one with `sts \
             context save --name NAME`",
        ));
    }
    config.delete(name)?;
    file.write(&config)?;
    if session.printer.is_json() {
        return Ok(session.printer.json(&json!({"deleted context": name}))?);
    }
    Ok(session.printer.success(&format!("Deleted context '{}'\n", escape(name)))?)
}

/// Checks that the server accepts the token. The version of the server does not matter.
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
            escape(&display_url(&settings.url))
        ))?;
    }
    Ok(info)
}

/// Returns the URL as the user typed it, but without a password.
fn display_url(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            without_user_info(&parsed)
        }
        _ => url.to_owned(),
    }
}
