//! The settings that are in force. Each setting comes from its flag, or else from the environment,
//! or else from the configuration file.

use std::path::{Path, PathBuf};

use reqwest::Url;
use secrecy::SecretString;

use super::file::ReadError;
use super::token::{POD_TOKEN, Token, of_flag, read_token, trimmed};
use super::validation::{Problems, validate, validation_title};
use super::{ConfigFile, ConnectionFlags, StsContext};
use crate::environment::Environment;
use crate::error::{Failure, FailureKind};
use crate::printer::{Printer, escape};

/// The address of a server and how to connect to it, after validation.
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) api_path: String,
    pub(crate) token: Token,
    pub(crate) skip_ssl: bool,
    pub(crate) ca_cert: Option<PathBuf>,
}

impl Settings {
    /// Merges the flags, the environment and the configuration file.
    pub(crate) fn load(
        flags: &ConnectionFlags,
        environment: &Environment,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        let overrides = Overrides::new(flags, environment)?;
        let (config, error) =
            match ConfigFile::locate(flags.config.clone(), environment).map(|file| file.read()) {
                Ok(Ok(config)) => (Some(config), None),
                Ok(Err(error)) => (None, Some(error)),
                Err(_) => (None, None),
            };
        let name = flags
            .context
            .clone()
            .filter(|name| !name.is_empty())
            .or_else(|| environment.get("STS_CLI_CONTEXT"));
        let name = name
            .or_else(|| config.as_ref().map(|config| config.current_context.clone()))
            .unwrap_or_default();
        let context = match &config {
            // A file may have contexts, but no current context.
            Some(config) if !name.is_empty() => Some(config.context(&name)?),
            _ => None,
        };
        printer.trace(2, || format!("context: {name:?}"));
        let context = context.cloned().unwrap_or_default();
        let saved_for = overrides.url_of_saved_token(&context);
        let source_of_url = overrides.url_source;
        let settings = overrides.merge(context, Path::new(POD_TOKEN)).map_err(|problems| {
            let title = if name.is_empty() {
                "Failed to validate the context:".to_owned()
            } else {
                validation_title(&name)
            };
            problems.into_failure(&title, source_of_url, error.as_ref())
        })?;
        if let Some(saved_for) = saved_for {
            settings.confirm_server(&name, &saved_for, printer)?;
        }
        if let Some(error @ (ReadError::Malformed { .. } | ReadError::Unreadable { .. })) = error {
            printer.warning(&format!(
                "{error}: the file is ignored, because the flags and the environment suffice"
            ));
        }
        Ok(settings)
    }

    /// Asks the user before the token of the context `name` is sent to another server than
    /// `saved_for`, which is the URL of the context. If there is no terminal, it is a failure.
    fn confirm_server(
        &self,
        name: &str,
        saved_for: &str,
        printer: &Printer,
    ) -> Result<(), Failure> {
        if is_same_server(&self.url, saved_for) {
            return Ok(());
        }
        // The URL of the context was not validated, so it may contain a secret outside its origin.
        let saved_for = Url::parse(saved_for)
            .map_or_else(|_| "another server".to_owned(), |url| url.origin().ascii_serialization());
        let (name, url) = (escape(name), escape(&self.url));
        let message =
            format!("the token of the context '{name}' is for {saved_for}, not for {url}");
        if !printer.can_ask() {
            return Err(Failure::new(FailureKind::Configuration, message).with_hint(&format!(
                "Give a token for {url} with --api-token, --service-token or STS_CLI_API_TOKEN, or \
                 save a context for it with `sts context save --name NAME --url {url}`"
            )));
        }
        if printer.ask(&format!("The{}. Send it to {url}?", &message[3..])) {
            return Ok(());
        }
        Err(Failure::new(FailureKind::Declined, "the token was not sent"))
    }

    /// Returns the settings of a context of the file alone, without flags and environment.
    pub(crate) fn from_context(name: &str, context: StsContext) -> Result<Self, Failure> {
        let failure =
            |problems: Problems| problems.into_failure(&validation_title(name), None, None);
        Self::validated(context).map_err(failure)
    }

    /// Returns the settings of a context that is not in the file yet.
    pub(crate) fn from_new_context(name: &str, context: StsContext) -> Result<Self, Failure> {
        let failure = |problems: Problems| {
            Failure::new(FailureKind::Configuration, problems.list(&validation_title(name)))
        };
        Self::validated(context).map_err(failure)
    }

    fn validated(context: StsContext) -> Result<Self, Problems> {
        let StsContext { url, api_token, service_token, api_path, skip_ssl, ca_cert_path, .. } =
            context;
        let tokens =
            [trimmed(api_token).map(Token::Api), trimmed(service_token).map(Token::Service), None];
        validate(url, api_path, tokens, skip_ssl, ca_cert_path)
    }
}

/// The settings from flags and environment.
struct Overrides {
    url: Option<String>,
    /// The flag or the variable that gave `url`.
    url_source: Option<&'static str>,
    api_path: Option<String>,
    tokens: [Option<Token>; 3],
    skip_ssl: Option<bool>,
    ca_cert: Option<PathBuf>,
}

impl Overrides {
    fn new(flags: &ConnectionFlags, environment: &Environment) -> Result<Self, Failure> {
        let secret = |flag_name, flag: &Option<SecretString>, name| -> Result<_, Failure> {
            let variable = || trimmed(environment.get(name).map(SecretString::from));
            Ok(of_flag(flag_name, flag)?.or_else(variable))
        };
        let kubernetes = match (&flags.k8s_sa_token, &flags.k8s_sa_token_path) {
            (None, Some(path)) => Some(read_token(path)?),
            (flag, _) => match (
                secret("k8s-sa-token", flag, "STS_CLI_K8S_SA_TOKEN")?,
                environment.path("STS_CLI_K8S_SA_TOKEN_PATH"),
            ) {
                (None, Some(path)) => Some(read_token(&path)?),
                (token, _) => token,
            },
        };
        let (skip_ssl, ca_cert) = tls_settings(flags, environment)?;
        let flag = flags.url.clone().filter(|url| !url.is_empty()).map(|url| (url, "--url"));
        let variable =
            || environment.get("STS_CLI_URL").map(|url| (url, "the variable STS_CLI_URL"));
        let (url, url_source) = flag.or_else(variable).unzip();
        Ok(Self {
            url,
            url_source,
            api_path: environment.get("STS_CLI_API_PATH"),
            tokens: [
                secret("api-token", &flags.api_token, "STS_CLI_API_TOKEN")?.map(Token::Api),
                secret("service-token", &flags.service_token, "STS_CLI_SERVICE_TOKEN")?
                    .map(Token::Service),
                kubernetes.map(Token::Kubernetes),
            ],
            skip_ssl,
            ca_cert,
        })
    }

    /// Returns the URL of the context if the token of the context would be used with another URL.
    /// A context without a URL does not say which server its token is for.
    fn url_of_saved_token(&self, context: &StsContext) -> Option<String> {
        let has_token = [&context.api_token, &context.service_token]
            .into_iter()
            .any(|token| trimmed(token.clone()).is_some());
        let is_used = self.url.is_some() && self.tokens.iter().all(Option::is_none);
        (is_used && has_token && !context.url.is_empty()).then(|| context.url.clone())
    }

    /// Uses the context for each setting that neither flags nor the environment give. If there is
    /// no token at all, uses the service account token of the pod.
    fn merge(self, context: StsContext, pod_token: &Path) -> Result<Settings, Problems> {
        let mut tokens = self.tokens;
        if tokens.iter().all(Option::is_none) {
            tokens = [
                trimmed(context.api_token).map(Token::Api),
                trimmed(context.service_token).map(Token::Service),
                None,
            ];
        }
        if tokens.iter().all(Option::is_none) {
            tokens[2] = read_token(pod_token).ok().map(Token::Kubernetes);
        }
        let api_path = self.api_path.unwrap_or(context.api_path);
        let api_path = if api_path.is_empty() { super::default_api_path() } else { api_path };
        // That the certificate of one server is not verified says nothing about another server.
        let is_its_server = match &self.url {
            Some(url) => context.url.is_empty() || is_same_server(url, &context.url),
            None => true,
        };
        let skip_ssl = self.skip_ssl.unwrap_or(context.skip_ssl && is_its_server);
        validate(
            self.url.unwrap_or(context.url),
            api_path,
            tokens,
            skip_ssl,
            self.ca_cert.or(context.ca_cert_path),
        )
    }
}

/// Returns whether two URLs have the same scheme, host and port.
fn is_same_server(one: &str, other: &str) -> bool {
    match (Url::parse(one), Url::parse(other)) {
        (Ok(one), Ok(other)) => one.origin() == other.origin(),
        _ => false,
    }
}

/// Returns two settings from flags and environment. The first says whether the verification of
/// certificates is skipped. The second is the path of the file with additional certificate
/// authorities.
pub(crate) fn tls_settings(
    flags: &ConnectionFlags,
    environment: &Environment,
) -> Result<(Option<bool>, Option<PathBuf>), Failure> {
    let skip_ssl = match (flags.skip_ssl, environment.get("STS_SKIP_SSL")) {
        (None, Some(text)) => Some(boolean(&text)?),
        (flag, _) => flag,
    };
    Ok((skip_ssl, flags.ca_cert.clone().or_else(|| environment.path("STS_CLI_CA_CERT"))))
}

fn boolean(text: &str) -> Result<bool, Failure> {
    match text.to_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(Failure::new(
            FailureKind::Configuration,
            "the environment variable STS_SKIP_SSL must be true or false",
        )),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    // Scenario: URLs are compared that differ in their spelling, or in their scheme, host or port.
    // Guarantee: the scheme, the host and the port decide. The path, the spelling of the host, and
    // a default port do not. A name is another server than its address.
    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        let saved = "https://sts.example";
        for same in ["https://STS.example/", "HTTPS://sts.example:443", "https://sts.example/x"] {
            assert!(is_same_server(same, saved), "{same}");
        }
        for other in [
            "http://sts.example",
            "http://sts.example:443",
            "https://sts.example:8443",
            "https://sts.example.evil.example",
            "https://xsts.example",
            "https://sts.example.",
        ] {
            assert!(!is_same_server(other, saved), "{other}");
        }
        assert!(is_same_server("http://127.1:80", "http://127.0.0.1"));
        assert!(is_same_server("http://[::1]", "http://[0:0::1]:80/"));
        assert!(!is_same_server("http://localhost", "http://127.0.0.1"));
        assert!(!is_same_server("https://sts.example", "sts.example"));
    }

    // Scenario: a context does not verify the certificate of its server. The URL is that of the
    // context, that of the same server with a path, or that of another server. In the last case,
    // the flag says that no certificate is verified.
    // Guarantee: the setting of the context is used only for its server. The flag is used for every
    // server.
    #[test]
    fn unverified_certificates_are_those_of_one_server() {
        let skips = |url: Option<&str>, flag| {
            let overrides = Overrides {
                url: url.map(str::to_owned),
                url_source: None,
                api_path: None,
                tokens: [Some(Token::Api("api".into())), None, None],
                skip_ssl: flag,
                ca_cert: None,
            };
            let context = StsContext {
                url: "https://sts.example".to_owned(),
                skip_ssl: true,
                ..StsContext::default()
            };
            overrides.merge(context, Path::new("nowhere")).ok().unwrap().skip_ssl
        };
        assert!(skips(None, None));
        assert!(skips(Some("https://STS.example/x"), None));
        assert!(!skips(Some("https://other.example"), None));
        assert!(!skips(None, Some(false)));
        assert!(skips(Some("https://other.example"), Some(true)));
    }

    // Scenario: sts runs in a pod, once without any token and once with an API token in the
    // context.
    // Guarantee: the service account token of the pod is used only if there is no other token. The
    // line end of the token file is removed.
    #[test]
    fn the_pods_token_is_the_last_resort() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"jwt\n").unwrap();
        let load = |context: StsContext| {
            let overrides = Overrides {
                url: Some("http://sts".to_owned()),
                url_source: None,
                api_path: None,
                tokens: [None, None, None],
                skip_ssl: None,
                ca_cert: None,
            };
            overrides.merge(context, file.path()).ok().map(|settings| settings.token)
        };
        let Some(Token::Kubernetes(token)) = load(StsContext::default()) else {
            panic!("not the token of the pod")
        };
        assert_eq!(token.expose_secret(), "jwt");
        let context = StsContext { api_token: Some("api".into()), ..StsContext::default() };
        assert!(matches!(load(context), Some(Token::Api(token)) if token.expose_secret() == "api"));
    }
}
