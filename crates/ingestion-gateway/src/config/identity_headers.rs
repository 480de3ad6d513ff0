//! `upstream.identity_headers`: the headers that tell an upstream whose request it is.

use http::HeaderName;
use http::header::{AUTHORIZATION, FORWARDED};
use ingestion_api::header::{DD_API_KEY, STS_API_KEY};
use otel_confmap::{Node, ScalarKind};
use otlp_auth::config::header_name;
use serde::{Serialize, Serializer};

use super::read::one_of;

/// The headers that tell an upstream whose request it is. Without any, the upstream is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders(Vec<(HeaderName, IdentityField)>);

/// A part of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityField {
    /// The id of the key. It is empty if the credential has none, as the shared receiver API key.
    Id,
    /// The name of the key, in UTF-8 and percent-encoded.
    Name,
}

impl IdentityHeaders {
    /// The header with the id of the key, unless other headers are configured.
    pub const ID: HeaderName = HeaderName::from_static("x-ingestion-key-id");
    /// The header with the name of the key, unless other headers are configured.
    pub const NAME: HeaderName = HeaderName::from_static("x-ingestion-key-name");

    /// Returns each header, and what it contains.
    #[must_use]
    pub fn fields(&self) -> &[(HeaderName, IdentityField)] {
        &self.0
    }

    /// Returns the default headers, and those that are configured besides.
    pub(crate) fn with_defaults(&self) -> Self {
        let others = self.0.iter().filter(|(name, _)| !DEFAULT.contains(name)).cloned();
        Self(Self::default().0.into_iter().chain(others).collect())
    }

    /// Returns each header that no sender may set: those that are sent, and the default ones.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name).chain(&DEFAULT)
    }

    /// Reads `true`, `false`, or a map from the names of headers to `id` or `name`.
    pub(super) fn read(node: &Node<'_>) -> Option<Self> {
        if node.scalar_kind().is_some_and(|kind| matches!(kind, ScalarKind::Bool(_))) {
            let none = || Self(Vec::new());
            return node.bool().map(|is_on| if is_on { Self::default() } else { none() });
        }
        if node.scalar_kind().is_some() {
            node.problem(
                "expected true, false, or a map from headers to id or name, as in \
                 {X-Scope-OrgID: name}",
            );
            return None;
        }
        let mut fields: Vec<(HeaderName, IdentityField)> = Vec::new();
        for (name, node) in node.map()?.entries() {
            if node.is_null() {
                node.problem("expected id or name, found nothing");
                continue;
            }
            let field = one_of(&node, [("id", IdentityField::Id), ("name", IdentityField::Name)]);
            let Some(header) = header_name(&node, name) else { continue };
            if is_ours(&header) {
                node.problem("the gateway puts something else into this header, or removes it");
            } else if fields.iter().any(|(other, _)| *other == header) {
                node.problem("this header is given twice; upper and lower case are the same");
            }
            fields.extend(field.map(|field| (header, field)));
        }
        if fields.is_empty() {
            node.problem("has no header: `false` sends none");
        }
        Some(Self(fields))
    }
}

static DEFAULT: [HeaderName; 2] = [IdentityHeaders::ID, IdentityHeaders::NAME];

/// Returns whether the gateway has another use for this header.
fn is_ours(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == AUTHORIZATION
        || *name == FORWARDED
        || [STS_API_KEY, DD_API_KEY].contains(&text)
        || text.starts_with("x-forwarded-")
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self(vec![(Self::ID, IdentityField::Id), (Self::NAME, IdentityField::Name)])
    }
}

impl Serialize for IdentityHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() || *self == Self::default() {
            return serializer.serialize_bool(!self.0.is_empty());
        }
        serializer.collect_map(self.0.iter().map(|(name, field)| (name.as_str(), field)))
    }
}
