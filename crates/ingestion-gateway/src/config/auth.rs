//! `auth`: the credentials that are accepted with telemetry.

use std::sync::Arc;

use otel_confmap::{Map, Node};
use otlp_auth::server::FixedTokens;
use otlp_auth::{Credential, CredentialError, Scheme};
use serde::Serialize;

use super::print;
use super::read::{set, setting, strings};

/// The name of the identity that a sender with the receiver API key gets.
const RECEIVER: &str = "receiver";

/// A receiver API key with fewer characters than this causes a warning.
const SHORT_KEY: usize = 16;

/// Schemes that are often pasted together with a key, besides the accepted ones.
const OTHER_SCHEMES: [Scheme; 5] = [
    Scheme::STACKSTATE,
    SUSE_OBSERVABILITY,
    Scheme::from_static("ApiKey"),
    Scheme::from_static("Bearer"),
    Scheme::from_static("Basic"),
];

const SUSE_OBSERVABILITY: Scheme = Scheme::from_static("SUSEObservability");

/// The credentials that are accepted with telemetry.
#[derive(Clone, Debug, Serialize)]
pub struct AuthConfig {
    /// The accepted schemes of the `Authorization` header.
    #[serde(serialize_with = "print::list")]
    pub schemes: Vec<Scheme>,
    /// Whether a receiver API key is set. `config print` shows a mask in place of the key.
    #[serde(serialize_with = "print::secret")]
    pub receiver_api_key: bool,
    /// Whether agents may send their key as a query parameter.
    pub query_parameter: bool,
    /// The receiver API key, which several senders share.
    #[serde(skip)]
    pub receiver: Option<Arc<FixedTokens>>,
    /// Whether the listener `receivers.otlp.protocols.grpc` lets traces in without a key.
    #[cfg(feature = "_bench")]
    #[serde(skip)]
    pub off: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            schemes: vec![Scheme::STACKSTATE, SUSE_OBSERVABILITY],
            receiver_api_key: false,
            query_parameter: true,
            receiver: None,
            #[cfg(feature = "_bench")]
            off: false,
        }
    }
}

impl AuthConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        if let Some(node) = setting(map, "schemes") {
            self.schemes = Vec::new();
            let given = strings(&node);
            if given.is_empty() {
                node.problem("expected at least one scheme");
            }
            for (node, scheme) in given {
                match Scheme::try_from(scheme) {
                    Ok(scheme) => self.schemes.push(scheme),
                    Err(_) => node.problem(
                        "expected an authentication scheme: letters, digits and !#$%&'*+-.^_`|~",
                    ),
                }
            }
        }
        set(
            &mut self.query_parameter,
            setting(map, "query_parameter").and_then(|node| node.bool()),
        );
        #[cfg(feature = "_bench")]
        set(&mut self.off, setting(map, "off").and_then(|node| node.bool()));
        if let Some(node) = map.get_nullable("receiver_api_key") {
            self.read_receiver_key(&node);
        }
    }

    fn read_receiver_key(&mut self, node: &Node<'_>) {
        // Null and an empty value mean that there is no key. `${env:RECEIVER_API_KEY:-}` is empty
        // while the variable is not set. Without the first check, the default of
        // `${env:RECEIVER_API_KEY:-null}` would be a key that anybody can guess.
        if node.is_null() {
            return;
        }
        let Some(key) = node.string().filter(|key| !key.is_empty()) else { return };
        if key == print::MASK {
            return node.problem(
                "is the mask that `config print` shows in place of a key: give the key itself",
            );
        }
        let credential = match Credential::trimmed("", key) {
            Ok(credential) => credential,
            Err(error) => return node.problem(why_no_key(key.trim(), error, &self.schemes)),
        };
        let key = credential.expose_token();
        if key.len() < SHORT_KEY {
            node.warning(format!("is shorter than {SHORT_KEY} characters and can be guessed"));
        }
        if key.starts_with('\'') && key.ends_with('\'') {
            node.warning("begins and ends with a quote, which is a part of the key");
        }
        match FixedTokens::new([(RECEIVER, key)]) {
            Ok(tokens) => {
                (self.receiver, self.receiver_api_key) = (Some(Arc::new(tokens)), true);
            }
            Err(error) => node.problem(error.to_string()),
        }
    }
}

/// Says why this text, which has no blanks at its ends, cannot be a key. The message contains no
/// part of the text but the name of a scheme.
fn why_no_key(text: &str, error: CredentialError, schemes: &[Scheme]) -> String {
    let is_illegal = error == CredentialError::IllegalToken;
    if let Some((first, _)) = text.split_once(char::is_whitespace).filter(|_| is_illegal) {
        let known = schemes.iter().cloned().chain(OTHER_SCHEMES);
        let mut pasted = known.filter(|scheme| scheme.as_str().eq_ignore_ascii_case(first));
        return match pasted.next() {
            Some(scheme) => {
                format!("begins with the scheme {}: give the key alone", scheme.as_str())
            }
            None => "has a blank or a line end inside".to_owned(),
        };
    }
    match error {
        CredentialError::MissingToken => "has only blanks".to_owned(),
        CredentialError::IllegalToken if text.contains('"') => "has a quote".to_owned(),
        CredentialError::IllegalToken if text.contains(',') => "has a comma".to_owned(),
        CredentialError::IllegalToken => "has a character other than visible ASCII".to_owned(),
        // The token is too long.
        error => error.to_string(),
    }
}
