//! The receiving end: find the credential, decide, answer or pass on with an
//! [`Identity`](crate::Identity).

mod authenticate;
mod authenticator;
mod fixed_tokens;
#[cfg(feature = "tonic")]
mod interceptor;
mod lookup;
mod report;
mod response;
mod token_file;

pub use authenticate::{Authenticate, AuthenticateLayer, ResponseFuture};
pub use authenticator::{Chain, ChainFuture, InMemoryAuthenticator, ServerAuthenticator};
pub use fixed_tokens::{FixedTokens, FixedTokensError};
#[cfg(feature = "tonic")]
pub use interceptor::Interceptor;
pub use lookup::{Lookup, LookupError};
pub use response::ResponseBody;
pub use token_file::TokenFile;
