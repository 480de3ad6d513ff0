//! `auth` of an upstream: the gateway's own credential.

use http::HeaderName;
use opentelemetry::metrics::Meter;
use otel_confmap::Node;
use otlp_auth::client::{BearerTokenAuth, BuildError, Endpoint};
use otlp_auth::config::{BearerTokenAuthConfig, TokenSource};
use secrecy::ExposeSecret as _;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::{UpstreamUrl, print};

/// The gateway's own credential for an upstream. `config print` shows a mask in place of the token.
#[derive(Clone, Debug)]
pub struct UpstreamAuth {
    config: BearerTokenAuthConfig,
    /// The header that carries the token alone, if the block cannot name one.
    bare_header: Option<HeaderName>,
    /// Whether the token may be sent over plaintext to another host.
    allow_plaintext: bool,
}

impl UpstreamAuth {
    /// Reads a Collector's `bearertokenauth` block. With a `bare_header`, this header carries the
    /// token alone, and the block has neither a header nor a scheme. `allow_plaintext` is for a
    /// network that protects plaintext itself, as a service mesh does.
    pub(super) fn read(
        node: &Node<'_>,
        bare_header: Option<&'static str>,
        endpoint: Option<&UpstreamUrl>,
        allow_plaintext: bool,
    ) -> Option<Self> {
        if let Some(header) = bare_header
            && let Some(mut map) = node.map()
        {
            for key in ["header", "scheme"] {
                if let Some(node) = map.get_nullable(key) {
                    node.problem(format!("agents have no such choice: `{header}` has the token"));
                }
            }
        }
        let config = BearerTokenAuthConfig::read(node)?;
        if let TokenSource::Tokens(tokens) = config.source()
            && tokens.iter().any(|token| token.expose_secret() == print::MASK)
        {
            node.problem(
                "has the mask that `config print` shows in place of a token: give the token itself",
            );
        }
        if let Some(url) = endpoint.filter(|_| !allow_plaintext)
            && let Ok(endpoint) = Endpoint::try_from(url.to_string())
            && let Err(error) = endpoint.may_carry_credential()
        {
            node.problem(format!("{error}; `tls: {{insecure: true}}` allows it"));
        }
        let bare_header = bare_header.map(HeaderName::from_static);
        Some(Self { config, bare_header, allow_plaintext })
    }

    /// Returns the header that carries the credential.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        self.bare_header.as_ref().unwrap_or(self.config.header())
    }

    /// Makes the client that puts the credential on requests to `endpoint`. If the token comes from
    /// a file, the file is read now, and followed from now on.
    ///
    /// # Errors
    ///
    /// When the file cannot be used.
    pub(crate) fn client(
        &self,
        endpoint: &UpstreamUrl,
        meter: &Meter,
    ) -> Result<BearerTokenAuth, BuildError> {
        let builder = BearerTokenAuth::builder().config(&self.config).meter(meter);
        let builder = match &self.bare_header {
            Some(header) => builder.header(header.clone()).scheme(None),
            None => builder,
        };
        let builder = if self.allow_plaintext { builder.allow_plaintext() } else { builder };
        builder.endpoint(endpoint.to_string()).build()
    }
}

impl Serialize for UpstreamAuth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.bare_header.is_none() {
            map.serialize_entry("header", self.config.header().as_str())?;
            let scheme = self.config.scheme();
            map.serialize_entry("scheme", scheme.map_or("", |scheme| scheme.as_str()))?;
        }
        match self.config.source() {
            TokenSource::File(path) => map.serialize_entry("filename", path)?,
            _ => map.serialize_entry("token", print::MASK)?,
        }
        map.end()
    }
}
