//! Reads the configuration from files, `--set` options and the environment. Every setting has a
//! default.
//!
//! Each section of `gateway.yaml` has a module here. The syntax is that of the OpenTelemetry
//! Collector ([`otel_confmap`]). All problems are reported at once, each with the path of its
//! setting. No message contains the value of a setting.

mod auth;
mod authorize;
mod cors;
mod identity_headers;
mod limits;
mod management;
mod print;
mod read;
mod receivers;
mod source;
mod storage;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod trusted_proxies;
mod types;
mod upstream;
mod upstream_auth;
mod usage;

use std::time::Duration;

use ipnet::IpNet;
use otel_confmap::{Env, Node, Problem, Report, Value};
use serde::Serialize;

pub use auth::AuthConfig;
pub use authorize::AuthorizeConfig;
pub use cors::CorsConfig;
pub use identity_headers::{IdentityField, IdentityHeaders};
pub use limits::LimitsConfig;
pub use management::ManagementConfig;
pub use receivers::{AgentConfig, GrpcConfig, HttpConfig, OtlpConfig, Protocols, ReceiversConfig};
pub use source::Sources;
pub use storage::{Database, DatabaseError, StorageConfig};
pub use telemetry::{LogFormat, LogsConfig, TelemetryConfig};
pub use tls::{ClientTlsConfig, ServerTlsConfig, TlsVersion};
pub use types::byte_size::ByteSize;
pub use types::endpoint::Endpoint;
pub use types::origin::OriginPattern;
pub use types::upstream_url::UpstreamUrl;
pub use upstream::{DestinationConfig, EndpointConfig, UpstreamConfig};
pub use upstream_auth::UpstreamAuth;
pub use usage::UsageConfig;

use self::read::{listener, section, set, setting, switchable};

/// A valid configuration. Its serialized form is the output of `config print`, with masked secrets.
#[derive(Debug, Serialize)]
pub struct Config {
    /// Where keys are stored.
    pub storage: StorageConfig,
    /// The listeners that receive telemetry.
    pub receivers: ReceiversConfig,
    /// The credentials that are accepted with telemetry.
    pub auth: AuthConfig,
    /// Where telemetry is forwarded to.
    pub upstream: UpstreamConfig,
    /// The limits of requests and connections.
    pub limits: LimitsConfig,
    /// The proxies that are trusted to name the client's address in `X-Forwarded-For`.
    pub trusted_proxies: Vec<IpNet>,
    /// What the store keeps about the use of keys.
    pub usage: UsageConfig,
    /// The management API.
    pub management: Option<ManagementConfig>,
    /// The endpoint that other components ask about keys.
    pub authorize: Option<AuthorizeConfig>,
    /// The gateway's own metrics, health and log.
    pub telemetry: TelemetryConfig,
    /// How long requests in flight may still run after the signal to stop.
    #[serde(serialize_with = "print::duration")]
    pub shutdown_grace: Duration,
}

impl Config {
    /// Reads the sources, and replaces references to environment variables by the values that `env`
    /// returns. Later sources override earlier sources. Returns the configuration and the warnings
    /// about it.
    ///
    /// # Errors
    ///
    /// Returns every problem of all sources.
    pub fn load(sources: &Sources, env: Env<'_>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (value, unread) = sources.read().map_err(|problem| vec![problem])?;
        let value = value.expand(env);
        let report = Report::new();
        let config = Self::read(&value, env, &report);
        let warnings_or_problems = report.finish();
        // A line number is only meaningful if a single file is the only source.
        let with_place = |problem: Problem| match sources.is_one_file() {
            true => problem,
            false => Problem::new(problem.path(), None, problem.message()),
        };
        let all = |problems: Vec<Problem>| problems.into_iter().map(with_place).collect();
        match (warnings_or_problems, config) {
            (Ok(warnings), Some(config)) if unread.is_empty() => Ok((config, all(warnings))),
            (Ok(_), Some(_)) => Err(unread),
            (Ok(_), None) => Err([unread, vec![Problem::new("", None, "expected a map")]].concat()),
            (Err(problems), _) => Err([unread, all(problems)].concat()),
        }
    }

    /// Returns `None` only if `report` has a problem.
    fn read(value: &Value, env: Env<'_>, report: &Report) -> Option<Self> {
        let mut root = Node::root(value, report).map()?;
        let storage = StorageConfig::read(&mut root, env, report);
        let mut receivers = ReceiversConfig::default();
        switchable(&mut root, "receivers", |map| receivers.read(map));
        let mut auth = AuthConfig::default();
        section(&mut root, "auth", |map| auth.read(map));
        let upstream = UpstreamConfig::read(&mut root, &receivers, report);
        let mut limits = LimitsConfig::default();
        section(&mut root, "limits", |map| limits.read(map));
        let trusted_proxies = setting(&mut root, "trusted_proxies");
        let trusted_proxies =
            trusted_proxies.map(|node| trusted_proxies::read(&node)).unwrap_or_default();
        let mut usage = UsageConfig::default();
        section(&mut root, "usage", |map| usage.read(map));
        let directory = storage.as_ref().and_then(StorageConfig::directory);
        let mut management = Some(ManagementConfig::default_in(directory));
        let mut names_file = false;
        listener(&mut root, "management", &mut management, |management, map| {
            names_file = management.read(map);
        });
        if let Some(storage) = storage.as_ref().filter(|_| management.is_some() && !names_file) {
            management::check_default_file(storage, report);
        }
        let mut authorize = Some(AuthorizeConfig::default());
        listener(&mut root, "authorize", &mut authorize, AuthorizeConfig::read);
        let mut telemetry = TelemetryConfig::default();
        switchable(&mut root, "telemetry", |map| telemetry.read(map));
        let mut shutdown_grace = Duration::from_secs(30);
        set(
            &mut shutdown_grace,
            setting(&mut root, "shutdown_grace").and_then(|node| node.duration()),
        );
        root.deny_unknown();
        if receivers.are_off() && management.is_none() && authorize.is_none() {
            let message = "every listener but that of `telemetry` is off: there is nothing to do";
            report.problem(Problem::new("receivers", None, message));
        }
        Some(Self {
            storage: storage?,
            receivers,
            auth,
            upstream,
            limits,
            trusted_proxies,
            usage,
            management,
            authorize,
            telemetry,
            shutdown_grace,
        })
    }

    /// Returns the configuration as YAML, with every default and without secrets.
    ///
    /// # Errors
    ///
    /// When a path is not UTF-8.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }
}
