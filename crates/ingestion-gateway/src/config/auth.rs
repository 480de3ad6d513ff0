//! `auth`: the credentials that are accepted with telemetry.

use std::sync::Arc;

use ingestion_api::{header, route};
use otel_confmap::{Map, Node};
use otlp_auth::server::{FixedTokens, Lookup};
use serde::Serialize;

use super::print;
use super::read::{set, strings};

/// The name of the identity of the receiver API key.
const RECEIVER: &str = "receiver";

/// A receiver API key with fewer characters than this causes a warning.
const SHORT_KEY: usize = 16;

/// The credentials that are accepted with telemetry.
#[derive(Clone, Debug, Serialize)]
pub struct AuthConfig {
    /// The accepted schemes of the `Authorization` header.
    pub schemes: Vec<String>,
    /// Whether a receiver API key is set; it is printed as a mask.
    #[serde(serialize_with = "print::secret")]
    pub receiver_api_key: bool,
    /// Whether agents may send their key as a query parameter.
    pub query_parameter: bool,
    /// The receiver API key, which several senders share.
    #[serde(skip)]
    pub receiver: Option<Arc<FixedTokens>>,
    /// The places of the credential in an OTLP request.
    #[serde(skip)]
    pub otlp: Lookup,
    /// The places of the credential in an agent's request.
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
        // An empty value means no key, as in the documented `${env:RECEIVER_API_KEY:-}`.
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
                "expected at most 4096 characters of visible ASCII without comma and quote",
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
