//! Defines the responses to calls that fail, in one table.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Extensions, Method, StatusCode};
use ingestion_api::{ApiError, ErrorBody, ErrorsResponse};
use ingestion_keys::clock::Clock;
use ingestion_keys::service::{
    AlreadyRotated, ChangeError, CreateError, DescriptionError, ExpirationError, GetError,
    InvalidKey, NameError, NotFound, RotateError, UpdateError, WriteError,
};
use ingestion_keys::store::StoreError;
use otlp_auth::Denial;
use otlp_auth::server::retry_after;

use super::json::{self, JsonRejection};

/// The response to a call that failed. This value is in the extensions of the response until
/// [`render_and_log_problem`] writes the body.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: Kind,
    message: String,
    successor: Option<i64>,
    /// A message for the log, with details that the caller does not get.
    detail: Option<String>,
    /// Whether the caller is a program that simply tries again. Many of them at once must not fill
    /// the log.
    is_retried: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    InvalidExpiry,
    Named(&'static str),
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: Kind::Named(kind),
            message: message.into(),
            successor: None,
            detail: None,
            is_retried: false,
        }
    }

    /// Creates a problem for a call that fails now but may succeed later.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message)
    }

    /// Notes that the caller is a program that tries again.
    pub(super) fn retried(self) -> Self {
        Self { is_retried: true, ..self }
    }

    pub(super) fn no_such_key(number: i64) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("there is no key {number}"))
    }

    fn conflict(error: &dyn Error) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", error.to_string())
    }

    fn body(&self, tracking_key: String, server_timestamp: i64) -> ErrorBody {
        // The original client reads text between `<` and `>` as the name of a colour.
        let message = self.message.replace(['<', '>'], "'");
        match self.kind {
            Kind::InvalidExpiry => ErrorBody::InvalidExpiry { message },
            Kind::Named(kind) => {
                let error = ApiError {
                    kind: kind.to_owned(),
                    message,
                    error_code: None,
                    successor: self.successor,
                };
                ErrorBody::ErrorsResponse(ErrorsResponse {
                    tracking_key,
                    server_timestamp,
                    errors: vec![error],
                })
            }
        }
    }
}

// This table defines the problem for each error of the key service. An error that several calls
// share is listed here once.

impl From<InvalidKey> for Problem {
    fn from(error: InvalidKey) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", error.to_string());
        match error {
            InvalidKey::Expiration(ExpirationError::Past) => {
                Self { kind: Kind::InvalidExpiry, ..problem }
            }
            InvalidKey::Expiration(ExpirationError::TooLate)
            | InvalidKey::Name(NameError::Empty | NameError::TooLong | NameError::Character)
            | InvalidKey::Description(DescriptionError::TooLong | DescriptionError::Character) => {
                problem
            }
        }
    }
}

impl From<NotFound> for Problem {
    fn from(NotFound { id }: NotFound) -> Self {
        Self::no_such_key(id.get())
    }
}

impl From<AlreadyRotated> for Problem {
    fn from(error: AlreadyRotated) -> Self {
        let successor = Some(error.successor.get());
        Self { successor, ..Self::conflict(&error) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        WriteError::Store(error).into()
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let message = error.to_string();
        match &error {
            WriteError::Contended => Self::unavailable(message),
            // The caller is an operator, who has to know what is wrong with the store.
            WriteError::Store(source) => Self {
                detail: Some(chain(&error)),
                ..Self::unavailable(format!("{message}: {source}"))
            },
            WriteError::Random(_) => Self {
                detail: Some(chain(&error)),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
            },
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Invalid(error) => error.into(),
            CreateError::Write(error) => error.into(),
        }
    }
}

impl From<GetError> for Problem {
    fn from(error: GetError) -> Self {
        ChangeError::from(error).into()
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound(error) => error.into(),
            ChangeError::Write(error) => error.into(),
        }
    }
}

impl From<UpdateError> for Problem {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Invalid(error) => error.into(),
            UpdateError::Rotated(error) => error.into(),
            UpdateError::Change(error) => error.into(),
        }
    }
}

impl From<RotateError> for Problem {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Expiration(error) => InvalidKey::from(error).into(),
            RotateError::Rotated(error) => error.into(),
            RotateError::Expired | RotateError::Disabled => Self::conflict(&error),
            RotateError::Change(error) => error.into(),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let message = rejection.to_string();
        match rejection {
            JsonRejection::TooLarge(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", message)
            }
            JsonRejection::EndedEarly | JsonRejection::Invalid(_) => {
                Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A random number that identifies a request in the log. Each request has this value in its
/// extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrackingKey(u64);

impl fmt::Display for TrackingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Runs a call. If the call fails, logs the problem and writes the body of the response.
pub(super) async fn render_and_log_problem(
    State(clock): State<Arc<dyn Clock>>,
    mut request: Request,
    next: Next,
) -> Response {
    let call = call(request.method(), request.extensions());
    let tracking_key = TrackingKey(fastrand::u64(..));
    request.extensions_mut().insert(tracking_key);
    let mut response = next.run(request).await;
    let Some(problem) =
        response.extensions_mut().remove::<Problem>().or_else(|| of_axum(&response))
    else {
        return response;
    };
    if problem.is_retried {
        tracing::debug!(%tracking_key, call, error = problem.message, "a follower has to come back");
    } else if problem.status.is_server_error() {
        let (status, error) =
            (problem.status.as_u16(), problem.detail.as_ref().unwrap_or(&problem.message));
        tracing::error!(%tracking_key, call, status, error, "a management call failed");
    } else if response.extensions().get::<Denial>().is_none() {
        // A denial is not logged here, because `ProblemResponder` has already logged it with the
        // address of its sender.
        tracing::info!(%tracking_key, call, status = problem.status.as_u16(), "a management call was not fulfilled");
    }
    let body = problem.body(tracking_key.to_string(), clock.wall().as_millis());
    let mut rendered = json::response(problem.status, &body);
    let has_wait = response.headers().contains_key(RETRY_AFTER);
    if problem.status == StatusCode::SERVICE_UNAVAILABLE && !has_wait {
        rendered.headers_mut().insert(RETRY_AFTER, retry_after().as_secs().into());
    }
    // Copies headers of the original response, such as challenges and allowed methods. Headers that
    // describe the new body are already set, and are not replaced.
    for (name, value) in response.headers() {
        if !rendered.headers().contains_key(name) && name != http::header::CONTENT_LENGTH {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    rendered
}

/// Returns a problem if axum itself made the response. Such a response has plain text, which no
/// call of this API returns.
fn of_axum(response: &Response) -> Option<Problem> {
    let is_text = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    let kind = if response.status().is_server_error() { "InternalError" } else { "InvalidRequest" };
    is_text.then(|| Problem::new(response.status(), kind, "the request is not as expected"))
}

/// The methods that are logged. Any other text can be sent as a method, for example a key.
const LOGGED_METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Returns the name of a call for the log: a method of HTTP and the path of the route. The name
/// does not contain what was sent as method or path, because a caller may send a key there by
/// mistake.
pub(super) fn call(method: &Method, extensions: &Extensions) -> String {
    let method =
        LOGGED_METHODS.iter().find(|&logged| logged == method).map_or("_OTHER", Method::as_str);
    let path = extensions.get::<MatchedPath>().map_or("an unknown path", MatchedPath::as_str);
    format!("{method} {path}")
}

/// Returns the message of an error, followed by the messages of its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
