//! Where in a request a credential is looked for, and how it is taken out.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::parse as parse_query;
use http::header::{AUTHORIZATION, InvalidHeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};

use crate::credential::{Credential, CredentialError, MAX_TOKEN_LEN};
use crate::denial::DenyReason;

/// Longest query string in which a credential is looked for, in bytes: a token of full length,
/// percent-encoded, and as much again.
const MAX_QUERY_LEN: usize = 6 * MAX_TOKEN_LEN;

const BASIC: &str = "Basic";

/// Where a credential may stand in a request, and in which schemes.
///
/// Every place is looked at. The same token in several places counts once; two different ones are
/// refused, and so is a place that holds anything else than a credential of an accepted form. All
/// places are removed before the request goes on.
///
/// The default is `Authorization` with the scheme `StackState`.
///
/// # Examples
///
/// What StackState's agents send:
///
/// ```
/// use otlp_auth::server::Lookup;
///
/// let lookup = Lookup::default()
///     .with_scheme("SUSEObservability")?
///     .with_scheme("ApiKey")?
///     .with_basic_user("apikey")
///     .with_bare_header("sts-api-key")?
///     .with_bare_header("DD-API-KEY")?
///     .with_query_parameter("api_key", ["/stsAgent/", "/receiver/stsAgent/"]);
/// # Ok::<(), otlp_auth::server::LookupError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lookup {
    headers: Vec<Header>,
    query: Option<Query>,
}

/// Why a place or a scheme cannot be looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// It is not the name of a header.
    #[error("not a header name")]
    Header(#[source] InvalidHeaderName),
    /// It is not an authentication scheme.
    #[error("not an authentication scheme")]
    Scheme(#[source] CredentialError),
}

/// A header, and the forms in which it may carry a token.
#[derive(Clone, Debug)]
struct Header {
    name: HeaderName,
    /// A scheme and the token.
    schemes: Vec<String>,
    /// Basic, with this user and the token as password.
    basic_user: Option<String>,
    /// The token alone.
    bare: bool,
}

#[derive(Clone, Debug)]
struct Query {
    parameter: String,
    paths: Vec<String>,
}

impl Default for Lookup {
    fn default() -> Self {
        let mut lookup = Self::nowhere();
        lookup.header(AUTHORIZATION).schemes.push("StackState".to_owned());
        lookup
    }
}

impl Lookup {
    /// Looks nowhere yet.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { headers: Vec::new(), query: None }
    }

    /// Looks in `Authorization` for this scheme too.
    ///
    /// # Errors
    ///
    /// When `scheme` is not an RFC 9110 token.
    pub fn with_scheme(self, scheme: &str) -> Result<Self, LookupError> {
        self.with_header(AUTHORIZATION.as_str(), scheme)
    }

    /// Looks in the header `name` for this scheme too.
    ///
    /// # Errors
    ///
    /// When `name` is not the name of a header, or `scheme` not an RFC 9110 token.
    pub fn with_header(mut self, name: &str, scheme: &str) -> Result<Self, LookupError> {
        // Any legal token shows whether the scheme is one.
        Credential::new(scheme, "token").map_err(LookupError::Scheme)?;
        if scheme.is_empty() {
            return Err(LookupError::Scheme(CredentialError::IllegalScheme));
        }
        self.header(header_name(name)?).schemes.push(scheme.to_owned());
        Ok(self)
    }

    /// Looks in the header `name`, whose value is the token.
    ///
    /// # Errors
    ///
    /// When `name` is not the name of a header.
    pub fn with_bare_header(mut self, name: &str) -> Result<Self, LookupError> {
        self.header(header_name(name)?).bare = true;
        Ok(self)
    }

    /// Looks in `Authorization` for Basic (RFC 7617) with this user, in place of one named before:
    /// the password is the token.
    #[must_use]
    pub fn with_basic_user(mut self, user: &str) -> Self {
        self.header(AUTHORIZATION).basic_user = Some(user.to_owned());
        self
    }

    /// Looks in the query, for `parameter`, on these paths only, in place of others named before; a
    /// path that ends in `/` means everything below it.
    ///
    /// A query is written into the logs of whatever stands in between: prefer a header where
    /// senders can be changed.
    #[must_use]
    pub fn with_query_parameter<P: Into<String>>(
        mut self,
        parameter: &str,
        paths: impl IntoIterator<Item = P>,
    ) -> Self {
        self.query = Some(Query {
            parameter: parameter.to_owned(),
            paths: paths.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// The credential of a request with these headers, sent to `uri`.
    ///
    /// # Errors
    ///
    /// [`DenyReason::Missing`], [`DenyReason::Malformed`] or [`DenyReason::Conflicting`].
    #[inline]
    pub fn find<'r>(
        &'r self,
        headers: &'r HeaderMap,
        uri: &'r Uri,
    ) -> Result<Credential<'r>, DenyReason> {
        match self.query.as_ref().filter(|query| query.applies_to(uri)) {
            Some(query) => only(self.in_headers(headers).chain(query.credentials(uri))),
            None => self.find_in_headers(headers),
        }
    }

    /// The credential in these headers.
    #[inline]
    pub(crate) fn find_in_headers<'r>(
        &'r self,
        headers: &'r HeaderMap,
    ) -> Result<Credential<'r>, DenyReason> {
        if let [header] = self.headers.as_slice() {
            let mut values = headers.get_all(&header.name).into_iter();
            let Some(value) = values.next() else { return Err(DenyReason::Missing) };
            // The rule, and a tenth faster without the iterator over places.
            if values.size_hint().1 == Some(0) {
                return header.read(value).ok_or(DenyReason::Malformed);
            }
        }
        only(self.in_headers(headers))
    }

    /// What stands in the places among these headers.
    fn in_headers<'r>(
        &'r self,
        headers: &'r HeaderMap,
    ) -> impl Iterator<Item = Result<Credential<'r>, DenyReason>> {
        self.headers.iter().flat_map(|header| header.read_all(headers))
    }

    /// Removes every place from the request.
    pub(crate) fn strip(&self, headers: &mut HeaderMap, uri: &mut Uri) {
        self.strip_headers(headers);
        if let Some(query) = self.query.as_ref().filter(|query| query.applies_to(uri)) {
            query.strip(uri);
        }
    }

    pub(crate) fn strip_headers(&self, headers: &mut HeaderMap) {
        for header in &self.headers {
            headers.remove(&header.name);
        }
    }

    /// The schemes of the challenges of a 401, each once, in the order they were added; RFC 9110
    /// section 15.5.2 wants at least one.
    pub(crate) fn challenge_schemes(&self) -> Vec<&str> {
        let mut schemes: Vec<&str> = Vec::new();
        for header in &self.headers {
            for scheme in header
                .schemes
                .iter()
                .map(String::as_str)
                .chain(header.basic_user.as_ref().map(|_| BASIC))
            {
                if !schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
                    schemes.push(scheme);
                }
            }
        }
        if schemes.is_empty() {
            schemes.push("ApiKey");
        }
        schemes
    }

    /// The place of this header, made if there is none.
    fn header(&mut self, name: HeaderName) -> &mut Header {
        let index =
            self.headers.iter().position(|header| header.name == name).unwrap_or_else(|| {
                self.headers.push(Header {
                    name,
                    schemes: Vec::new(),
                    basic_user: None,
                    bare: false,
                });
                self.headers.len() - 1
            });
        &mut self.headers[index]
    }
}

impl Header {
    /// What this header holds, each time that it occurs.
    #[inline]
    fn read_all<'r>(
        &'r self,
        headers: &'r HeaderMap,
    ) -> impl Iterator<Item = Result<Credential<'r>, DenyReason>> {
        headers
            .get_all(&self.name)
            .into_iter()
            .map(|value| self.read(value).ok_or(DenyReason::Malformed))
    }

    #[inline(always)]
    fn read<'r>(&'r self, value: &'r HeaderValue) -> Option<Credential<'r>> {
        if self.bare
            && let Ok(credential) = Credential::from_bare_header_value(value)
        {
            return Some(credential);
        }
        if let Some(credential) =
            self.schemes.iter().find_map(|scheme| Credential::of_scheme(scheme, value))
        {
            return Some(credential);
        }
        let user = self.basic_user.as_ref()?;
        let credential = Credential::of_scheme(BASIC, value)?;
        let decoded = SecretString::from(
            String::from_utf8(STANDARD.decode(credential.expose_token()).ok()?).ok()?,
        );
        let (presented, password) = decoded.expose_secret().split_once(':')?;
        if presented == user { Credential::decoded(BASIC, password.into()).ok() } else { None }
    }
}

impl Query {
    fn applies_to(&self, uri: &Uri) -> bool {
        let path = uri.path();
        uri.query().is_some()
            && self.paths.iter().any(|listed| {
                path == listed || (listed.ends_with('/') && path.starts_with(listed.as_str()))
            })
    }

    fn credentials<'r>(
        &self,
        uri: &'r Uri,
    ) -> impl Iterator<Item = Result<Credential<'r>, DenyReason>> {
        let query = uri.query().unwrap_or_default();
        let too_long = (query.len() > MAX_QUERY_LEN).then_some(Err(DenyReason::Malformed));
        let query = if too_long.is_some() { "" } else { query };
        let values = parse_query(query.as_bytes())
            .filter(|(name, _)| *name == self.parameter)
            .map(|(_, value)| value.into_owned());
        too_long.into_iter().chain(
            values.map(|token| {
                Credential::decoded("", token.into()).map_err(|_| DenyReason::Malformed)
            }),
        )
    }

    /// Takes the parameter out, and leaves everything else as it was written.
    fn strip(&self, uri: &mut Uri) {
        let query = uri.query().unwrap_or_default();
        let is_ours =
            |pair: &&str| parse_query(pair.as_bytes()).any(|(name, _)| name == self.parameter);
        let kept: Vec<_> = query.split('&').filter(|pair| !is_ours(pair)).collect();
        let path_and_query = match kept.is_empty() {
            true => uri.path().to_owned(),
            false => format!("{}?{}", uri.path(), kept.join("&")),
        };
        let mut parts = uri.clone().into_parts();
        // A part of what was a legal path and query is one.
        parts.path_and_query = PathAndQuery::from_str(&path_and_query).ok();
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

/// The one credential in all these places: the same one again counts once.
#[inline]
fn only<'r>(
    mut places: impl Iterator<Item = Result<Credential<'r>, DenyReason>>,
) -> Result<Credential<'r>, DenyReason> {
    let first = places.next().unwrap_or(Err(DenyReason::Missing))?;
    let mut same = true;
    for again in places {
        same &= first.same_token(&again?);
    }
    if same { Ok(first) } else { Err(DenyReason::Conflicting) }
}

fn header_name(name: &str) -> Result<HeaderName, LookupError> {
    HeaderName::try_from(name).map_err(LookupError::Header)
}

#[cfg(test)]
mod tests;
