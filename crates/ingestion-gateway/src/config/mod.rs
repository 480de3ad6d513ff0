//! What the gateway is told: files, `--set`, the environment, and a default for everything.
//!
//! The language is that of the Collector ([`otlp_auth::confmap`]). Every problem is told at once,
//! with its path; no message holds a value. What a later version will know is an error that says
//! so, never ignored.

mod auth;
mod limits;
mod listener;
mod print;
mod source;
mod storage;
#[cfg(test)]
mod tests;
mod types;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use otlp_auth::confmap::{Env, Map, Node, Problem, Report, Value};
use serde::Serialize;

pub use auth::AuthConfig;
pub use limits::{LimitsConfig, UsageConfig};
pub use listener::{
    AgentConfig, AuthorizeConfig, CorsConfig, GrpcConfig, HttpConfig, LogFormat, LogsConfig,
    ManagementConfig, OtlpConfig, Protocols, ReceiversConfig, TelemetryConfig,
};
pub use source::Sources;
pub use storage::StorageConfig;
pub use types::byte_size::ByteSize;
pub use types::endpoint::Endpoint;

/// Said of keys that are in the documentation and not in this version.
const NOT_BUILT: &str = "not built yet in this version";

/// A configuration that can be used. Serialized it is what `config print` shows: secrets are
/// masked.
#[derive(Debug, Serialize)]
pub struct Config {
    /// Where keys are kept.
    pub storage: StorageConfig,
    /// Where telemetry comes in.
    pub receivers: ReceiversConfig,
    /// Which credentials telemetry comes with.
    pub auth: AuthConfig,
    /// What one client may use up.
    pub limits: LimitsConfig,
    /// Whose forwarding headers name the address of the client.
    pub trusted_proxies: Vec<IpNet>,
    /// What is kept of how keys are used.
    pub usage: UsageConfig,
    /// The management API.
    pub management: ManagementConfig,
    /// The authorize endpoint.
    pub authorize: AuthorizeConfig,
    /// Metrics, health and logs.
    pub telemetry: TelemetryConfig,
    /// How long requests in flight may go on after the signal to stop.
    #[serde(serialize_with = "print::duration")]
    pub shutdown_grace: Duration,
}

impl Config {
    /// Reads the sources, later ones over earlier ones, and substitutes from `env`. Returns
    /// warnings besides.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn load(sources: &Sources, env: Env<'_>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (value, unread) = sources.read().map_err(|problem| vec![problem])?;
        let value = value.expand(env);
        let report = Report::new();
        let config = Self::read(&value, env, &report);
        let told = report.finish();
        // With several sources a line says nothing.
        let where_it_is = |problem: Problem| match sources.is_one_file() {
            true => problem,
            false => Problem::new(problem.path(), None, problem.message()),
        };
        let all = |problems: Vec<Problem>| problems.into_iter().map(where_it_is).collect();
        match (told, config) {
            (Ok(warnings), Some(config)) if unread.is_empty() => Ok((config, all(warnings))),
            (Ok(_), Some(_)) => Err(unread),
            (Ok(_), None) => Err([unread, vec![Problem::new("", None, "expected a map")]].concat()),
            (Err(problems), _) => Err([unread, all(problems)].concat()),
        }
    }

    /// Nothing only if there is a problem.
    fn read(value: &Value, env: Env<'_>, report: &Report) -> Option<Self> {
        let mut root = Node::root(value, report).map()?;
        let storage = StorageConfig::read(&mut root, env, report);
        let mut management = ManagementConfig::default();
        let mut receivers = ReceiversConfig::default();
        let mut auth = AuthConfig::default();
        let mut limits = LimitsConfig::default();
        let mut usage = UsageConfig::default();
        let mut authorize = AuthorizeConfig::default();
        let mut telemetry = TelemetryConfig::default();
        let mut shutdown_grace = Duration::from_secs(30);
        section(&mut root, "receivers", |map| receivers.read(map));
        section(&mut root, "auth", |map| auth.read(map));
        if let Some(node) = root.get("upstream") {
            node.problem(format!(
                "{NOT_BUILT}: without it what is received is counted and discarded"
            ));
        }
        section(&mut root, "limits", |map| limits.read(map, value));
        let trusted_proxies =
            root.get("trusted_proxies").map(|node| networks(&node)).unwrap_or_default();
        section(&mut root, "usage", |map| usage.read(map));
        section(&mut root, "management", |map| management.read(map));
        section(&mut root, "authorize", |map| authorize.read(map));
        section(&mut root, "telemetry", |map| telemetry.read(map));
        set(&mut shutdown_grace, root.get("shutdown_grace").and_then(|node| node.duration()));
        root.deny_unknown();
        let storage = storage?;
        if management.admin_token_file.as_os_str().is_empty() {
            management.admin_token_file = storage
                .path
                .parent()
                .map_or_else(PathBuf::new, |parent| parent.join("admin-tokens"));
        }
        Some(Self {
            storage,
            receivers,
            auth,
            limits,
            trusted_proxies,
            usage,
            management,
            authorize,
            telemetry,
            shutdown_grace,
        })
    }

    /// The configuration as YAML, with every default and without secrets.
    ///
    /// # Errors
    ///
    /// When a path cannot be written as text.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }
}

/// Reads a map under `key`, if there is one; what `read` does not ask for is unknown.
fn section<'a>(map: &mut Map<'a>, key: &str, read: impl FnOnce(&mut Map<'a>)) {
    if let Some(mut section) = map.get(key).and_then(|node| node.map()) {
        read(&mut section);
        section.deny_unknown();
    }
}

/// Replaces a default by what is given.
fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// A duration that is not nothing.
fn positive_duration(node: &Node<'_>) -> Option<Duration> {
    let duration = node.duration()?;
    if duration.is_zero() {
        node.problem("must be longer than nothing");
        return None;
    }
    Some(duration)
}

/// A number from 1 on that fits.
fn positive<T: TryFrom<u64>>(node: &Node<'_>) -> Option<T> {
    let number = node.u64()?;
    let fits = T::try_from(number).ok().filter(|_| number > 0);
    if fits.is_none() {
        node.problem("must be at least 1, and not as large");
    }
    fits
}

fn strings<'a>(node: &Node<'a>) -> Vec<(Node<'a>, &'a str)> {
    let items = node.list().unwrap_or_default();
    items.into_iter().filter_map(|item| item.string().map(|text| (item, text))).collect()
}

fn networks(node: &Node<'_>) -> Vec<IpNet> {
    let network = |(node, text): (Node<'_>, &str)| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map_err(|_| node.problem("expected an IP address or a network, as in 10.0.0.0/8"))
            .ok()
    };
    strings(node).into_iter().filter_map(network).collect()
}
