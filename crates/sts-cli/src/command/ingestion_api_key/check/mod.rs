//! `sts ingestion-api-key check`.

mod probe;

use clap::Args;
use std::io::{self, IsTerminal, Read};

use ingestion_api::{IngestionKey, KEY_PREFIX, KeyFormatError};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::client::{Connection, warn_if_unencrypted, without_user_info};
use crate::command::{Session, usage_error};
use crate::config::{problem, tls_settings};
use crate::error::{Failure, FailureKind};
use probe::{Outcome, Probe, Target};

/// The largest number of bytes that are read from standard input. A key is far shorter.
const MAX_INPUT: u64 = 64 << 10;

/// The result of one check. The fields are in the order of the JSON output.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    message: String,
    ok: bool,
    /// Why the check failed, if it did.
    #[serde(skip)]
    fault: Option<Fault>,
}

/// The kind of a failed check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The text is not a key.
    Format,
    Refused,
    Unreachable,
    Other,
}

#[derive(Serialize)]
struct Report<'a> {
    checks: &'a [Finding],
    ok: bool,
}

/// The flags of `check`.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// OTLP/gRPC endpoint to check
    #[arg(long, value_name = "url")]
    otlp_grpc: Option<String>,
    /// OTLP/HTTP endpoint to check
    #[arg(long, value_name = "url")]
    otlp_http: Option<String>,
    /// Receiver of the agents to check, with or without /receiver and /stsAgent
    #[arg(long, value_name = "url")]
    agent: Option<String>,
    /// Authentication scheme of the OTLP endpoints (default "StackState")
    #[arg(long, value_name = "string", default_value = "StackState", hide_default_value = true)]
    scheme: String,
}

pub(super) fn run(session: &Session<'_>, args: &CheckArgs) -> Result<(), Failure> {
    let printer = session.printer;
    let targets = [
        (Target::OtlpGrpc, &args.otlp_grpc),
        (Target::OtlpHttp, &args.otlp_http),
        (Target::Agent, &args.agent),
    ];
    let urls = targets.into_iter().filter_map(|(target, url)| Some((target, url.as_deref()?)));
    let urls = urls
        .map(|(target, url)| Ok((target, parse_url(target, url)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let (skip_ssl, ca_cert) = tls_settings(session.flags, session.environment)?;
    let connection =
        Connection { skip_ssl: skip_ssl.unwrap_or(false), ca_cert, timeout: session.flags.timeout };
    let is_from_environment = session.environment.get("API_KEY").is_some();
    let key = read_key(session)?;

    let mut findings = vec![check_format(key.expose_secret(), !urls.is_empty())];
    if urls.is_empty() {
        printer.warning(
            "no endpoint was given, so it is unknown whether the key is accepted: give \
             --otlp-grpc, --otlp-http or --agent",
        );
    }
    for (target, url) in urls {
        warn_if_unencrypted(&url, &printer);
        let probe = Probe { target, url: &url, scheme: &args.scheme, key: &key };
        let outcome = probe.run(&connection, printer)?;
        findings.push(Finding {
            check: target.name(),
            endpoint: Some(without_user_info(&url)),
            message: outcome.to_string(),
            ok: outcome.is_accepted(),
            fault: match outcome {
                Outcome::Accepted => None,
                Outcome::Refused(_) => Some(Fault::Refused),
                Outcome::Unreachable(_) => Some(Fault::Unreachable),
                _ => Some(Fault::Other),
            },
        });
    }
    let ok = findings.iter().all(|finding| finding.ok);
    if printer.is_json() {
        printer.json(&Report { checks: &findings, ok })?;
    } else {
        for Finding { check, endpoint, message, ok, .. } in &findings {
            let endpoint =
                endpoint.as_ref().map(|endpoint| format!(" {endpoint}")).unwrap_or_default();
            printer.result(*ok, &format!("{check}{endpoint}: {message}"))?;
        }
    }
    let mut bad = findings.iter().filter(|finding| !finding.ok).peekable();
    if bad.peek().is_none() {
        return Ok(());
    }
    let (bad, mut kind) = (bad.collect::<Vec<_>>(), FailureKind::Response);
    if bad.iter().all(|finding| finding.fault == Some(Fault::Unreachable)) {
        kind = FailureKind::Connection;
    }
    let names = bad.iter().map(|finding| finding.check).collect::<Vec<_>>().join(", ");
    let failure = Failure::new(kind, format!("the key did not pass these checks: {names}"));
    let has = |fault| bad.iter().any(|finding| finding.fault == Some(fault));
    // A key on standard input is not read if there is a variable, which may be forgotten.
    let failure = if is_from_environment && (has(Fault::Format) || has(Fault::Refused)) {
        failure.with_hint("The key was that of the environment variable API_KEY")
    } else {
        failure
    };
    Err(if has(Fault::Format) {
        failure.with_hint(
            "Copy the key again; a key that is lost is replaced with `sts ingestion-api-key rotate \
             --id ID`",
        )
    } else if has(Fault::Refused) {
        failure.with_hint(
            "`sts ingestion-api-key list --wide` shows whether the key has expired, is disabled or \
             does not exist; if it is active, check the port and the scheme, and that the endpoint \
             belongs to the same server",
        )
    } else {
        failure
    })
}

/// Checks the format of the key. A text without the prefix of ingestion API keys may be the shared
/// key of a receiver, which can be any text. Such a text passes if an endpoint is checked too,
/// because then the endpoint decides.
fn check_format(key: &str, has_endpoint: bool) -> Finding {
    let (ok, message) = match (IngestionKey::check(key.as_bytes()), problem(key)) {
        (Ok(()), _) => (true, "this is an ingestion API key with a correct checksum".to_owned()),
        (Err(_), Some(problem)) => (false, format!("the key {problem}")),
        (Err(KeyFormatError::Prefix), None) if has_endpoint => {
            let message = format!(
                "not checked, because the key does not begin with {KEY_PREFIX}; it may be a \
                 receiver API key, which can be any text"
            );
            (true, message)
        }
        (Err(KeyFormatError::Prefix), None) => {
            let message = format!(
                "this is not an ingestion API key, because it does not begin with {KEY_PREFIX}; \
                 whether it is a receiver API key, only an endpoint can tell"
            );
            (false, message)
        }
        (Err(error), None) => (false, format!("{error}: the key was mistyped or cut off")),
    };
    let fault = (!ok).then_some(Fault::Format);
    Finding { check: "format", endpoint: None, message, ok, fault }
}

fn parse_url(target: Target, url: &str) -> Result<Url, Failure> {
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed.ok_or_else(|| {
        let message = format!(
            "invalid argument {url:?} for \"--{}\" flag: expected a URL with http:// or https://",
            target.name()
        );
        usage_error(message, &["ingestion-api-key", "check"])
    })
}

/// Reads the key from the environment, or else from standard input. White space around the key is
/// removed.
fn read_key(session: &Session<'_>) -> Result<SecretString, Failure> {
    let failure = |error: io::Error| {
        Failure::new(
            FailureKind::Usage,
            format!("cannot read the key from standard input ({error})"),
        )
    };
    let text = match session.environment.get("API_KEY") {
        Some(key) => SecretString::from(key),
        None if io::stdin().is_terminal() => {
            rpassword::prompt_password("API key: ").map_err(failure)?.into()
        }
        None => {
            let mut text = String::new();
            io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text).map_err(failure)?;
            text.into()
        }
    };
    match text.expose_secret().trim() {
        "" => Err(usage_error(
            "there is no key: set the environment variable API_KEY, or write the key to standard \
             input",
            &["ingestion-api-key", "check"],
        )),
        key => Ok(SecretString::from(key)),
    }
}
