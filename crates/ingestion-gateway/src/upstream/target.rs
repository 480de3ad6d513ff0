//! An upstream: where it is, and what all requests to it have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version};
use http_body::Body;
use otlp_auth::server::CredentialExtractor;
use otlp_auth::{DenyReason, Identity};
use otlp_receiver::{Refusal, ResponseFormat};

use super::answer::{Failure, Format};
use super::headers::HeaderRules;
use super::watch::Watch;
use crate::config::EndpointConfig;

/// Tells whether the key of a request is still valid.
pub(crate) type Standing = dyn Fn(&Identity) -> Result<(), DenyReason> + Send + Sync;

/// Who is answered if the upstream does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Exporters of OTLP.
    Otlp,
    /// Agents, which expect a status alone.
    Agent,
}

/// An upstream.
pub(crate) struct Target {
    /// The key of the upstream in the configuration.
    pub(super) name: &'static str,
    pub(super) config: EndpointConfig,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    rules: HeaderRules,
    /// For the challenges of answers to keys that have become invalid.
    pub(super) extractor: CredentialExtractor,
    answers: Answers,
    standing: Arc<Standing>,
    /// The largest number of bytes of a body.
    pub(super) max_body: u64,
}

impl Target {
    pub(crate) fn new(
        name: &'static str,
        config: &EndpointConfig,
        rules: HeaderRules,
        answers: Answers,
        extractor: CredentialExtractor,
        standing: Arc<Standing>,
        max_body: usize,
    ) -> Result<Arc<Self>, http::Error> {
        let url = &config.endpoint;
        let scheme = if url.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Arc::new(Self {
            name,
            config: config.clone(),
            scheme,
            authority: url.authority().parse()?,
            host: HeaderValue::from_str(url.authority())?,
            rules,
            extractor,
            answers,
            standing,
            max_body: max_body as u64,
        }))
    }

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
    pub(super) fn watch(&self, parts: &Parts) -> Watch {
        Watch::new(parts.extensions.get().cloned(), Arc::clone(&self.standing))
    }

    /// Refuses a request that states that its body is too large.
    pub(super) fn check_length(&self, body: &impl Body) -> Result<(), Failure> {
        match body.size_hint().lower() > self.max_body {
            true => Err(Failure::Refused(Refusal::TooLarge)),
            false => Ok(()),
        }
    }

    /// Makes the head of a call of gRPC as the upstream gets it.
    pub(super) fn grpc_head(&self, mut parts: Parts) -> Request<()> {
        self.rules.prepare(&mut parts);
        parts.headers.remove(HOST);
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = parts.uri.into_parts().path_and_query;
        let mut head = Request::new(());
        *head.method_mut() = parts.method;
        // All parts are there, so they make a URI.
        *head.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = parts.headers;
        head
    }

    /// Makes the request of HTTP/1.1 as the upstream gets it.
    pub(super) fn http_request<B>(&self, mut parts: Parts, body: B) -> Request<B> {
        self.rules.prepare(&mut parts);
        parts.headers.insert(HOST, self.host.clone());
        let base = self.config.endpoint.base_path();
        if !base.is_empty() || parts.uri.authority().is_some() {
            let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let path = match base {
                "" => parts.uri.path_and_query().cloned(),
                base => PathAndQuery::try_from(format!("{base}{path}")).ok(),
            };
            // The two parts of the path are legal, and so are they together.
            parts.uri = path.map(Uri::from).unwrap_or_default();
        }
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = parts.headers;
        request
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("endpoint", &self.config.endpoint)
            .finish_non_exhaustive()
    }
}
