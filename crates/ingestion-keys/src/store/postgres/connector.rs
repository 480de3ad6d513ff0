//! Connects to a PostgreSQL database.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use server_trust::{any_name, any_server, certificates_from_pem, server_verifier, system_roots};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::options::{PostgresOptions, Roots, Trust};
use super::schema;
use crate::store::StoreErrorKind;

/// How long a host may take after an address of it was connected to, until the connection can be
/// used.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);

/// How long a connection was over before whoever waits for notifications is told. A server that
/// ends every connection at once is therefore not connected to again and again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of every connection. The database ends a statement, a wait for a lock and an open
/// transaction that take too long, so that a process that is gone holds up no other. Whoever waits
/// for a lock waits longer than a transaction of such a process lives. Compiling a statement would
/// take longer than running it. A change that was answered survives a crash of the database, also
/// if the role of this connection says otherwise.
const SETTINGS: &str = "\
    SET statement_timeout = '5s'; \
    SET lock_timeout = '4s'; \
    SET idle_in_transaction_session_timeout = '3s'; \
    SET idle_session_timeout = 0; \
    SET jit = off; \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')";

/// Connects to the first host of a URL that can be written to.
#[derive(Clone)]
pub(super) struct Connector {
    /// One configuration for each host.
    hosts: Arc<[Config]>,
    tls: MakeRustlsConnect,
    /// Whether a connection of this process found the schema of this version.
    has_schema: Arc<AtomicBool>,
}

/// An open connection. The connection is closed when this value is dropped.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) client: Client,
    /// The task that reads from and writes to the connection.
    task: JoinHandle<()>,
    /// Whether the connection can be used for another call.
    pub(super) is_usable: bool,
}

impl Connector {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let failed = |error: rustls::Error| PostgresError::Certificates(error.into());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(&options.trust, &provider)?)
            .with_no_client_auth();
        Ok(Self {
            hosts: options.hosts.as_slice().into(),
            tls: MakeRustlsConnect::new(config),
            has_schema: Arc::default(),
        })
    }

    /// Opens a connection to a database with the schema of this version, and calls `notified` with
    /// the payload of each notification that comes over it. When the connection ends, calls
    /// `notified` with `None`.
    ///
    /// A host that accepts connections and says nothing does not keep the others from being tried.
    /// If no host can be used and waiting for one of them may help, the error says so.
    ///
    /// Only the first connection of a process needs the schema of this version. When a newer
    /// version has migrated the database, the processes that run go on.
    pub(super) async fn connect(
        &self,
        notified: impl Fn(Option<&str>) + Clone + Send + 'static,
    ) -> Result<Connected, PostgresError> {
        let mut failed: Option<PostgresError> = None;
        for host in &*self.hosts {
            let connect = self.connect_to(host, notified.clone());
            let deadline =
                host.get_connect_timeout().copied().unwrap_or_default() + HANDSHAKE_DEADLINE;
            let error = match tokio::time::timeout(deadline, connect).await {
                Ok(Ok(mut connected)) => {
                    if !self.has_schema.load(Ordering::Acquire) {
                        schema::migrate(&mut connected.client).await?;
                        self.has_schema.store(true, Ordering::Release);
                    }
                    return Ok(connected);
                }
                Ok(Err(error)) => error,
                Err(_) => PostgresError::TimedOut(deadline),
            };
            failed = Some(match failed {
                Some(other) if other.kind() == StoreErrorKind::Unavailable => {
                    tracing::debug!(error = &error as &dyn Error, "another host cannot be used");
                    other
                }
                _ => error,
            });
        }
        Err(failed.unwrap_or(PostgresError::Unexpected))
    }

    async fn connect_to(
        &self,
        host: &Config,
        notified: impl Fn(Option<&str>) + Send + 'static,
    ) -> Result<Connected, PostgresError> {
        let (client, mut connection) = host.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message {
                    notified(Some(notification.payload()));
                }
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
            notified(None);
        });
        let connected = Connected { client, task, is_usable: true };
        connected.client.batch_execute(SETTINGS).await?;
        Ok(connected)
    }
}

impl Connected {
    /// Ends a call, and returns its result. If the result says that something is wrong with the
    /// connection, the connection is not used for another call.
    pub(super) fn ended<T>(
        &mut self,
        result: Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        self.is_usable = !result.as_ref().is_err_and(PostgresError::breaks_connection);
        result
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

fn verifier(
    trust: &Trust,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, PostgresError> {
    let Trust::Authority { roots, checks_name } = trust else { return Ok(any_server(provider)) };
    let roots = match roots {
        Roots::System => system_roots(),
        Roots::File(path) => {
            let pem =
                std::fs::read(path).map_err(|error| PostgresError::Certificates(error.into()))?;
            certificates_from_pem(&pem)
                .map_err(|error| PostgresError::Certificates(error.into()))?
        }
    };
    let verifier = server_verifier(roots, provider)
        .map_err(|error| PostgresError::Certificates(error.into()))?;
    Ok(if *checks_name { verifier } else { any_name(verifier) })
}
