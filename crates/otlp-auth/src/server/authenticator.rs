//! The traits of authenticators, and an authenticator that calls a closure.

use std::fmt;
use std::future::Ready;
use std::sync::Arc;

use super::chain::Chain;
use crate::credential::Credential;
use crate::decision::Verdict;

/// Decides whose credential a request carries, and whether the request is allowed.
///
/// The future does not borrow the credential, so an authenticator that awaits must copy the token.
/// An authenticator that decides from memory returns [`std::future::Ready`]. This makes it an
/// [`InMemoryAuthenticator`].
///
/// # Examples
///
/// An authenticator that asks another service, and is undecided while the other service does not
/// respond:
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use otlp_auth::server::ServerAuthenticator;
/// use otlp_auth::{Credential, Undecided, Verdict};
///
/// struct Remote;
///
/// impl ServerAuthenticator for Remote {
///     type Future = Pin<Box<dyn Future<Output = Verdict> + Send>>;
///
///     fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
///         let token = secrecy::SecretString::from(credential.expose_token());
///         Box::pin(async move {
///             drop(token); // ask with it
///             Err(Undecided::new("connection refused"))
///         })
///     }
/// }
/// ```
pub trait ServerAuthenticator: Send + Sync {
    /// The future that resolves to the verdict.
    type Future: Future<Output = Verdict> + Send;

    /// Decides on a credential that is well formed.
    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future;

    /// Decides on a credential that is well formed, and returns the verdict if it is known without
    /// waiting.
    ///
    /// The authenticators of this crate that decide from memory return their verdict, so that the
    /// [layer](super::AuthenticateLayer) does not have to keep the request for later.
    ///
    /// # Errors
    ///
    /// Returns the future of [`authenticate`](Self::authenticate) if the verdict is not known yet.
    /// This is the default.
    #[inline]
    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        Err(self.authenticate(credential))
    }

    /// Asks `next` if this authenticator does not allow the request.
    ///
    /// If either authenticator allows the request, the request is allowed. Otherwise, if either is
    /// undecided, the chain is undecided. Otherwise both deny, and the chain returns the denial of
    /// this authenticator. But if that denial says that the credential is unknown, the chain
    /// returns the denial of `next`.
    fn or<A: ServerAuthenticator>(self, next: A) -> Chain<Self, A>
    where
        Self: InMemoryAuthenticator + Sized,
    {
        Chain::new(self, next)
    }
}

/// An authenticator that decides from memory. It decides at once, without an await.
///
/// The trait is implemented for every [`ServerAuthenticator`] whose future is
/// [`std::future::Ready`], and for chains of such authenticators.
///
/// # Examples
///
/// ```
/// use otlp_auth::server::{FixedTokens, InMemoryAuthenticator};
/// use otlp_auth::{Credential, Decision};
///
/// let tokens = FixedTokens::new([("team-a", "iapikeyok-of-team-a")])?;
/// let verdict = tokens.decide(&Credential::new("StackState", "iapikeyok-of-team-a")?);
/// assert!(matches!(verdict, Ok(Decision::Allow(identity)) if identity.name() == "team-a"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait InMemoryAuthenticator: ServerAuthenticator {
    /// Returns the verdict to which [`authenticate`](ServerAuthenticator::authenticate) resolves.
    ///
    /// # Errors
    ///
    /// Returns [`Undecided`](crate::Undecided) when the authenticator has no data from which it can
    /// decide.
    fn decide(&self, credential: &Credential<'_>) -> Verdict;
}

impl<A: ServerAuthenticator<Future: ReadyVerdict> + ?Sized> InMemoryAuthenticator for A {
    #[inline]
    fn decide(&self, credential: &Credential<'_>) -> Verdict {
        self.authenticate(credential).verdict()
    }
}

/// A future that already has its verdict when it is made.
pub trait ReadyVerdict: Future<Output = Verdict> {
    /// Returns the verdict without polling the future.
    #[doc(hidden)]
    fn verdict(self) -> Verdict;
}

impl ReadyVerdict for Ready<Verdict> {
    #[inline]
    fn verdict(self) -> Verdict {
        self.into_inner()
    }
}

impl<A: ServerAuthenticator + ?Sized> ServerAuthenticator for Arc<A> {
    type Future = A::Future;

    #[inline]
    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        (**self).authenticate(credential)
    }

    #[inline]
    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        (**self).verdict_at_once(credential)
    }
}

/// Makes an authenticator that calls the closure `decide`, which returns a future of the verdict.
///
/// # Examples
///
/// ```
/// use std::future::ready;
/// use otlp_auth::server::{AuthenticateLayer, authenticator_fn};
/// use otlp_auth::{Credential, Decision, DenyReason, Identity};
///
/// let layer = AuthenticateLayer::new(authenticator_fn(|credential: &Credential<'_>| {
///     ready(Ok(match credential.expose_token().strip_prefix("edge-") {
///         Some(site) => Decision::Allow(Identity::new(site)),
///         None => Decision::Deny(DenyReason::Unknown.into()),
///     }))
/// }));
/// ```
pub fn authenticator_fn<F, V>(decide: F) -> AuthenticatorFn<F>
where
    F: Fn(&Credential<'_>) -> V + Send + Sync,
    V: Future<Output = Verdict> + Send,
{
    AuthenticatorFn { decide }
}

/// An authenticator made of a closure by [`authenticator_fn`].
#[derive(Clone, Copy)]
pub struct AuthenticatorFn<F> {
    decide: F,
}

impl<F, V> ServerAuthenticator for AuthenticatorFn<F>
where
    F: Fn(&Credential<'_>) -> V + Send + Sync,
    V: Future<Output = Verdict> + Send,
{
    type Future = V;

    fn authenticate(&self, credential: &Credential<'_>) -> V {
        (self.decide)(credential)
    }
}

impl<F> fmt::Debug for AuthenticatorFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatorFn").finish_non_exhaustive()
    }
}
