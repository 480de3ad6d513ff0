//! The URL of an upstream.

use std::fmt;

use http::Uri;
use http::uri::Scheme;
use otel_confmap::Node;
use serde::{Serialize, Serializer};

/// The URL of an upstream, as in `http://collector:4317` or `https://otlp.example.com/base`.
///
/// Only a URL for HTTP may have a path. The path of each request is appended to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    uri: Uri,
    port: u16,
    /// The path without the slash at its end, so that it is empty if the URL has no path.
    base_path: String,
}

impl UpstreamUrl {
    /// Reads a URL. `may_have_path` says whether it may have a path.
    pub(in crate::config) fn read(node: &Node<'_>, may_have_path: bool) -> Option<Self> {
        let text = node.string()?;
        Self::parse(text, may_have_path).map_err(|message| node.problem(message)).ok()
    }

    /// The error is a message that contains no part of the text.
    fn parse(text: &str, may_have_path: bool) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a URL, as in http://collector:4317";
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        let default_port = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => 80,
            Some(scheme) if *scheme == Scheme::HTTPS => 443,
            _ => return Err(EXPECTED),
        };
        let authority = uri.authority().ok_or(EXPECTED)?;
        if authority.as_str().contains('@') {
            return Err("has a user or a password: put the credential into `auth`");
        }
        // The parser drops a fragment, and accepts a port that is no number.
        if uri.query().is_some() || text.contains('#') {
            return Err("has a query or a fragment: give the scheme, the host and the port");
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => default_port,
            Some(port) => {
                let number = port.strip_prefix(':').and_then(|port| port.parse().ok());
                number.filter(|port| *port != 0).ok_or("has a port that is not 1 to 65535")?
            }
            None => return Err(EXPECTED),
        };
        if authority.host().is_empty() {
            return Err(EXPECTED);
        }
        let base_path = uri.path().trim_end_matches('/').to_owned();
        if !base_path.is_empty() && !may_have_path {
            return Err("has a path: give the scheme, the host and the port");
        }
        Ok(Self { uri, port, base_path })
    }

    /// Returns whether connections to the upstream use TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns the name or the address of the host. An IPv6 address has no brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Returns the port. Without one in the URL, it is the port of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns what names the upstream in a request (`Host`, `:authority`): the host, with the port
    /// if the URL has one.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Returns the path that stands before the path of each request. It is empty, or it begins with
    /// a slash and does not end with one.
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.base_path
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base_path)
    }
}

impl Serialize for UpstreamUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: URLs with and without a port, an IPv6 address and a path.
    // Guarantee: each part of a URL is found, and the printed URL is the same without a slash at
    // its end.
    #[test]
    fn the_parts_of_a_url_are_found() {
        for (text, is_tls, host, port, authority, base_path) in [
            ("http://collector:4317", false, "collector", 4317, "collector:4317", ""),
            ("http://collector:4317/", false, "collector", 4317, "collector:4317", ""),
            ("https://otlp.example.com", true, "otlp.example.com", 443, "otlp.example.com", ""),
            ("HTTP://192.0.2.1", false, "192.0.2.1", 80, "192.0.2.1", ""),
            ("http://[2001:db8::7]:80/a/b/", false, "2001:db8::7", 80, "[2001:db8::7]:80", "/a/b"),
            ("https://[::1]/a", true, "::1", 443, "[::1]", "/a"),
        ] {
            let url = UpstreamUrl::parse(text, true).unwrap();
            assert_eq!((url.is_tls(), url.host(), url.port()), (is_tls, host, port), "{text}");
            assert_eq!((url.authority(), url.base_path()), (authority, base_path), "{text}");
            let printed = url.to_string();
            assert_eq!(UpstreamUrl::parse(&printed, true).unwrap().to_string(), printed);
        }
    }

    // Scenario: texts that name no upstream, or say more than where it is.
    // Guarantee: none of them is accepted.
    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "collector",
            "collector:4317",
            "/v1/traces",
            "ftp://collector:4317",
            "grpc://collector:4317",
            "http://",
            "http://:4317",
            "http:///path",
            "http://collector:0",
            "http://collector:65536",
            "http://collector:port",
            "http://collector:",
            "http://user:secret@collector:4317",
            "http://collector:4317/?api_key=secret",
            "http://collector:4317/#part",
            "http://collector:4317 http://other:4317",
        ] {
            let error = UpstreamUrl::parse(text, true).unwrap_err();
            assert!(!error.contains("secret"), "{text}");
        }
        assert!(UpstreamUrl::parse("http://collector:4317/base", false).is_err());
    }
}
