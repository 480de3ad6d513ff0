//! The challenges of a 401 response: they name the schemes that a sender may use.

use std::sync::Arc;

use http::HeaderValue;

use crate::scheme::Scheme;

/// The values of `WWW-Authenticate`, one for each accepted scheme. All responses share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Challenges {
    plain: Arc<[HeaderValue]>,
    invalid_token: Arc<[HeaderValue]>,
}

impl Challenges {
    /// Makes one challenge for each of `schemes`.
    pub(super) fn new(schemes: &[Scheme]) -> Self {
        let values = |parameters: &str| {
            let challenge = |scheme: &Scheme| {
                HeaderValue::try_from(format!("{scheme} realm=\"otlp\"{parameters}")).ok()
            };
            schemes.iter().filter_map(challenge).collect()
        };
        Self { plain: values(""), invalid_token: values(", error=\"invalid_token\"") }
    }

    /// Returns the challenges. If `invalid_token` is true, each challenge has
    /// `error="invalid_token"`, which RFC 6750 section 3.1 recommends for a request that carried a
    /// credential.
    pub(super) fn values(&self, invalid_token: bool) -> Arc<[HeaderValue]> {
        Arc::clone(if invalid_token { &self.invalid_token } else { &self.plain })
    }
}
