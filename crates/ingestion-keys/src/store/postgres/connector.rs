//! Connects to a PostgreSQL database.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
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

/// How long a host of the URL may take until it has accepted a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The settings of every connection. The database ends a statement, a wait for a lock and an open
/// transaction that take too long, so that a process that is gone holds up no other. Compiling a
/// statement would take longer than running it. A change that was answered survives a crash of the database, also if the role of this connection says
/// otherwise.
const SETTINGS: &str = "\
    SET statement_timeout = '5s'; \
    SET lock_timeout = '4s'; \
    SET idle_in_transaction_session_timeout = '10s'; \
    SET jit = off; \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Connects to the first host of a URL that can be written to.
#[derive(Clone)]
pub(super) struct Connector {
    /// One configuration for each host.
    hosts: Arc<[Config]>,
    tls: MakeRustlsConnect,
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
        Ok(Self { hosts: options.hosts.as_slice().into(), tls: MakeRustlsConnect::new(config) })
    }

    /// Opens a connection to a database with the schema of this version, and calls `notified` with the payload of each notification that comes
    /// over it. When the connection ends, calls `notified` with `None`.
    ///
    /// Each host has the same time to answer. A host that accepts connections and says nothing does
    /// not keep the others from being tried.
    pub(super) async fn connect(
        &self,
        notified: impl Fn(Option<&str>) + Clone + Send + 'static,
    ) -> Result<Connected, PostgresError> {
        let mut failed = PostgresError::Unexpected;
        for host in &*self.hosts {
            let connect = self.connect_to(host, notified.clone());
            match tokio::time::timeout(CONNECT_DEADLINE, connect).await {
                Ok(Ok(mut connected)) => {
                    schema::migrate(&mut connected.client).await?;
                    return Ok(connected);
                }
                Ok(Err(error)) => failed = error,
                Err(_) => failed = PostgresError::TimedOut(CONNECT_DEADLINE),
            }
        }
        Err(failed)
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
