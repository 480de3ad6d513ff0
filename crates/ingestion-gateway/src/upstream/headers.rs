//! The headers of a request on its way to an upstream.
//!
//! These rules are applied in this order:
//!
//! 1. Hop-by-hop headers are removed (RFC 9110 section 7.6.1), and those that `Connection` names.
//! 2. Headers are removed that only the gateway or a trusted proxy may set: those that tell whose
//!    request it is, those that carry credentials, and those that tell where it came from.
//! 3. The forwarding headers are set: `x-forwarded-for`, `-proto` and `-host`.
//! 4. The identity headers are set.
//! 5. The gateway's own credential for the upstream is set.
//!
//! So nothing that a sender names or spells in any way reaches an upstream as if the gateway had
//! said it. Servers that pass headers on as variables of CGI take `_` for `-`, and so do the rules.

mod recent;
#[cfg(test)]
mod tests;

use http::header::{AUTHORIZATION, CONNECTION, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use ingestion_api::header::{DD_API_KEY, STS_API_KEY};
use opentelemetry::metrics::Meter;
use otlp_auth::Identity;
use otlp_auth::client::{BearerTokenAuth, BuildError};

use crate::config::{EndpointConfig, IdentityField, IdentityHeaders};
use crate::listener::client_address::{ClientAddress, Peer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The start of the names of forwarding headers.
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// What a request may not lose through `Connection`, besides the headers that the gateway sets: the
/// body could not be read without it.
const OF_THE_BODY: [&str; 4] = ["content-encoding", "content-length", "content-type", "host"];

/// The protocol in which an upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// gRPC over HTTP/2.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// Prepares the headers of requests to one upstream.
#[derive(Clone, Debug)]
pub(crate) struct HeaderRules {
    transport: Transport,
    identity: IdentityHeaders,
    /// The headers that only the gateway may set.
    ours: Vec<HeaderName>,
    auth: Option<BearerTokenAuth>,
}

impl HeaderRules {
    /// Makes the rules for an upstream. If the gateway's own credential comes from a file, the file
    /// is read now, and followed from now on.
    ///
    /// # Errors
    ///
    /// When the file cannot be used.
    pub(crate) fn new(
        transport: Transport,
        endpoint: &EndpointConfig,
        identity: &IdentityHeaders,
        meter: &Meter,
    ) -> Result<Self, BuildError> {
        let auth = endpoint.auth.as_ref();
        let credentials = [
            AUTHORIZATION,
            HeaderName::from_static(STS_API_KEY),
            HeaderName::from_static(DD_API_KEY),
        ];
        let own = auth.map(|auth| auth.header().clone());
        let mut ours: Vec<_> = identity.removed().cloned().chain(credentials).chain(own).collect();
        ours.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        ours.dedup();
        Ok(Self {
            transport,
            identity: identity.clone(),
            ours,
            auth: auth.map(|auth| auth.client(&endpoint.endpoint, meter)).transpose()?,
        })
    }

    /// Applies the rules to the head of a request. Its URI must still be that of the client.
    ///
    /// What the gateway says itself is given to `set`, with the headers. They have nothing with the
    /// same name, except for `te` of gRPC.
    pub(crate) fn prepare(
        &self,
        parts: &mut Parts,
        mut set: impl FnMut(&mut HeaderMap, HeaderName, HeaderValue),
    ) {
        let ClientAddress(_, peer) =
            parts.extensions.get().copied().unwrap_or_else(ClientAddress::unknown);
        // The host that the client has asked for, before any header is removed.
        let host = host(parts);
        let headers = &mut parts.headers;
        self.remove(headers, peer.is_trusted);
        if self.transport == Transport::Grpc {
            // A server may refuse a call whose client does not say that it reads trailers.
            set(headers, TE, HeaderValue::from_static("trailers"));
        }
        set_forwarding(headers, peer, host, &mut set);
        let identity = parts.extensions.get::<Identity>();
        for (name, value) in identity_headers(&self.identity, identity) {
            set(headers, name, value);
        }
        if let Some(auth) = &self.auth {
            auth.add_to(headers);
        }
    }

    /// Removes from the trailers of a request what may not be in its headers either, because some
    /// servers make no difference.
    pub(crate) fn clean_trailers(&self, trailers: &mut HeaderMap) {
        self.remove(trailers, false);
    }

    /// Removes what may not be passed on, without what the gateway sets anyway.
    fn remove(&self, headers: &mut HeaderMap, is_trusted: bool) {
        // `te` of gRPC is set anyway.
        let keeps_te = self.transport == Transport::Grpc;
        remove_named_by_connection(headers, |name| !self.is_ours(name));
        let is_unwanted = |name: &&HeaderName| {
            let name = name.as_str();
            is_hop_by_hop(name) && !(keeps_te && name == "te")
                || self.is_ours(name)
                || is_forged(name, is_trusted)
        };
        remove_all(headers, is_unwanted);
    }

    fn is_ours(&self, name: &str) -> bool {
        self.ours.iter().any(|ours| is_same(name, ours.as_str()))
    }
}

/// Removes the headers of a response that concern only the connection to the upstream.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    remove_named_by_connection(headers, |_| true);
    remove_all(headers, |name| is_hop_by_hop(name.as_str()));
}

/// Returns the headers that tell whose request it is. Each header is always there: an identity
/// without an id has an empty one.
pub(crate) fn identity_headers(
    config: &IdentityHeaders,
    identity: Option<&Identity>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let fields = config.fields();
    // Without fields, nothing is looked up.
    let values = (!fields.is_empty()).then(|| recent::identity(identity));
    fields.iter().filter_map(move |(name, field)| {
        let (id, key_name) = values.as_ref()?;
        let value = match field {
            IdentityField::Id => id,
            IdentityField::Name => key_name,
        };
        Some((name.clone(), value.clone()))
    })
}

/// Removes each header that `is_unwanted` returns `true` for. Allocates only if there is one.
fn remove_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&&HeaderName) -> bool) {
    let unwanted: Vec<_> = headers.keys().filter(is_unwanted).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Removes `Connection`, and the headers that it names and `may_remove` allows to remove.
fn remove_named_by_connection(headers: &mut HeaderMap, may_remove: impl Fn(&str) -> bool) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let values = headers.get_all(CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = options.map(<[u8]>::trim_ascii).filter(|option| !is_about_the_end(option));
    let names: Vec<_> = names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in names {
        let text = name.as_str();
        if may_remove(text) && !OF_THE_BODY.contains(&text) && !is_forwarding(text) {
            headers.remove(name);
        }
    }
    headers.remove(CONNECTION);
}

/// Returns whether an option of `Connection` names no header.
fn is_about_the_end(option: &[u8]) -> bool {
    [b"close".as_slice(), b"keep-alive"].iter().any(|word| option.eq_ignore_ascii_case(word))
}

/// Returns whether a header concerns only the connection on which it came. `expect` is one of them
/// here, because the gateway itself tells its client to go on. Credentials for a proxy are meant
/// for the gateway (RFC 9110 section 11.7.1).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns whether a header tells where a request came from, in any spelling.
fn is_forwarding(name: &str) -> bool {
    let prefix = name.get(..FORWARDED_PREFIX.len());
    prefix.is_some_and(|prefix| is_same(prefix, FORWARDED_PREFIX)) || is_same(name, "x-real-ip")
}

/// Returns whether a forwarding header is not believed. `Forwarded` (RFC 7239) never is: a proxy
/// that writes only `x-forwarded-for` passes it on as its client has sent it. The same holds for a
/// spelling with `_`.
fn is_forged(name: &str, is_trusted: bool) -> bool {
    name == "forwarded" || (is_forwarding(name) && (!is_trusted || name.contains('_')))
}

/// Compares two names in lower case, where `_` and `-` are the same.
fn is_same(name: &str, other: &str) -> bool {
    let dash = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() == other.len()
        && name.bytes().zip(other.bytes()).all(|(a, b)| a == b || dash(a) == dash(b))
}

/// Returns the host that the client has asked for.
fn host(parts: &Parts) -> Option<HeaderValue> {
    match parts.uri.authority() {
        Some(authority) => recent::text(authority.as_str()),
        None => parts.headers.get(HOST).cloned(),
    }
}

/// Adds the peer to the addresses that a trusted proxy has written, or writes it in place of those
/// that anybody else has written, which are already removed.
fn set_forwarding(
    headers: &mut HeaderMap,
    peer: Peer,
    host: Option<HeaderValue>,
    set: &mut impl FnMut(&mut HeaderMap, HeaderName, HeaderValue),
) {
    let mut address = Some(recent::address(peer.address));
    let (mut scheme, mut host) = (Some(if peer.is_tls { "https" } else { "http" }), host);
    if peer.is_trusted {
        if let Some(last) = &address
            && headers.contains_key(FORWARDED_FOR)
        {
            address = joined(headers, last);
        }
        if address.is_some() {
            headers.remove(FORWARDED_FOR);
        }
        scheme = scheme.filter(|_| !headers.contains_key(FORWARDED_PROTO));
        host = host.filter(|_| !headers.contains_key(FORWARDED_HOST));
    }
    let scheme = scheme.map(HeaderValue::from_static);
    for (name, value) in
        [(FORWARDED_FOR, address), (FORWARDED_PROTO, scheme), (FORWARDED_HOST, host)]
    {
        if let Some(value) = value {
            set(headers, name, value);
        }
    }
}

/// Returns one line with all addresses, because some servers read only the first line.
fn joined(headers: &HeaderMap, last: &HeaderValue) -> Option<HeaderValue> {
    let mut line = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(last.as_bytes());
    HeaderValue::try_from(line).ok()
}
