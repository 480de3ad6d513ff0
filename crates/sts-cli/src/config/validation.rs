//! Checks whether the settings of a context are complete and make sense.

use std::path::PathBuf;

use reqwest::Url;

use super::file::ReadError;
use super::settings::Settings;
use super::token::Token;
use crate::error::{Failure, FailureKind};
use crate::printer::escape;

/// Everything that is wrong with a context.
#[derive(Default)]
pub(super) struct Problems {
    all: Vec<String>,
    /// Whether the URL is wrong, and not only absent.
    has_wrong_url: bool,
    /// Whether a setting is absent, which the configuration file could have.
    has_absent_setting: bool,
}

impl Problems {
    fn wrong_url(&mut self, problem: String) {
        self.has_wrong_url = true;
        self.all.push(problem);
    }

    fn absent(&mut self, field: &str) {
        self.has_absent_setting = true;
        self.all.push(format!("Missing field: {field}"));
    }

    pub(super) fn list(&self, title: &str) -> String {
        std::iter::once(title)
            .chain(self.all.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("\n* ")
    }

    /// Converts the problems to the failure that is reported. `url_source` is the flag or the
    /// variable that gave the URL, and `error` is why the file could not be read.
    pub(super) fn into_failure(
        self,
        title: &str,
        url_source: Option<&str>,
        error: Option<&ReadError>,
    ) -> Failure {
        let message = format!("could not load StackState CLI config\n{}", self.list(title));
        let mut failure = Failure::new(FailureKind::Configuration, message);
        if let Some(source) = url_source.filter(|_| self.has_wrong_url) {
            failure = failure.with_hint(&format!("The URL comes from {source}"));
        }
        if let Some(error) = error.filter(|_| self.has_absent_setting) {
            // Adds why the file could not be read, and what the user can do.
            let reason = error.to_failure().message;
            let reason = reason.split_once('\n').map_or(reason.as_str(), |(_, reason)| reason);
            failure = failure.with_hint(reason);
        }
        failure
    }
}

pub(super) fn validation_title(name: &str) -> String {
    format!("Failed to validate the '{}' context:", escape(name))
}

/// Checks the settings. The text of a token is checked later, where the token is put into a header.
pub(super) fn validate(
    url: String,
    api_path: String,
    tokens: [Option<Token>; 3],
    skip_ssl: bool,
    ca_cert: Option<PathBuf>,
) -> Result<Settings, Problems> {
    let mut problems = Problems::default();
    if url.is_empty() {
        problems.absent("url");
    } else if !url.starts_with("http://") && !url.starts_with("https://") {
        // The text before or after one of these characters may contain a secret.
        let text = if url.contains(['@', '?', '#']) {
            String::new()
        } else {
            format!("{} ", escape(&url))
        };
        problems.wrong_url(format!("URL {text}must start with \"https://\" or \"http://\""));
    } else {
        match Url::parse(&url) {
            Err(error) => problems.wrong_url(format!(
                "the URL is invalid ({error}): give one such as https://stackstate.example"
            )),
            // The message does not quote the URL, because the user name and the password may be
            // secrets.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                problems.wrong_url("the URL must not contain a user name or a password".to_owned());
            }
            Ok(url) if url.query().is_some() || url.fragment().is_some() => {
                problems.wrong_url("the URL must not contain a query or a fragment".to_owned());
            }
            Ok(_) => {}
        }
    }
    let mut tokens = tokens.into_iter().flatten();
    let (token, other) = (tokens.next(), tokens.next());
    if other.is_some() {
        problems
            .all
            .push("Can only specify one of {api-token | service-token | k8s-sa-token}".to_owned());
    }
    match token {
        Some(token) if problems.all.is_empty() => {
            Ok(Settings { url, api_path, token, skip_ssl, ca_cert })
        }
        Some(_) => Err(problems),
        None => {
            problems.absent("{api-token | service-token | k8s-sa-token}");
            Err(problems)
        }
    }
}
