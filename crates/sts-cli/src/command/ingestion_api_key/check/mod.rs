//! `sts ingestion-api-key check`.

mod probe;

use clap::Args;
use std::io::{self, IsTerminal, Read};

use ingestion_api::{IngestionKey, KEY_PREFIX, KeyFormatError};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::client::{Connection, shown, warn_of_plaintext};
use crate::command::{Session, usage_error};
use crate::config::tls;
use crate::error::{Failure, Kind};
use probe::{Probe, Target};

/// Far above any key.
const MAX_INPUT: u64 = 64 << 10;

/// One thing that was looked at. The order of the fields is that of the JSON.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    message: String,
    ok: bool,
    /// Whether there was no answer.
    #[serde(skip)]
    is_silent: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    checks: &'a [Finding],
    ok: bool,
}

/// The flags of `check`.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// OTLP/gRPC endpoint to ask
    #[arg(long, value_name = "url")]
    otlp_grpc: Option<String>,
    /// OTLP/HTTP endpoint to ask
    #[arg(long, value_name = "url")]
    otlp_http: Option<String>,
    /// Receiver of the agents to ask, with or without /receiver and /stsAgent
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
        .map(|(target, url)| Ok((target, parse(target, url)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let (skip_ssl, ca_cert) = tls(session.flags, session.environment)?;
    let connection =
        Connection { skip_ssl: skip_ssl.unwrap_or(false), ca_cert, timeout: session.flags.timeout };
    let key = read_key(session)?;

    let mut findings = vec![format(key.expose_secret(), !urls.is_empty())];
    if urls.is_empty() {
        printer.warning("no endpoint was asked, so whether the key is accepted is not known");
    }
    for (target, url) in urls {
        warn_of_plaintext(&url, &printer);
        let probe = Probe { target, url: &url, scheme: &args.scheme, key: &key };
        let outcome = probe.run(&connection, printer)?;
        findings.push(Finding {
            check: target.name(),
            endpoint: Some(shown(&url)),
            message: outcome.to_string(),
            ok: outcome.is_accepted(),
            is_silent: outcome.is_silent(),
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
    let (bad, mut kind) = (bad.collect::<Vec<_>>(), Kind::Answer);
    if bad.iter().all(|finding| finding.is_silent) {
        kind = Kind::Connection;
    }
    let names = bad.iter().map(|finding| finding.check).collect::<Vec<_>>().join(", ");
    Err(Failure::new(kind, format!("the key did not pass: {names}")))
}

/// What the key looks like. Another than ours may be a shared key of the receiver, which can be
/// anything.
fn format(key: &str, is_asked: bool) -> Finding {
    let (ok, message) = match IngestionKey::check(key.as_bytes()) {
        Ok(()) => (true, "an ingestion API key, and its checksum is right".to_owned()),
        Err(KeyFormatError::Prefix) => {
            // Without an answer of an endpoint there is nothing that speaks for it.
            (
                is_asked,
                format!(
                    "no ingestion API key, as it does not begin with {KEY_PREFIX}; it may be a receiver API key"
                ),
            )
        }
        Err(error) => (false, format!("{error}: it was mistyped or cut")),
    };
    Finding { check: "format", endpoint: None, message, ok, is_silent: false }
}

fn parse(target: Target, url: &str) -> Result<Url, Failure> {
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed.ok_or_else(|| {
        let message = format!(
            "invalid argument {url:?} for \"--{}\" flag: expected a URL with http:// or https://",
            target.name()
        );
        usage_error(message, &["ingestion-api-key", "check"])
    })
}

/// The key from the environment, or else from standard input, without what is around it.
fn read_key(session: &Session<'_>) -> Result<SecretString, Failure> {
    let failure = |error: io::Error| {
        Failure::new(Kind::Usage, format!("cannot read the key from standard input ({error})"))
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
            "there is no key in API_KEY and none on standard input",
            &["ingestion-api-key", "check"],
        )),
        key => Ok(SecretString::from(key)),
    }
}
