//! Which credentials telemetry comes with.

use std::sync::Arc;

use ingestion_api::{header, route};
use otlp_auth::confmap::{Map, Node};
use otlp_auth::server::{FixedTokens, Lookup};
use serde::Serialize;

use super::print;
use super::read::{set, strings};

/// The identity of the shared key.
const RECEIVER: &str = "receiver";

/// A shared key shorter than this is worth a warning.
const SHORT_KEY: usize = 16;

/// Which credentials telemetry comes with.
#[derive(Clone, Debug, Serialize)]
pub struct AuthConfig {
    /// Schemes of the Authorization header.
    pub schemes: Vec<String>,
    /// Whether there is a shared key, which is masked.
    #[serde(serialize_with = "print::secret")]
    pub receiver_api_key: bool,
    /// Whether agents may send their key in the query.
    pub query_parameter: bool,
    /// The shared key.
    #[serde(skip)]
    pub receiver: Option<Arc<FixedTokens>>,
    /// Where the credential of OTLP requests is.
    #[serde(skip)]
    pub otlp: Lookup,
    /// Where that of the agents is: they have many places.
    #[serde(skip)]
    pub agent: Lookup,
}

impl Default for AuthConfig {
    fn default() -> Self {
        let schemes = ["StackState", "SUSEObservability"];
        let mut auth = Self {
            schemes: schemes.map(str::to_owned).into(),
            receiver_api_key: false,
            query_parameter: true,
            receiver: None,
            otlp: Lookup::nowhere(),
            agent: Lookup::nowhere(),
        };
        for scheme in schemes {
            auth.otlp = auth.otlp.clone().with_scheme(scheme).unwrap_or(auth.otlp);
        }
        auth.agent = auth.agent_lookup();
        auth
    }
}

impl AuthConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        if let Some(node) = map.get("schemes") {
            self.otlp = Lookup::nowhere();
            self.schemes = Vec::new();
            for (node, scheme) in strings(&node) {
                match self.otlp.clone().with_scheme(scheme) {
                    Ok(lookup) => self.otlp = lookup,
                    Err(_) => node.problem(
                        "expected an authentication scheme: letters, digits and !#$%&'*+-.^_`|~",
                    ),
                }
                self.schemes.push(scheme.to_owned());
            }
            if self.schemes.is_empty() {
                node.problem("expected at least one scheme");
            }
        }
        set(&mut self.query_parameter, map.get("query_parameter").and_then(|node| node.bool()));
        if let Some(node) = map.get("receiver_api_key") {
            self.read_receiver_key(&node);
        }
        self.agent = self.agent_lookup();
    }

    fn read_receiver_key(&mut self, node: &Node<'_>) {
        // Nothing at all is as good as not given: the documented `${env:RECEIVER_API_KEY:-}`.
        let Some(key) = node.string().filter(|key| !key.is_empty()) else { return };
        if key == print::MASK {
            return node.problem(
                "is the mask that `config print` shows in place of a key: give the key itself",
            );
        }
        match FixedTokens::new([(RECEIVER, key)]) {
            Ok(tokens) => {
                if key.len() < SHORT_KEY {
                    node.warning(format!(
                        "is shorter than {SHORT_KEY} characters and can be guessed"
                    ));
                }
                (self.receiver, self.receiver_api_key) = (Some(Arc::new(tokens)), true);
            }
            Err(_) => node.problem(
                "expected at most 4096 characters of visible ASCII, without comma and quote",
            ),
        }
    }

    fn agent_lookup(&self) -> Lookup {
        let lookup = self.otlp.clone().with_basic_user(header::BASIC_USER);
        let lookup = match self.query_parameter {
            true => lookup.with_query_parameter(
                header::QUERY_PARAMETER,
                ["", route::RECEIVER_PREFIX]
                    .map(|prefix| format!("{prefix}{}/", route::AGENT_PREFIX)),
            ),
            false => lookup,
        };
        // Constants, and legal.
        let lookup = lookup.clone().with_scheme(header::API_KEY_SCHEME).unwrap_or(lookup);
        let lookup = lookup.clone().with_bare_header(header::STS_API_KEY).unwrap_or(lookup);
        lookup.clone().with_bare_header(header::DD_API_KEY).unwrap_or(lookup)
    }
}
