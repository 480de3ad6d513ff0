//! The tonic interceptor, which decides as the layer does, but for one tonic service.

use std::fmt;
use std::sync::Arc;

use tonic::{Code, Request, Status};

use super::authenticator::InMemoryAuthenticator;
use super::challenge::Challenges;
use super::credential_extractor::CredentialExtractor;
use super::rejection::Rejection;
use super::report::Reporter;
use super::status;
use crate::decision::Decision;

/// Puts an authenticator in front of one tonic service, as a [`tonic::service::Interceptor`].
///
/// tonic shows neither the path nor the query to an interceptor. So an interceptor has no exempt
/// paths and reads no query parameter. Use [`AuthenticateLayer`](super::AuthenticateLayer) if you
/// need these, or if your authenticator does not decide from memory.
///
/// # Examples
///
/// ```no_run
/// # #[derive(Clone)] struct TraceServiceServer;
/// # impl TraceServiceServer { fn with_interceptor<I: tonic::service::Interceptor>(_: (), _: I) {} }
/// # let service = ();
/// use otlp_auth::server::{FixedTokens, Interceptor, CredentialExtractor};
///
/// let tokens = FixedTokens::new([("team-a", "iapikeyok-of-team-a")])?;
/// TraceServiceServer::with_interceptor(service, Interceptor::new(tokens));
/// # Ok::<(), otlp_auth::server::FixedTokensError>(())
/// ```
pub struct Interceptor<A> {
    authenticator: Arc<A>,
    extractor: Arc<CredentialExtractor>,
    reporter: Reporter,
}

impl<A: InMemoryAuthenticator> Interceptor<A> {
    /// Makes an interceptor that asks `authenticator`. The interceptor reads the credential from
    /// the header `authorization` with the scheme `StackState`.
    pub fn new(authenticator: A) -> Self {
        Self {
            authenticator: Arc::new(authenticator),
            extractor: Arc::default(),
            reporter: Reporter::default(),
        }
    }

    /// Reads the credential with `extractor` instead of the default extractor.
    #[must_use]
    pub fn with_extractor(self, extractor: CredentialExtractor) -> Self {
        Self { extractor: Arc::new(extractor), ..self }
    }

    /// Counts decisions with `meter`. The documentation of the crate lists the
    /// [instruments](crate#metrics).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_meter(mut self, meter: &opentelemetry::metrics::Meter) -> Self {
        self.reporter.count_with(meter);
        self
    }
}

impl<A: InMemoryAuthenticator> tonic::service::Interceptor for Interceptor<A> {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let started = self.reporter.started();
        let verdict = match self.extractor.extract_from_headers(request.metadata().as_ref()) {
            Ok(credential) => self.authenticator.decide(&credential),
            Err(reason) => Ok(Decision::Deny(reason.into())),
        };
        // An interceptor does not see the path of the call.
        self.reporter.report(&verdict, "grpc", "", started);
        match verdict {
            Ok(Decision::Allow(identity)) => {
                request.extensions_mut().insert(identity);
                self.extractor.strip_headers(request.metadata_mut().as_mut());
                Ok(request)
            }
            // A gRPC status cannot carry challenges.
            Ok(Decision::Deny(denial)) => {
                Err(status_of(&Rejection::with_challenges(denial, &Challenges::default())))
            }
            Err(_) => Err(status_of(&Rejection::undecided())),
        }
    }
}

/// Converts the rejection to a tonic status.
fn status_of(rejection: &Rejection) -> Status {
    let (code, message) = (Code::from_i32(rejection.grpc_code()), rejection.message());
    match rejection.retry_after() {
        None => Status::new(code, message),
        retry_after => {
            let details = status::encode(rejection.grpc_code(), message, retry_after);
            Status::with_details(code, message, details.into())
        }
    }
}

impl<A> Clone for Interceptor<A> {
    fn clone(&self) -> Self {
        Self {
            authenticator: Arc::clone(&self.authenticator),
            extractor: Arc::clone(&self.extractor),
            reporter: self.reporter.clone(),
        }
    }
}

impl<A> fmt::Debug for Interceptor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interceptor").field("extractor", &self.extractor).finish_non_exhaustive()
    }
}
