//! The connections for all calls but those that follow changes.

use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Manager, Metrics, Object, PoolError, RecycleError, RecycleResult};

use super::connector::{Connected, Connector};
use super::error::PostgresError;

/// The largest number of connections. Calls that find no free connection wait for one.
const MAX_CONNECTIONS: usize = 8;

/// How long a call waits for a free connection.
const WAIT: Duration = Duration::from_secs(4);

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Pool {
    connections: managed::Pool<Connector>,
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Result<Self, PostgresError> {
        let connections = managed::Pool::builder(connector)
            .max_size(MAX_CONNECTIONS)
            .wait_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| PostgresError::Unexpected)?;
        Ok(Self { connections })
    }

    /// Returns a free connection, or opens one. The connection is used again only if
    /// [`Connected::ended`] says so when the call has ended. If the call is dropped, its last
    /// statement may still run.
    pub(super) async fn get(&self) -> Result<Object<Connector>, PostgresError> {
        match self.connections.get().await {
            Ok(mut connected) => {
                connected.is_usable = false;
                Ok(connected)
            }
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(_)) => Err(PostgresError::Busy),
            Err(_) => Err(PostgresError::Unexpected),
        }
    }
}

impl Manager for Connector {
    type Type = Connected;
    type Error = PostgresError;

    async fn create(&self) -> Result<Connected, PostgresError> {
        self.connect(|_| {}).await
    }

    async fn recycle(
        &self,
        connected: &mut Connected,
        _: &Metrics,
    ) -> RecycleResult<PostgresError> {
        if connected.is_usable && !connected.client.is_closed() {
            Ok(())
        } else {
            Err(RecycleError::message("the connection cannot be used again"))
        }
    }
}
