//! The tonic interceptor of the sending end.

use std::sync::Arc;

use tonic::{Request, Status};

use super::token::CurrentToken;

/// Puts the current credential on every request, in place of any other credential; made by
/// [`BearerTokenAuth::interceptor`](super::BearerTokenAuth::interceptor).
///
/// # Examples
///
/// A client takes only one interceptor. `after` adds your own interceptor, which runs first.
///
/// ```
/// use otlp_auth::client::BearerTokenAuth;
///
/// let auth = BearerTokenAuth::builder()
///     .token("iapikeyok-of-team-a")
///     .endpoint("https://otlp.example.com")
///     .build()?;
/// let interceptor = auth.interceptor().after(|mut request: tonic::Request<()>| {
///     request.metadata_mut().insert("x-tenant", tonic::metadata::MetadataValue::from_static("a"));
///     Ok(request)
/// });
/// # let _: &dyn Fn() = &|| { let _ = &interceptor; };
/// # Ok::<(), otlp_auth::client::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Interceptor<I = fn(Request<()>) -> Result<Request<()>, Status>> {
    token: Arc<CurrentToken>,
    first: I,
}

impl Interceptor {
    pub(super) fn new(token: Arc<CurrentToken>) -> Self {
        Self { token, first: Ok }
    }

    /// Calls `first` with each request before the credential is put on it.
    #[must_use]
    pub fn after<I: tonic::service::Interceptor>(self, first: I) -> Interceptor<I> {
        Interceptor { token: self.token, first }
    }
}

impl<I: tonic::service::Interceptor> tonic::service::Interceptor for Interceptor<I> {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let mut request = self.first.call(request)?;
        self.token.insert_into(request.metadata_mut().as_mut());
        Ok(request)
    }
}
