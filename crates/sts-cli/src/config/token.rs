//! The credential of the management API.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::error::{Failure, FailureKind};
use crate::printer::escape;

/// The file in which Kubernetes stores the service account token of a pod.
pub(super) const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A credential of the management API. Each kind has its own header.
#[derive(Clone)]
pub(crate) enum Token {
    Api(SecretString),
    Service(SecretString),
    Kubernetes(SecretString),
}

/// Returns the token, unless it is empty.
pub(crate) fn non_empty(token: Option<SecretString>) -> Option<SecretString> {
    token.filter(|token| !token.expose_secret().is_empty())
}

/// Reads a token from a file. White space around the token, such as a line end, is removed.
pub(super) fn read_token(path: &Path) -> Result<SecretString, Failure> {
    let path_text = path.to_string_lossy();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(
            FailureKind::Configuration,
            format!("cannot read the Kubernetes token file {} ({error})", escape(&path_text)),
        )
    })?;
    match text.trim() {
        "" => Err(Failure::new(
            FailureKind::Configuration,
            format!("the Kubernetes token file {} is empty", escape(&path_text)),
        )),
        token => Ok(SecretString::from(token)),
    }
}
