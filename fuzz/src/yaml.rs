//! Feeds the parsers of configurations.

use std::fs;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use ingestion_gateway::config::{Config, Sources};
use otel_confmap::{ConfigError, Problem, Value};
use otlp_auth::config::{BearerTokenAuthConfig, TokenSource};
use otlp_auth_examples::collector_config::CollectorConfig;
use tempfile::NamedTempFile;

use crate::mutate::{mutate_text, pick};
use crate::target::{Current, Finding, Target, check};

const GATEWAY: &str = include_str!("../../crates/ingestion-gateway/gateway.yaml");

const COLLECTOR: &str = r#"
extensions:
  bearertokenauth:
    scheme: StackState
    token: "${env:API_KEY}"
  bearertokenauth/file: {filename: /run/token, header: x-key}
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:0"}}}
exporters:
  otlp/stackstate:
    auth: &auth {authenticator: bearertokenauth}
    endpoint: https://otlp.example.com:443
    compression: snappy
    tls: {ca_file: ca.pem, server_name_override: localhost}
    retry_on_failure: {initial_interval: 100ms, max_interval: 1.5s, max_elapsed_time: 1h10m}
    headers: {x-tenant: "a b", y: 'it''s'}
  otlphttp:
    auth: *auth
    endpoint: http://127.0.0.1:4318
    timeout: 5s
    encoding: json
service:
  extensions: [bearertokenauth]
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp/stackstate, otlphttp]}
"#;

const BEARER: &str = r#"
scheme: StackState
token: "${env:API_KEY}"
header: authorization
"#;

/// Parts of YAML and of the Collector's language.
const WORDS: &[&[u8]] = &[
    b"${env:NAME}",
    b"${NAME}",
    b"${env:NAME:-x}",
    b"${file:/dev/null}",
    b"$$",
    b"${",
    b"}",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!str ",
    b"!!binary ",
    b"- ",
    b": ",
    b"? ",
    b"| \n  ",
    b">-\n",
    b"---\n",
    b"...\n",
    b"%YAML 1.2\n",
    b"#",
    b"\t",
    b"\r\n",
    b"'",
    b"\"",
    b"[",
    b"]",
    b"{",
    b"}",
    b"~",
    b"null",
    b"true",
    b"1e999",
    b"0x7fffffffffffffff",
    b"-9223372036854775809",
    b".inf",
    b"9999999999h",
    b"20MiB",
    b"999999999999GiB",
    b"127.0.0.1:65536",
    b"[::1]:0",
    b"0.0.0.0/0",
    "\u{feff}".as_bytes(),
    "\u{85}\u{2028}".as_bytes(),
    b"token: ",
    b"filename: ",
    b"endpoint: ",
    b"compression: zstd",
];

/// The value of the variable `API_KEY`. No problem may show it.
const SECRET: &str = "iapikeyok-Canary00-InTheEnv-ironment-1a2b3c";

/// The parsers of configurations.
#[derive(Debug)]
pub(crate) struct Yaml {
    file: NamedTempFile,
}

impl Yaml {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { file: NamedTempFile::new().context("a temporary file")? })
    }

    /// Loads a configuration of the gateway. What it prints must load again, and be the same.
    fn check_gateway(&self, text: &str, current: &Current) -> Result<(), Finding> {
        let Some((config, warnings)) = self.load(text)? else { return Ok(()) };
        current.accept();
        without_secret(&warnings)?;
        let printed = config.to_yaml().map_err(|error| format!("cannot be printed: {error}"))?;
        check(!printed.contains(SECRET), || "the printed configuration has the secret".to_owned())
    }

    fn load(&self, text: &str) -> Result<Option<(Config, Vec<Problem>)>, Finding> {
        fs::write(self.file.path(), text).map_err(|error| format!("a temporary file: {error}"))?;
        let sources = Sources { files: vec![self.file.path().to_owned()], sets: Vec::new() };
        match Config::load(&sources, &env) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(problems) => {
                check(!problems.is_empty(), || "refused without a reason".to_owned())?;
                without_secret(&problems)?;
                Ok(None)
            }
        }
    }
}

impl Target for Yaml {
    fn run(&mut self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        let sample = *pick(rng, &[GATEWAY, COLLECTOR, BEARER]);
        let text = mutate_text(rng, sample, WORDS);
        current.set(text.as_bytes());
        if let Ok(value) = Value::parse(&text) {
            let _ = value.expand(&env);
        }
        match sample {
            GATEWAY => self.check_gateway(&text, current),
            COLLECTOR => match CollectorConfig::from_yaml(&text, &env) {
                Ok(config) => without_secret(config.warnings()),
                Err(error) => refused(&error),
            },
            _ => match BearerTokenAuthConfig::from_yaml(&text, &env) {
                Ok(config) => {
                    let shown = format!("{config:?}").contains(SECRET);
                    check(!shown || is_public(&config), || "Debug shows the secret".to_owned())
                }
                Err(error) => refused(&error),
            },
        }
    }
}

/// Returns whether the value of the variable is in a part of the block that is no secret. A
/// mutation can turn the key of the value into another one.
fn is_public(config: &BearerTokenAuthConfig) -> bool {
    let in_scheme = config.scheme().is_some_and(|scheme| scheme.as_str().contains(SECRET));
    in_scheme || matches!(config.source(), TokenSource::File(_))
}

fn refused(error: &ConfigError) -> Result<(), Finding> {
    check(!error.problems().is_empty(), || "refused without a reason".to_owned())?;
    without_secret(error.problems())
}

/// Checks that no problem shows the value of a variable.
fn without_secret(problems: &[Problem]) -> Result<(), Finding> {
    match problems.iter().map(Problem::to_string).find(|problem| problem.contains(SECRET)) {
        Some(problem) => Err(format!("the secret is in: {problem}")),
        None => Ok(()),
    }
}

fn env(name: &str) -> Option<String> {
    let value = match name {
        "API_KEY" => SECRET,
        "HOME" => "/home/ops",
        "EMPTY" => "",
        "NAME" => "a: [1, {b: \"c\"}]",
        _ => return None,
    };
    Some(value.to_owned())
}
