//! An upstream: where it is, and what all requests to it have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use hyper::body::Body;
use otlp_auth::server::CredentialExtractor;
use otlp_auth::{DenyReason, Identity};
use otlp_receiver::{Refusal, ResponseFormat};

use super::answer::{Failure, Format};
use super::headers::HeaderRules;
use super::outage_log::OutageLog;
use super::tls::ClientTls;
use super::watch::Watch;
use crate::config::{EndpointConfig, UpstreamUrl};
use crate::http1;
use crate::telemetry::upstream::UpstreamMetrics;

/// Tells whether the key of a request is still valid.
pub(crate) type Standing = dyn Fn(&Identity) -> Result<(), DenyReason> + Send + Sync;

/// Who is answered if the upstream does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Exporters of OTLP.
    Otlp,
    /// Agents, which expect a status alone.
    Agent,
}

/// An upstream. Each worker has its own clone, so that workers do not wait for each other at a
/// reference count.
#[derive(Clone)]
pub(crate) struct Target {
    /// The path of the upstream in the configuration.
    pub(super) section: &'static str,
    pub(super) config: EndpointConfig,
    pub(super) address: Address,
    pub(super) tls: Option<ClientTls>,
    pub(super) rules: HeaderRules,
    pub(super) answers: Answers,
    /// For the challenges of answers to keys that have become invalid.
    pub(super) extractor: CredentialExtractor,
    pub(super) standing: Arc<Standing>,
    /// The largest number of bytes of a body.
    pub(super) max_body: u64,
    pub(super) metrics: Arc<UpstreamMetrics>,
    pub(super) outages: Arc<OutageLog>,
}

/// What names an upstream in a request.
#[derive(Clone)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

impl Address {
    pub(super) fn of(url: &UpstreamUrl) -> Result<Self, http::Error> {
        Ok(Self {
            scheme: if url.is_tls() { Scheme::HTTPS } else { Scheme::HTTP },
            authority: url.authority().parse()?,
            host: HeaderValue::from_str(url.authority())?,
        })
    }
}

impl Target {
    pub(super) fn response_timeout(&self) -> Duration {
        self.config.response_timeout
    }

    /// Returns the form of the answer to a request.
    pub(super) fn format_of(&self, parts: &Parts) -> Format {
        match self.answers {
            Answers::Otlp => Format::Otlp(ResponseFormat::of(&parts.headers, parts.version)),
            Answers::Agent => Format::Bare,
        }
    }

    /// Begins to watch a request.
    pub(super) fn watch(self: &Arc<Self>, parts: &Parts) -> Watch {
        Watch::new(parts.extensions.get().cloned(), Arc::clone(self))
    }

    /// Refuses a request that states that its body is too large.
    pub(super) fn check_length(&self, body: &impl Body) -> Result<(), Failure> {
        match body.size_hint().lower() > self.max_body {
            true => Err(Failure::Refused(Refusal::TooLarge)),
            false => Ok(()),
        }
    }

    /// Removes from the trailers of a request what may not be passed on.
    pub(super) fn clean_trailers(&self, trailers: &mut http::HeaderMap) {
        self.rules.clean_trailers(trailers);
    }

    /// Makes the head of a call of gRPC as the upstream gets it.
    pub(super) fn grpc_head(&self, mut parts: Parts) -> Request<()> {
        self.rules.prepare(&mut parts, |headers, name, value| {
            headers.insert(name, value);
        });
        parts.headers.remove(HOST);
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.address.scheme.clone());
        uri.authority = Some(self.address.authority.clone());
        uri.path_and_query = parts.uri.into_parts().path_and_query;
        let mut head = Request::new(());
        *head.method_mut() = parts.method;
        // All parts are there, so they make a URI.
        *head.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = parts.headers;
        head
    }

    /// Writes the head of a request of HTTP/1.1 as the upstream gets it. Without a length, the body
    /// comes in chunks.
    pub(super) fn write_head(&self, mut parts: Parts, length: Option<u64>, text: &mut Vec<u8>) {
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        for part in [parts.method.as_str(), " ", self.config.endpoint.base_path(), path] {
            text.extend_from_slice(part.as_bytes());
        }
        text.extend_from_slice(b" HTTP/1.1\r\n");
        http1::headers::write_line(&HOST, self.address.host.as_bytes(), text);
        // A request of another method without a length has no body (RFC 9110, section 8.6).
        if length != Some(0) || [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method) {
            http1::headers::write_length(length, text);
        }
        self.rules.prepare(&mut parts, |_, name, value| {
            http1::headers::write_line(&name, value.as_bytes(), text);
        });
        let is_ours = |name: &HeaderName| *name == HOST || *name == CONTENT_LENGTH;
        http1::headers::write(&parts.headers, |name| !is_ours(name), text);
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("section", &self.section)
            .field("endpoint", &self.config.endpoint)
            .finish_non_exhaustive()
    }
}
