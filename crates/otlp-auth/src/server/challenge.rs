//! The challenges of a 401: what a sender may authenticate with.

use std::sync::Arc;

use http::HeaderValue;

use crate::scheme::Scheme;

/// The values of `WWW-Authenticate`, made once: one for each scheme that is accepted.
#[derive(Clone, Debug, Default)]
pub(super) struct Challenges {
    plain: Arc<[HeaderValue]>,
    invalid_token: Arc<[HeaderValue]>,
}

impl Challenges {
    /// One challenge for each of `schemes`.
    pub(super) fn new(schemes: &[Scheme]) -> Self {
        let values = |parameters: &str| {
            let challenge = |scheme: &Scheme| {
                HeaderValue::try_from(format!("{scheme} realm=\"otlp\"{parameters}")).ok()
            };
            schemes.iter().filter_map(challenge).collect()
        };
        Self { plain: values(""), invalid_token: values(", error=\"invalid_token\"") }
    }

    /// The challenges; with `error="invalid_token"` (RFC 6750 section 3.1) for a request that
    /// carried a credential.
    pub(super) fn values(&self, invalid_token: bool) -> Arc<[HeaderValue]> {
        Arc::clone(if invalid_token { &self.invalid_token } else { &self.plain })
    }
}
