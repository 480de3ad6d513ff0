//! The receiving end. It extracts the credential of a request and decides on the credential. An
//! allowed request gets an [`Identity`](crate::Identity); any other request gets a rejection.

mod authenticate;
mod authenticator;
mod chain;
mod challenge;
mod credential_extractor;
mod fixed_tokens;
#[cfg(feature = "tonic")]
mod interceptor;
mod rejection;
mod report;
mod responder;
mod response_body;
mod retry_after;
mod status;
#[cfg(feature = "token-file")]
mod token_file;

pub use authenticate::{Authenticate, AuthenticateLayer, ResponseFuture};
pub use authenticator::{
    AuthenticatorFn, InMemoryAuthenticator, ServerAuthenticator, authenticator_fn,
};
pub use chain::{Chain, ChainFuture};
pub use credential_extractor::CredentialExtractor;
pub use fixed_tokens::{FixedTokens, FixedTokensError};
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use interceptor::Interceptor;
pub use rejection::Rejection;
pub use responder::{OtlpResponder, Responder};
pub use response_body::ResponseBody;
pub use retry_after::retry_after;
#[cfg(feature = "token-file")]
#[cfg_attr(docsrs, doc(cfg(feature = "token-file")))]
pub use token_file::{OpenTokenFileError, TokenFile};
