//! Where a PostgreSQL database is, and how to connect to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

/// How long each address of a host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After this time without a byte from the database, the operating system asks whether the other
/// end is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// The time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// After this many questions without an answer, the connection is closed.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may stay without an acknowledgement of the other end.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// The options for using a PostgreSQL database: a URL and a password.
///
/// The URL has the form `postgres://user@host:port/database?parameter=value`, as libpq reads it.
/// It may name several hosts with commas, `postgres://user@one:5432,two:5432/database`: the first
/// one that can be written to is used, so that a standby takes over when it was promoted.
///
/// The parameters are those of [`tokio_postgres::Config`], and in addition:
///
/// | parameter | means |
/// |---|---|
/// | `sslmode` | `disable`, `prefer` (the default), `require`, `verify-ca` or `verify-full`. Only `verify-full` makes sure that the server is the right one. With `sslrootcert`, `require` means `verify-ca`, as for libpq |
/// | `sslrootcert` | the path of a PEM file with the certificates that are trusted. The default is the certificates that the system trusts, which `system` says too |
///
/// # Examples
///
/// ```
/// use ingestion_keys::store::PostgresOptions;
///
/// let options = PostgresOptions::parse("postgres://keys:secret@db:5432/keys?sslmode=verify-full")?;
/// assert_eq!(options.to_string(), "postgres://keys@db:5432/keys?sslmode=verify-full");
/// assert!(PostgresOptions::parse("postgres://db/keys?sslmode=sometimes").is_err());
/// # Ok::<(), ingestion_keys::store::PostgresUrlError>(())
/// ```
#[derive(Clone)]
pub struct PostgresOptions {
    /// One configuration for each host of the URL.
    pub(super) hosts: Vec<Config>,
    pub(super) trust: Trust,
    /// The URL without its password.
    shown: String,
}

/// Which servers are trusted, if the connection uses TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Every server.
    Any,
    /// A server with a certificate of a trusted authority.
    Authority { roots: Roots, checks_name: bool },
}

/// The authorities that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The authorities that the system trusts.
    System,
    /// The certificates in this PEM file.
    File(PathBuf),
}

/// A URL of a PostgreSQL database cannot be used. The message does not contain the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// The URL begins with neither `postgres://` nor `postgresql://`.
    #[error("expected postgres://user@host:port/database")]
    Scheme,
    /// The URL names no host.
    #[error("the URL names no host: expected postgres://user@host:port/database")]
    NoHost,
    /// The password may end at a character that has to be encoded.
    #[error("`?`, `@` and `&` in a user or a password are written as %3F, %40 and %26")]
    Password,
    /// The value of `sslmode` is not one of the five modes.
    #[error("`sslmode` must be disable, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// Another part of the URL is wrong.
    #[error("{0}")]
    Other(String),
}

impl PostgresOptions {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// When the URL is not that of a PostgreSQL database, or a parameter is wrong or unknown.
    pub fn parse(url: &str) -> Result<Self, PostgresUrlError> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or(PostgresUrlError::Scheme)?;
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !base.contains('@') && query.contains('@') {
            return Err(PostgresUrlError::Password);
        }
        let (mut mode, mut root_file) = (Mode::Prefer, None);
        // These two parameters are read here, and all others by `tokio_postgres`.
        let mut others: Vec<&str> = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Mode::named(value)?,
                Some(("sslrootcert", value)) => root_file = Some(decoded(value)?),
                _ => others.push(parameter),
            }
        }
        let ssl_mode = match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        };
        let hosts = each_host(base)
            .map(|base| host(&format!("postgres://{base}?{}", others.join("&")), ssl_mode))
            .collect::<Result<_, _>>();
        // The name of an unknown parameter may be the rest of a password with an `&`.
        let hosts = match hosts {
            Err(PostgresUrlError::Other(_)) if others.iter().any(|name| is_password(name)) => {
                return Err(PostgresUrlError::Password);
            }
            hosts => hosts?,
        };
        let roots = match &root_file {
            Some(path) if path != "system" => Roots::File(PathBuf::from(path)),
            _ => Roots::System,
        };
        let trust = match mode {
            Mode::VerifyFull => Trust::Authority { roots, checks_name: true },
            Mode::VerifyCa => Trust::Authority { roots, checks_name: false },
            Mode::Require if root_file.is_some() => Trust::Authority { roots, checks_name: false },
            Mode::Disable | Mode::Prefer | Mode::Require => Trust::Any,
        };
        Ok(Self { hosts, trust, shown: without_password(url) })
    }

    /// Sets the password, in place of the password in the URL.
    #[must_use]
    pub fn with_password(mut self, password: &[u8]) -> Self {
        self.hosts.iter_mut().for_each(|host| _ = host.password(password));
        self
    }

    /// Returns whether the options have a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.hosts.iter().any(|host| host.get_password().is_some())
    }
}

/// The values of `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    fn named(name: &str) -> Result<Self, PostgresUrlError> {
        match name {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(PostgresUrlError::SslMode),
        }
    }
}

/// Divides the part of a URL before its parameters, `user@one:5432,two:5432/database`, into one
/// such part for each host.
fn each_host(base: &str) -> impl Iterator<Item = String> {
    let (place, database) = base.split_once('/').unwrap_or((base, ""));
    let (user, hosts) = place.split_once('@').map_or(("", place), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    hosts.split(',').map(move |host| format!("{user}{at}{host}/{database}"))
}

/// Reads the URL of one host.
fn host(url: &str, ssl_mode: SslMode) -> Result<Config, PostgresUrlError> {
    let mut config: Config = url.parse().map_err(reason)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(PostgresUrlError::NoHost);
    }
    config.ssl_mode(ssl_mode);
    set_defaults(&mut config);
    Ok(config)
}

/// Sets what the URL does not say. A database that is gone is noticed within half a minute, and a
/// server that cannot be written to, such as a standby, is not used.
fn set_defaults(config: &mut Config) {
    if config.get_application_name().is_none() {
        config.application_name("ingestion-gateway");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    config
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
}

/// Says what `tokio_postgres` found wrong. Its messages name a parameter and no value.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn reason(error: tokio_postgres::Error) -> PostgresUrlError {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    PostgresUrlError::Other(cause.unwrap_or_else(|| "the URL cannot be understood".to_owned()))
}

fn decoded(value: &str) -> Result<String, PostgresUrlError> {
    let decoded = percent_decode_str(value).decode_utf8();
    let not_text = |_| PostgresUrlError::Other("`sslrootcert` is not UTF-8".to_owned());
    decoded.map(Into::into).map_err(not_text)
}

/// Removes the password from a URL: the one before `@`, and the parameter `password`.
fn without_password(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(url, query)| (url, Some(query)));
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgres", base));
    let shown = match rest.rsplit_once('@') {
        Some((user, place)) => {
            let user = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}://{user}@{place}")
        }
        None => format!("{scheme}://{rest}"),
    };
    let kept: Vec<&str> = query
        .unwrap_or_default()
        .split('&')
        .filter(|parameter| !parameter.is_empty() && !is_password(parameter))
        .collect();
    if kept.is_empty() { shown } else { format!("{shown}?{}", kept.join("&")) }
}

fn is_password(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    percent_decode_str(name).decode_utf8_lossy() == "password"
}

impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresOptions").field(&self.shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a URL has a password in one of two places, several hosts, and parameters of both
    // readers.
    // Guarantee: the password is in neither the text nor the debug output. Each host has a
    // configuration of its own with its port, and cannot be a standby.
    #[test]
    fn a_url_is_read_host_by_host() {
        for url in [
            "postgres://u:pa%40ss@one:1,two:2/d?application_name=x&sslmode=require",
            "postgresql://u@one:1,two:2/d?password=pa%40ss&application_name=x&sslmode=require",
            "postgres://u@one:1,two:2/d?p%61ssword=pa%40ss&application_name=x&sslmode=require",
        ] {
            let options = PostgresOptions::parse(url).unwrap();
            assert!(options.has_password());
            for text in [options.to_string(), format!("{options:?}")] {
                assert!(!text.contains("pa%40ss") && !text.contains("pa@ss"), "{text}");
                assert!(text.contains("u@one:1,two:2/d?application_name=x"), "{text}");
            }
            let ports: Vec<_> = options.hosts.iter().map(|host| host.get_ports()[0]).collect();
            assert_eq!(ports, [1, 2]);
            for host in &options.hosts {
                assert_eq!(host.get_password(), Some(&b"pa@ss"[..]));
                assert_eq!(host.get_application_name(), Some("x"));
                assert_eq!(host.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            }
        }
    }

    // Scenario: each `sslmode` is used with and without `sslrootcert`.
    // Guarantee: only `verify-full` checks the name. `require` with a file of certificates checks
    // the certificate, as libpq does.
    #[test]
    fn each_sslmode_trusts_what_it_says() {
        let trust = |parameters: &str| {
            PostgresOptions::parse(&format!("postgres://u@h/d?{parameters}")).unwrap().trust
        };
        let authority = |roots, checks_name| Trust::Authority { roots, checks_name };
        let file = || Roots::File(PathBuf::from("/a b.pem"));
        for mode in ["disable", "prefer", "require"] {
            assert_eq!(trust(&format!("sslmode={mode}")), Trust::Any, "{mode}");
        }
        assert_eq!(trust(""), Trust::Any);
        assert_eq!(trust("sslmode=verify-ca"), authority(Roots::System, false));
        assert_eq!(trust("sslmode=verify-full"), authority(Roots::System, true));
        let with_file = |mode: &str| trust(&format!("sslmode={mode}&sslrootcert=/a%20b.pem"));
        assert_eq!(with_file("require"), authority(file(), false));
        assert_eq!(with_file("verify-full"), authority(file(), true));
    }

    // Scenario: URLs have another scheme, no host, or a parameter that is wrong or unknown.
    // Guarantee: none can be used. The message names the parameter and no value.
    #[test]
    fn a_wrong_url_is_explained() {
        for (url, says) in [
            ("mysql://u@h/d", "postgres://"),
            ("postgres:///d", "no host"),
            ("postgres://u:p?secret@h/d", "%3F"),
            ("postgres://u@h/d?password=p&secret=x", "%26"),
            ("postgres://u:secret@h/d?sslmode=secret", "`sslmode`"),
            ("postgres://u:secret@h/d?secretly=secret", "secretly"),
            ("postgres://u:secret@h:secret/d", "port"),
            ("postgres://u:secret@h/d?connect_timeout=secret", "connect_timeout"),
        ] {
            let error = PostgresOptions::parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.replace("secretly", "").contains("secret"), "{error}");
        }
    }
}
