//! A Collector's configuration file.

use std::collections::BTreeMap;
use std::path::Path;

use otel_confmap::{ConfigError, Env, Map, Node, Problem, Report, Value};
use otlp_auth::config::BearerTokenAuthConfig;

use super::ExporterConfig;
use super::exporter::Protocol;

const AUTHENTICATOR: &str = "bearertokenauth";

/// The OTLP exporters of a Collector's configuration file.
///
/// Three parts of the file are read: the `exporters` of the types `otlp`, `otlp_grpc`, `otlphttp`
/// and `otlp_http`, the `bearertokenauth` extensions that they use, and `service.extensions`. The
/// rest of the file is ignored.
///
/// # Examples
///
/// ```
/// use otlp_auth_examples::collector_config::{CollectorConfig, Signal};
///
/// let config = CollectorConfig::from_yaml(
///     "
/// extensions:
///   bearertokenauth:
///     scheme: StackState
///     token: ${env:API_KEY}
/// receivers:
///   otlp:
///     protocols:
///       grpc:
///         endpoint: 127.0.0.1:24317
/// exporters:
///   otlphttp/stackstate:
///     endpoint: https://otlp-http.example.com
///     auth:
///       authenticator: bearertokenauth
/// service:
///   extensions: [bearertokenauth]
///   pipelines:
///     traces: {receivers: [otlp], exporters: [otlphttp/stackstate]}
///     metrics: {receivers: [otlp], exporters: [otlphttp/stackstate]}
///     logs: {receivers: [otlp], exporters: [otlphttp/stackstate]}
/// ",
///     &|name| (name == "API_KEY").then(|| "iapikeyok-example".to_owned()),
/// )?;
/// let exporter = config.exporter(None)?;
/// assert_eq!(exporter.id(), "otlphttp/stackstate");
/// assert_eq!(exporter.signal_endpoint(Signal::Traces).unwrap(), "https://otlp-http.example.com/v1/traces");
/// assert_eq!(exporter.auth().unwrap().scheme().unwrap().as_str(), "StackState");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CollectorConfig {
    exporters: Vec<ExporterConfig>,
    warnings: Vec<Problem>,
}

/// Why [`CollectorConfig::exporter`] returns no exporter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectExporterError {
    /// The file has no OTLP exporter.
    #[error("the configuration has no exporter of type otlp, otlp_grpc, otlphttp or otlp_http")]
    NoExporter,
    /// There are several exporters, and no name was given.
    #[error("the configuration has several OTLP exporters, name one of {}", ids.join(", "))]
    Ambiguous {
        /// The ids of the exporters.
        ids: Vec<String>,
    },
    /// There is no OTLP exporter of the given name.
    #[error("the configuration has no such OTLP exporter, there is {}", ids.join(", "))]
    Unknown {
        /// The ids of the exporters that exist.
        ids: Vec<String>,
    },
}

impl CollectorConfig {
    /// Reads a file; `env` looks up environment variables.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and as for [`from_yaml`](Self::from_yaml).
    pub fn from_file(path: impl AsRef<Path>, env: Env<'_>) -> Result<Self, ConfigError> {
        Self::read(Value::read_file(path.as_ref())?, env)
    }

    /// Reads a text; `env` looks up environment variables.
    ///
    /// # Errors
    ///
    /// All problems of the text: it is not YAML, or a setting that is read is not valid.
    pub fn from_yaml(text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        Self::read(Value::parse(text)?, env)
    }

    /// The OTLP exporters, in the order of the file.
    #[must_use]
    pub fn exporters(&self) -> &[ExporterConfig] {
        &self.exporters
    }

    /// The exporter with the id `name`, as in `otlp/stackstate`; without a name, the only exporter.
    ///
    /// # Errors
    ///
    /// When no exporter has that name; without a name, when there is not exactly one exporter.
    pub fn exporter(&self, name: Option<&str>) -> Result<&ExporterConfig, SelectExporterError> {
        let ids = || self.exporters.iter().map(|exporter| exporter.id().to_owned()).collect();
        match (name, self.exporters.as_slice()) {
            (_, []) => Err(SelectExporterError::NoExporter),
            (None, [only]) => Ok(only),
            (None, _) => Err(SelectExporterError::Ambiguous { ids: ids() }),
            (Some(name), exporters) => exporters
                .iter()
                .find(|exporter| exporter.id() == name)
                .ok_or_else(|| SelectExporterError::Unknown { ids: ids() }),
        }
    }

    /// Warnings about a valid file, for example about settings without effect.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    fn read(value: Value, env: Env<'_>) -> Result<Self, ConfigError> {
        let value = value.expand(env);
        let report = Report::new();
        let exporters = Node::root(&value, &report).map().map(exporters).unwrap_or_default();
        let warnings = report.finish()?;
        Ok(Self { exporters, warnings })
    }
}

fn exporters(mut root: Map<'_>) -> Vec<ExporterConfig> {
    let extensions = Extensions::read(&mut root);
    let mut exporters = Vec::new();
    if let Some(mut map) = root.get("exporters").and_then(|node| node.map()) {
        for (id, node) in map.entries() {
            if let Some(protocol) = Protocol::of_type(type_of(id)) {
                exporters.extend(ExporterConfig::read(id, protocol, &node, &|name| {
                    extensions.resolve(name)
                }));
            }
        }
    }
    for known in ["receivers", "processors", "connectors"] {
        root.get(known);
    }
    root.warn_unknown();
    exporters
}

/// The `bearertokenauth` extensions of a file.
struct Extensions<'a> {
    defined: BTreeMap<&'a str, Node<'a>>,
    /// The ids in `service.extensions`, if the file has a `service`.
    enabled: Option<Vec<&'a str>>,
}

impl<'a> Extensions<'a> {
    fn read(root: &mut Map<'a>) -> Self {
        let entries = root
            .get("extensions")
            .and_then(|node| node.map())
            .map(|mut map| map.entries())
            .unwrap_or_default();
        let defined: BTreeMap<_, _> =
            entries.into_iter().filter(|(id, _)| type_of(id) == AUTHENTICATOR).collect();
        let enabled = root.get("service").map(|service| {
            let listed = service
                .map()
                .and_then(|mut map| map.get("extensions"))
                .and_then(|node| node.list())
                .unwrap_or_default();
            listed
                .iter()
                .filter_map(|node| Some((node.string()?, node)))
                .map(|(id, node)| Self::check(&defined, id, node))
                .collect()
        });
        Self { defined, enabled }
    }

    /// Checks an extension in `service.extensions`. It must be defined, and it must be valid even
    /// if no exporter uses it.
    fn check(defined: &BTreeMap<&str, Node<'_>>, id: &'a str, node: &Node<'_>) -> &'a str {
        match defined.get(id) {
            Some(extension) => drop(BearerTokenAuthConfig::read(extension)),
            None if type_of(id) == AUTHENTICATOR => {
                node.problem(format!("is not defined in `extensions`; {}", list(defined)))
            }
            None => {}
        }
        id
    }

    /// Returns the configuration of the extension with this name.
    fn resolve(&self, name: &Node<'a>) -> Option<BearerTokenAuthConfig> {
        let id = name.string()?;
        let Some(extension) = self.defined.get(id) else {
            name.problem(format!(
                "is not a `{AUTHENTICATOR}` extension of this file; {}",
                list(&self.defined)
            ));
            return None;
        };
        match &self.enabled {
            Some(enabled) if !enabled.contains(&id) => {
                name.problem("the extension is defined but not started: add it to `service.extensions`")
            }
            Some(_) => {}
            None => name.warning("the file has no `service`: a Collector would need the extension in `service.extensions`"),
        }
        BearerTokenAuthConfig::read(extension)
    }
}

fn list(defined: &BTreeMap<&str, Node<'_>>) -> String {
    // The id is the last part of the path of a node. If a reference was substituted, the path of
    // the node has another form.
    let ids: Vec<_> =
        defined.values().map(|node| node.path().trim_start_matches("extensions.")).collect();
    if ids.is_empty() {
        "none is defined".to_owned()
    } else {
        format!("defined are: {}", ids.join(", "))
    }
}

/// Returns the type in `type/name`.
fn type_of(id: &str) -> &str {
    id.split_once('/').map_or(id, |(kind, _)| kind)
}
