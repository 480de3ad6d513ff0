//! Endpoints of OTLP exporters.

use std::fmt;

use http::Uri;
use http::uri::{Authority, Scheme};

use otel_confmap::Node;

/// An absolute endpoint. `Debug` hides its query, because some backends expect a key in the query.
#[derive(Clone)]
pub(super) struct Endpoint(Uri);

impl Endpoint {
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (
            self.0.scheme_str().unwrap_or_default(),
            self.0.authority().map_or("", Authority::as_str),
        );
        write!(f, "{scheme}://{authority}{}", self.0.path())?;
        f.write_str(if self.0.query().is_some() { "?.." } else { "" })
    }
}

/// Reads the endpoint of an OTLP/gRPC exporter: `host:port`, optionally after `http://`, `https://`
/// or `dns:///`. The scheme is `https` by default, or `http` if the connection is `insecure`. As in
/// Go, an empty host is this machine.
pub(super) fn grpc(node: &Node<'_>, insecure: bool) -> Option<Endpoint> {
    const EXPECTED: &str =
        "expected host:port, or http://host:port, https://host:port, dns:///host:port";
    let text = text(node)?;
    let (scheme, target) = if let Some(target) = text.strip_prefix("https://") {
        (Scheme::HTTPS, target)
    } else if let Some(target) = text.strip_prefix("http://") {
        (Scheme::HTTP, target)
    } else {
        let scheme = if insecure { Scheme::HTTP } else { Scheme::HTTPS };
        (scheme, text.strip_prefix("dns:///").unwrap_or(text))
    };
    let target = target.strip_suffix('/').unwrap_or(target);
    let target = match target.strip_prefix(':') {
        Some(port) => &format!("localhost:{port}"),
        None => target,
    };
    let authority = authority(node, target, EXPECTED)?;
    if authority.port_u16().is_none() {
        node.problem(format!("{EXPECTED}; there is no port"));
        return None;
    }
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
    uri.map(Endpoint).map_err(|_| node.problem(EXPECTED)).ok()
}

/// Reads an endpoint of an OTLP/HTTP exporter, an `http://` or `https://` URL. Only the endpoint of
/// a single signal may have a `query`, because the path of the signal is appended to any other
/// endpoint.
pub(super) fn http(node: &Node<'_>, query: bool) -> Option<Endpoint> {
    const EXPECTED: &str = "expected a URL with a host that starts with http:// or https://";
    let text = text(node)?;
    let Some(target) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))
    else {
        node.problem(EXPECTED);
        return None;
    };
    authority(node, target.split(['/', '?', '#']).next().unwrap_or_default(), EXPECTED)?;
    let Ok(uri) = text.parse::<Uri>() else {
        node.problem(EXPECTED);
        return None;
    };
    if uri.query().is_some() && !query {
        node.problem("a query is not possible here: the signal's path is appended");
        return None;
    }
    Some(Endpoint(uri))
}

/// Returns `base` with `path` appended to its path.
pub(super) fn join(base: &Uri, path: &str) -> Option<Uri> {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = format!("{}/{path}", base.path().trim_end_matches('/')).parse().ok();
    Uri::from_parts(parts).ok()
}

fn text<'a>(node: &Node<'a>) -> Option<&'a str> {
    let text = node.string()?;
    if text.is_empty() {
        node.problem("is empty");
        return None;
    }
    if text.contains(['<', '>']) {
        node.problem("replace what stands in angle brackets by the host of your backend");
        return None;
    }
    Some(text)
}

fn authority(node: &Node<'_>, text: &str, expected: &str) -> Option<Authority> {
    let authority = match text.parse::<Authority>() {
        Ok(authority) if !authority.host().is_empty() => authority,
        _ => {
            node.problem(expected);
            return None;
        }
    };
    if authority.as_str().contains('@') {
        node.problem("user information is not possible here: credentials belong into `auth`");
        return None;
    }
    // `Authority` accepts any text as a port, but returns no port number for a text that is not a
    // number from 0 to 65535.
    if authority.port_u16().is_none_or(|port| port == 0) && !text.ends_with(authority.host()) {
        node.problem(format!("{expected}; the port is a number from 1 to 65535"));
        return None;
    }
    Some(authority)
}
