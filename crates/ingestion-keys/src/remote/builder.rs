//! The builder of a follower.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use otlp_auth::client::{BearerTokenAuth, BuildError, Builder};
use secrecy::SecretString;
use server_trust::RootsError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Follower;
use super::connection::Gateway;
use super::reporter::Reporter;
use super::session;
use crate::cache::{KeyCache, KeyCacheOptions};
use crate::clock::{Clock, SystemClock};

/// The time between two reports of usage, unless it is set.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Collects the settings of a [`Follower`]; made by [`Follower::builder`].
#[derive(Debug)]
pub struct FollowerBuilder {
    url: String,
    auth: Builder,
    ca_file: Option<PathBuf>,
    options: KeyCacheOptions,
    report_interval: Duration,
    clock: Arc<dyn Clock>,
}

/// Why a follower cannot start. No variant carries a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The URL is not valid, or is plaintext to another host, or the token or its file cannot be
    /// used.
    #[error("the URL or the token of the gateway cannot be used")]
    Auth(#[from] BuildError),
    /// The file with certificate authorities cannot be read.
    #[error("the file with certificates {} cannot be read", path.display())]
    CaFile {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no certificate that a gateway can be verified with.
    #[error("the certificates cannot be used")]
    Certificates(#[from] RootsError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// A duration is zero. Then the follower would never decide, or would report without a pause.
    #[error("`{setting}` must not be zero")]
    Zero {
        /// The name of the setting.
        setting: &'static str,
    },
    /// The operating system gives no random numbers.
    #[error("there are no random numbers")]
    Random(#[source] getrandom::Error),
}

impl FollowerBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            auth: BearerTokenAuth::builder(),
            ca_file: None,
            options: KeyCacheOptions::default(),
            report_interval: REPORT_INTERVAL,
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the token of the follower.
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        Self { auth: self.auth.token(token), ..self }
    }

    /// Sets a file whose first token is used. The file is read again when it changes.
    #[must_use]
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        Self { auth: self.auth.file(path), ..self }
    }

    /// Also trusts the certificate authorities in this file, besides those of the system.
    #[must_use]
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(path.into()), ..self }
    }

    /// Allows `http` to another host than this one. Then others can read the token and the names of
    /// keys, unless the network encrypts connections itself.
    #[must_use]
    pub fn allow_plaintext(self) -> Self {
        Self { auth: self.auth.allow_plaintext(), ..self }
    }

    /// Sets how long the authenticator decides without knowing whether there are changes. This is
    /// also how long a revoked key may be accepted while the gateway cannot be reached. The default
    /// is 10 minutes. Less than a minute would make it undecided when a gateway starts again, or
    /// answers slowly. Zero is an error of the start.
    #[must_use]
    pub fn max_staleness(self, max_staleness: Duration) -> Self {
        Self { options: KeyCacheOptions { max_staleness, ..self.options }, ..self }
    }

    /// Sets that the process reports the answer of each request to the
    /// [`KeyHandle`](crate::cache::KeyHandle) of its identity. Otherwise, every allowed request
    /// counts as accepted.
    #[must_use]
    pub fn answers_are_reported(self) -> Self {
        Self { options: KeyCacheOptions { answers_are_reported: true, ..self.options }, ..self }
    }

    /// Sets the time between two reports of usage. The default is 10 seconds. Zero is an error of
    /// the start.
    #[must_use]
    pub fn report_interval(self, report_interval: Duration) -> Self {
        Self { report_interval, ..self }
    }

    /// Sets the clock by which keys expire and become too old to decide. The default is
    /// [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts to follow, in tasks of the current Tokio runtime. The call does not wait for the
    /// gateway, so that a process can start while the gateway is gone; see [`Follower::ready`].
    ///
    /// # Errors
    ///
    /// When the URL, the token, a file, or a duration cannot be used.
    pub async fn start(self) -> Result<Follower, StartError> {
        for (setting, duration) in [
            ("max_staleness", self.options.max_staleness),
            ("report_interval", self.report_interval),
        ] {
            if duration.is_zero() {
                return Err(StartError::Zero { setting });
            }
        }
        let auth = self.auth.endpoint(self.url.as_str()).build()?;
        let ca = match self.ca_file {
            Some(path) => Some(read(&path)?),
            None => None,
        };
        let gateway = Arc::new(Gateway::new(&self.url, auth, ca.as_deref())?);
        let clock = self.clock;
        let cache = Arc::new(KeyCache::new(Arc::clone(&clock), self.options));
        let reporter = Reporter::new(Arc::clone(&gateway), Arc::clone(&clock));
        let reporter = Arc::new(reporter.map_err(StartError::Random)?);
        let (ready, is_ready) = watch::channel(false);
        let (mut following, mut reporting) = (JoinSet::new(), JoinSet::new());
        let followed = Arc::clone(&cache);
        following.spawn(async move { session::follow(&gateway, &followed, &*clock, &ready).await });
        let suspended = Arc::clone(&cache);
        following.spawn(async move { session::notice_suspensions(&suspended).await });
        let (reported, interval) = (Arc::clone(&reporter), self.report_interval);
        let used = Arc::clone(&cache);
        let (stop, mut stopped) = watch::channel(false);
        reporting.spawn(async move {
            while timeout(interval, stopped.changed()).await.is_err() {
                reported.report(&used, false).await;
            }
        });
        Ok(Follower { cache, reporter, is_ready, following, reporting, stop })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    // The file is small, and the process starts.
    std::fs::read(path).map_err(|source| StartError::CaFile { path: path.to_owned(), source })
}
