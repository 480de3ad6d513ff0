//! The Collector's configuration of its `bearertokenauth` extension.
//!
//! [`BearerTokenAuthConfig`] has the Collector's keys and defaults. [`otel_confmap`] reads the
//! configuration language. All problems of a block are reported together, and no message contains a
//! value.
//!
//! # Differences from the Collector
//!
//! The configuration language has [differences](otel_confmap#differences-from-the-collector). In
//! addition, the block has these differences:
//!
//! | here | in the Collector |
//! |---|---|
//! | two of `token`, `tokens` and `filename` are an error | only `token` together with `tokens` is an error; `filename` together with either is ignored |
//! | every token must be legal in a header: visible ASCII without comma and quote | any token is sent |
//! | `token` and each element of `tokens` may have several lines, and each line is a token; blank lines are dropped | an element with several lines never matches a token, and a blank line is a token |
//! | a header that HTTP or gRPC needs for itself is an error | the header is sent, and breaks requests |

use std::path::PathBuf;

use http::HeaderName;
use http::header::AUTHORIZATION;
use otel_confmap::{ConfigError, Env, Map, Node, Problem, Report, Value};
use secrecy::SecretString;

use crate::credential::configured_token;
use crate::protocol_header::is_protocol_header;
use crate::scheme::Scheme;

const NO_TOKEN: &str =
    "there is no token: give `token`, as in token: \"${env:API_KEY}\", or `tokens`, or `filename`";

/// The `bearertokenauth` block of a Collector, which sets the credential and its header.
///
/// | key | default | |
/// |---|---|---|
/// | `header` | `Authorization` | the header's name |
/// | `scheme` | `Bearer` | the word before the token; `""` sends the token alone |
/// | `token` | | the token; if it has several lines, each line is a token |
/// | `tokens` | | a list of tokens; each element may have several lines, as `token` may |
/// | `filename` | | a file with one token a line |
///
/// Exactly one of `token`, `tokens` and `filename` must be given.
///
/// # Examples
///
/// ```
/// use otlp_auth::config::{BearerTokenAuthConfig, TokenSource};
///
/// let env = |name: &str| (name == "API_KEY").then(|| "iapikeyok-example".to_owned());
/// let config = BearerTokenAuthConfig::from_yaml("scheme: StackState\ntoken: \"${env:API_KEY}\"", &env)?;
/// assert_eq!(config.scheme().unwrap().as_str(), "StackState");
/// assert_eq!(config.header(), "authorization");
/// assert!(matches!(config.source(), TokenSource::Tokens(tokens) if tokens.len() == 1));
/// # Ok::<(), otel_confmap::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BearerTokenAuthConfig {
    header: HeaderName,
    scheme: Option<Scheme>,
    source: TokenSource,
}

/// The source of tokens. `Debug` hides the tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenSource {
    /// The tokens themselves. There is at least one, and each is legal in a
    /// [`Credential`](crate::Credential). A
    /// client sends the first token; a server allows all of them.
    Tokens(Vec<SecretString>),
    /// A file with one token a line. Its content has not been read yet.
    File(PathBuf),
}

impl BearerTokenAuthConfig {
    /// Reads the content of the block from YAML; `env` looks up environment variables.
    ///
    /// # Errors
    ///
    /// Returns all problems of the text. These are the problems: the text is not YAML; a
    /// substitution fails; a key is unknown or has a wrong type; there is no source of tokens, or
    /// more than one; a token or the scheme is not legal in a header.
    pub fn from_yaml(text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        let value = Value::parse(text)?.expand(env);
        let report = Report::new();
        let config = Self::read(&Node::root(&value, &report));
        report.finish()?;
        config.ok_or_else(|| Problem::new("", None, NO_TOKEN).into())
    }

    /// Reads the block at `node`, which may be a part of a larger configuration. If this returns
    /// `None`, the reason is in the node's report.
    #[must_use]
    pub fn read(node: &Node<'_>) -> Option<Self> {
        let Some(mut map) = node.map() else {
            if node.is_null() {
                node.problem(NO_TOKEN);
            }
            return None;
        };
        let header = match map.get("header") {
            Some(node) => node.string().and_then(|text| header_name(&node, text)),
            None => Some(AUTHORIZATION),
        };
        let scheme = match map.get("scheme") {
            Some(node) => scheme(&node),
            None => Some(Some(Scheme::BEARER)),
        };
        let source = source(&mut map);
        map.deny_unknown();
        Some(Self { header: header?, scheme: scheme?, source: source? })
    }

    /// Returns the header that carries the credential.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Returns the scheme before the token, or `None` if the header carries the token alone.
    #[must_use]
    pub fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// Returns the source of the tokens.
    #[must_use]
    pub fn source(&self) -> &TokenSource {
        &self.source
    }
}

/// Reads the name of a header that a client may set. `text` is the name. Problems are reported at
/// `node`.
#[must_use]
pub fn header_name(node: &Node<'_>, text: &str) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        node.problem("expected the name of an HTTP header: letters, digits and !#$%&'*+-.^_`|~");
        return None;
    };
    if is_protocol_header(&name) {
        node.problem("this header belongs to the protocol and cannot be set");
        return None;
    }
    Some(name)
}

/// Reads the scheme. The outer `None` means a problem, and the inner `None` means an empty scheme.
fn scheme(node: &Node<'_>) -> Option<Option<Scheme>> {
    match node.string()? {
        "" => Some(None),
        scheme => match scheme.parse() {
            Ok(scheme) => Some(Some(scheme)),
            Err(error) => {
                node.problem(error.to_string());
                None
            }
        },
    }
}

fn source(map: &mut Map<'_>) -> Option<TokenSource> {
    let (token, list, file) = (map.get("token"), map.get("tokens"), map.get("filename"));
    if [&token, &list, &file].into_iter().flatten().count() > 1 {
        map.node().problem("more than one of `token`, `tokens` and `filename` is given: keep one");
    }
    if let Some(token) = token {
        return tokens(&token).map(TokenSource::Tokens);
    }
    if let Some(list) = list {
        let items = if list.is_null() { Vec::new() } else { list.list()? };
        if items.is_empty() {
            list.report_empty(NO_TOKEN);
            return None;
        }
        // Every element is read, even after an element with a problem, so that all problems are
        // reported.
        let lists: Vec<_> = items.iter().map(tokens).collect();
        return lists
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .map(|lists| TokenSource::Tokens(lists.concat()));
    }
    let Some(file) = file else {
        map.node().problem(NO_TOKEN);
        return None;
    };
    let path = file.string()?;
    if path.is_empty() {
        file.report_empty("give the path of a file with one token a line");
        return None;
    }
    Some(TokenSource::File(PathBuf::from(path)))
}

/// Reads the tokens of one string, one on each line. A string without a token is a problem.
fn tokens(node: &Node<'_>) -> Option<Vec<SecretString>> {
    let text = match node.string() {
        None if node.is_null() => "",
        text => text?,
    };
    let mut tokens = Vec::new();
    let mut legal = true;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match configured_token(line) {
            Ok(token) => tokens.push(SecretString::from(token)),
            Err(error) if text.contains('\n') => {
                node.problem(format!("{error} (line {} of the value)", index + 1));
                legal = false;
            }
            Err(error) => {
                node.problem(error.to_string());
                legal = false;
            }
        }
    }
    if legal && tokens.is_empty() {
        node.report_empty("set what it is taken from, as in token: \"${env:API_KEY}\"");
        legal = false;
    }
    legal.then_some(tokens)
}

#[cfg(test)]
mod tests;
