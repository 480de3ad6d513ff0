//! The table of rejections, for HTTP and for gRPC.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::challenge::Challenges;
use super::credential_extractor::CredentialExtractor;
use super::retry_after::{retry_after, whole_seconds};
use crate::denial::{Denial, DenyReason};

/// The response to a request that is not allowed, before it is written for HTTP or gRPC.
///
/// A request is not allowed if the authenticator denies it (a denial), or if the authenticator has
/// no verdict (undecided).
///
/// | outcome | HTTP | gRPC | message |
/// |---|---|---|---|
/// | no credential | 401 | 16 `UNAUTHENTICATED` | `missing credential` |
/// | a credential that is malformed, unknown, revoked or expired, or two different ones | 401 | 16 `UNAUTHENTICATED` | `credential refused` |
/// | [`DenyReason::NotPermitted`] | 403 | 7 `PERMISSION_DENIED` | `not permitted` |
/// | [`DenyReason::LimitExceeded`] | 429 | 8 `RESOURCE_EXHAUSTED` | `limit exceeded` |
/// | [`Undecided`](crate::Undecided) | 503 | 14 `UNAVAILABLE` | `authentication unavailable` |
#[derive(Clone, Debug)]
pub struct Rejection {
    row: &'static Row,
    denial: Option<Denial>,
    retry_after: Option<Duration>,
    challenges: Arc<[HeaderValue]>,
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    http: StatusCode,
    grpc: i32,
    message: &'static str,
    /// Whether the challenges carry `error="invalid_token"`. RFC 6750 section 3.1 allows this only
    /// if the request carried a credential.
    invalid_token: bool,
    /// Whether senders should try again. If so, the rejection says when.
    retry: bool,
}

const MISSING: Row = Row {
    http: StatusCode::UNAUTHORIZED,
    grpc: 16,
    message: "missing credential",
    invalid_token: false,
    retry: false,
};
const REFUSED: Row = Row {
    http: StatusCode::UNAUTHORIZED,
    grpc: 16,
    message: "credential refused",
    invalid_token: true,
    retry: false,
};
const NOT_PERMITTED: Row = Row {
    http: StatusCode::FORBIDDEN,
    grpc: 7,
    message: "not permitted",
    invalid_token: false,
    retry: false,
};
/// Always has a time to try again, because OTLP senders drop their data on `RESOURCE_EXHAUSTED`
/// without `RetryInfo`.
const LIMIT_EXCEEDED: Row = Row {
    http: StatusCode::TOO_MANY_REQUESTS,
    grpc: 8,
    message: "limit exceeded",
    invalid_token: false,
    retry: true,
};
const UNDECIDED: Row = Row {
    http: StatusCode::SERVICE_UNAVAILABLE,
    grpc: 14,
    message: "authentication unavailable",
    invalid_token: false,
    retry: true,
};

/// Returns the row for this reason of a denial.
fn row(reason: DenyReason) -> &'static Row {
    match reason {
        DenyReason::Missing => &MISSING,
        DenyReason::Malformed
        | DenyReason::Conflicting
        | DenyReason::Unknown
        | DenyReason::Revoked
        | DenyReason::Expired => &REFUSED,
        DenyReason::NotPermitted => &NOT_PERMITTED,
        DenyReason::LimitExceeded => &LIMIT_EXCEEDED,
    }
}

impl Rejection {
    /// Makes the rejection of a denied request. If its status is 401, it has a challenge for each
    /// scheme that `extractor` accepts.
    ///
    /// The layer makes its rejections itself. This function is for a layer of your own, and for the
    /// tests of a [`Responder`](super::Responder).
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::DenyReason;
    /// use otlp_auth::server::{CredentialExtractor, Rejection};
    ///
    /// let extractor = CredentialExtractor::default();
    /// let rejection = Rejection::denied(DenyReason::Revoked.into(), &extractor);
    /// assert_eq!((rejection.http_status().as_u16(), rejection.grpc_code()), (401, 16));
    /// assert!(!rejection.challenges().is_empty());
    /// assert_eq!(rejection.retry_after(), None);
    /// ```
    #[must_use]
    pub fn denied(denial: Denial, extractor: &CredentialExtractor) -> Self {
        Self::with_challenges(denial, &Challenges::new(&extractor.challenge_schemes()))
    }

    /// Makes the rejection of a denied request. If its status is 401, it carries `challenges`.
    pub(super) fn with_challenges(denial: Denial, challenges: &Challenges) -> Self {
        let row = row(denial.reason());
        let challenges = match row.http {
            StatusCode::UNAUTHORIZED => challenges.values(row.invalid_token),
            _ => Arc::default(),
        };
        let retry_after =
            row.retry.then(|| denial.retry_after().map_or_else(retry_after, whole_seconds));
        Self { row, denial: Some(denial), retry_after, challenges }
    }

    /// Makes the rejection of a request for which there is no verdict. It has a time at which the
    /// sender should try again.
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::server::Rejection;
    ///
    /// let rejection = Rejection::undecided();
    /// assert_eq!((rejection.http_status().as_u16(), rejection.grpc_code()), (503, 14));
    /// assert!(rejection.denial().is_none() && rejection.retry_after().is_some());
    /// ```
    #[must_use]
    pub fn undecided() -> Self {
        let retry_after = UNDECIDED.retry.then(retry_after);
        Self { row: &UNDECIDED, denial: None, retry_after, challenges: Arc::default() }
    }

    /// Returns the HTTP status.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        self.row.http
    }

    /// Returns the gRPC status code.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        self.row.grpc
    }

    /// Returns the only text that the sender gets. The text has only letters and spaces, so it
    /// needs no escapes in a header or in JSON.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.row.message
    }

    /// Returns how long the sender should wait before it tries again, in whole seconds, for
    /// `Retry-After` and `RetryInfo`. It is `None` if the sender should not try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns why the request was denied and whose key it carried, for logs and metrics. It is
    /// `None` if there was no verdict.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        self.denial.as_ref()
    }

    /// Returns the denial, which the layer puts into the extensions of the response.
    pub(super) fn into_denial(self) -> Option<Denial> {
        self.denial
    }

    /// Returns the values of `WWW-Authenticate`, one for each accepted scheme. The list is empty
    /// unless the status is 401.
    #[must_use]
    pub fn challenges(&self) -> &[HeaderValue] {
        &self.challenges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Undecided;

    // Scenario: the message of each row is read.
    // Guarantee: no message needs escapes in a header or in JSON. The message of `UNDECIDED` equals
    // the text of the error `Undecided`.
    #[test]
    fn messages_need_no_escapes() {
        for row in [&MISSING, &REFUSED, &NOT_PERMITTED, &LIMIT_EXCEEDED, &UNDECIDED] {
            assert!(row.message.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase()));
        }
        assert_eq!(Undecided::new("cause").to_string(), UNDECIDED.message);
    }
}
