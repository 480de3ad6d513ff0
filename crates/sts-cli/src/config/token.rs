//! The credential of the management API.

use std::path::Path;

use ingestion_api::header;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Failure, FailureKind};
use crate::printer::escape;

/// The file in which Kubernetes stores the service account token of a pod.
pub(super) const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The headers that contain secrets, and that users paste together with the secret.
const HEADERS: [&str; 6] = [
    "authorization",
    header::API_TOKEN,
    header::API_KEY,
    header::SERVICE_BEARER,
    header::STS_API_KEY,
    header::DD_API_KEY,
];

/// The schemes that users paste together with a secret, in lower case.
const SCHEMES: [&str; 6] =
    ["apikey", "basic", "bearer", "servicebearer", "stackstate", "suseobservability"];

/// A credential of the management API. Each kind has its own header.
#[derive(Clone)]
pub(crate) enum Token {
    Api(SecretString),
    Service(SecretString),
    Kubernetes(SecretString),
}

/// Returns the token without blanks and line ends around it, unless nothing is left.
pub(crate) fn trimmed(token: Option<SecretString>) -> Option<SecretString> {
    let token = token?;
    let text = token.expose_secret().trim();
    (!text.is_empty()).then(|| SecretString::from(text))
}

/// Returns the token that the flag `--name` gives. An empty token is a failure, because the user
/// expects that this token is used and no other.
pub(crate) fn of_flag(
    name: &str,
    flag: &Option<SecretString>,
) -> Result<Option<SecretString>, Failure> {
    let token = trimmed(flag.clone());
    if flag.is_some() && token.is_none() {
        let message = format!("the flag --{name} is empty");
        let hint = "Give a token, and check the shell variable or the file that it comes from";
        return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
    }
    Ok(token)
}

/// Says what is wrong with the text of a secret, as in "has a blank in it". Returns `None` if
/// nothing is wrong. The result has no part of the secret.
pub(crate) fn problem(secret: &str) -> Option<&'static str> {
    let word_before = |separator| {
        let word = secret.split_once(separator).map(|(word, _)| word.trim().to_ascii_lowercase());
        move |words: &[&str]| word.is_some_and(|word| words.contains(&word.as_str()))
    };
    // These quotes may be part of a secret. At its ends, they were pasted together with it.
    let outer = ['\'', '`'];
    if secret.contains(['\n', '\r']) {
        Some("has a line end in it: give it as one line")
    } else if secret.contains(['"', '“', '”', '‘', '’'])
        || secret.starts_with(outer)
        || secret.ends_with(outer)
    {
        Some("has a quote in it: give it without quotes")
    } else if word_before(':')(&HEADERS) {
        Some("begins with the name of a header: give only the text after it")
    } else if word_before(' ')(&SCHEMES) {
        Some("begins with an authentication scheme: give only the text after it")
    } else if secret.contains(char::is_whitespace) {
        Some("has a blank in it: give it without blanks and without other text")
    } else if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("has a character that is not allowed in an HTTP header")
    } else {
        None
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: tokens have blanks and line ends around them, or consist of nothing else.
    // Guarantee: what is around the token is removed. A token without a character is no token, and
    // in a flag it is a failure.
    #[test]
    fn blanks_around_a_token_are_removed() {
        for text in ["tok", "tok\n", "tok\r\n", " tok\t", "\ntok "] {
            let token = of_flag("api-token", &Some(text.into())).ok().flatten().unwrap();
            assert_eq!(token.expose_secret(), "tok");
        }
        for text in ["", " ", "\n"] {
            assert!(trimmed(Some(text.into())).is_none());
            let failure = of_flag("api-token", &Some(text.into())).err().unwrap();
            assert!(failure.message.starts_with("the flag --api-token is empty\n"), "{failure:?}");
        }
        assert!(of_flag("api-token", &None).is_ok_and(|token| token.is_none()));
    }

    // Scenario: secrets have something in them that was pasted by mistake.
    // Guarantee: the problem is named. A secret without such a thing has no problem.
    #[test]
    fn what_is_wrong_with_a_secret_is_named() {
        for (secret, expected) in [
            ("can\nary", "has a line end"),
            ("can\r\nary", "has a line end"),
            ("\"canary\"", "has a quote"),
            ("'canary'", "has a quote"),
            ("canary\"", "has a quote"),
            ("“canary”", "has a quote"),
            ("X-API-Token: canary", "begins with the name of a header"),
            ("authorization:canary", "begins with the name of a header"),
            ("Sts-Api-Key: canary", "begins with the name of a header"),
            ("ApiKey canary", "begins with an authentication scheme"),
            ("BEARER canary", "begins with an authentication scheme"),
            ("SUSEObservability  canary", "begins with an authentication scheme"),
            ("my canary", "has a blank"),
            ("my\tcanary", "has a blank"),
            ("my\u{a0}canary", "has a blank"),
            ("canar\u{fd}", "has a character"),
            ("\u{feff}canary", "has a character"),
            ("canary\u{7f}", "has a character"),
        ] {
            let problem = problem(secret).unwrap();
            assert!(problem.starts_with(expected) && !problem.contains("canary"), "{problem}");
        }
        for secret in ["canary", "svctok-a_b.c~d", "a:b", "a+/==", "bearer", "{json}", "can'a`ry"] {
            assert_eq!(problem(secret), None, "{secret}");
        }
    }
}
