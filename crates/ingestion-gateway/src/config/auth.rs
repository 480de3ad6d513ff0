//! `auth`: the credentials that are accepted with telemetry.

use std::sync::Arc;

use http::HeaderName;
use ingestion_api::{header, route};
use otel_confmap::{Map, Node};
use otlp_auth::Scheme;
use otlp_auth::server::{CredentialExtractor, FixedTokens};
use serde::Serialize;

use super::print;
use super::read::{set, strings};

const API_KEY_SCHEME: Scheme = Scheme::from_static(header::API_KEY_SCHEME);
const STS_API_KEY: HeaderName = HeaderName::from_static(header::STS_API_KEY);
const DD_API_KEY: HeaderName = HeaderName::from_static(header::DD_API_KEY);

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
    pub otlp: CredentialExtractor,
    /// The places of the credential in an agent's request.
    #[serde(skip)]
    pub agent: CredentialExtractor,
}

impl Default for AuthConfig {
    fn default() -> Self {
        let schemes = [Scheme::STACKSTATE, Scheme::from_static("SUSEObservability")];
        let mut auth = Self {
            schemes: schemes.iter().map(Scheme::to_string).collect(),
            receiver_api_key: false,
            query_parameter: true,
            receiver: None,
            otlp: schemes
                .into_iter()
                .fold(CredentialExtractor::empty(), CredentialExtractor::with_scheme),
            agent: CredentialExtractor::empty(),
        };
        auth.agent = auth.agent_extractor();
        auth
    }
}

impl AuthConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        if let Some(node) = map.get("schemes") {
            self.otlp = CredentialExtractor::empty();
            self.schemes = Vec::new();
            for (node, scheme) in strings(&node) {
                match Scheme::try_from(scheme) {
                    Ok(scheme) => self.otlp = self.otlp.clone().with_scheme(scheme),
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
        self.agent = self.agent_extractor();
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

    fn agent_extractor(&self) -> CredentialExtractor {
        let extractor = self.otlp.clone().with_basic_user(header::BASIC_USER);
        let extractor = match self.query_parameter {
            true => extractor.with_query_parameter(
                header::QUERY_PARAMETER,
                ["", route::RECEIVER_PREFIX]
                    .map(|prefix| format!("{prefix}{}/", route::AGENT_PREFIX)),
            ),
            false => extractor,
        };
        extractor
            .with_scheme(API_KEY_SCHEME)
            .with_bare_header(STS_API_KEY)
            .with_bare_header(DD_API_KEY)
    }
}
