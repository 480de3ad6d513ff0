//! What a request that is not let in is answered: the one table, for HTTP and for gRPC.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::challenge::Challenges;
use super::retry_after::{retry_after, whole_seconds};
use crate::denial::{Denial, DenyReason};

/// The answer to a request that is not let in, before it is written in the format of a protocol.
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
    /// Whether a challenge carries `error="invalid_token"`, which RFC 6750 section 3.1 keeps for
    /// requests that carried a credential.
    invalid_token: bool,
    /// Whether senders should try again, and hence learn when.
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
/// OTLP senders drop their data on `RESOURCE_EXHAUSTED` without `RetryInfo`.
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

/// The row of each reason for a denial.
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
    /// The answer to a request that was denied; a 401 carries one of `challenges`.
    pub(super) fn denied(denial: Denial, challenges: &Challenges) -> Self {
        let row = row(denial.reason());
        let challenges = match row.http {
            StatusCode::UNAUTHORIZED => challenges.values(row.invalid_token),
            _ => Arc::default(),
        };
        let retry_after =
            row.retry.then(|| denial.retry_after().map_or_else(retry_after, whole_seconds));
        Self { row, denial: Some(denial), retry_after, challenges }
    }

    /// The answer to a request on which there is no verdict.
    pub(super) fn undecided() -> Self {
        let retry_after = UNDECIDED.retry.then(retry_after);
        Self { row: &UNDECIDED, denial: None, retry_after, challenges: Arc::default() }
    }

    /// The status on HTTP.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        self.row.http
    }

    /// The status code on gRPC.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        self.row.grpc
    }

    /// All that the sender may read. Only letters and spaces, so that it needs no escapes in a
    /// header or in JSON.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.row.message
    }

    /// When the sender should try again, in whole seconds: for `Retry-After` and `RetryInfo`.
    /// `None` where it should not.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Why the request was denied, and whose key it carried, for logs and metrics. `None` where
    /// there was no verdict.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        self.denial.as_ref()
    }

    /// The denial, for the extensions of the response.
    pub(super) fn into_denial(self) -> Option<Denial> {
        self.denial
    }

    /// The values of `WWW-Authenticate`, one for each scheme that is accepted; none unless the
    /// status is 401.
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
    // Guarantee: it needs no escapes in a header or in JSON, and the one of a request without a
    // verdict is what the error of the authenticator says.
    #[test]
    fn messages_need_no_escapes() {
        for row in [&MISSING, &REFUSED, &NOT_PERMITTED, &LIMIT_EXCEEDED, &UNDECIDED] {
            assert!(row.message.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase()));
        }
        assert_eq!(Undecided::new("cause").to_string(), UNDECIDED.message);
    }
}
