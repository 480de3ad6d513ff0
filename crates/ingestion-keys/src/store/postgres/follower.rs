//! The connection on which a process follows the changes.

use std::fmt;

use tokio::sync::{Mutex, watch};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connector::{Connected, Connector};
use super::error::PostgresError;
use super::{rows, within};
use crate::store::{Changes, Cursor, MAX_CHANGES};

/// The statement that subscribes to the notifications of changes.
const LISTEN: &str = "LISTEN ingestion_keys";

/// Reads changes on a connection that is also told of changes.
pub(super) struct Follower {
    connector: Connector,
    revision: watch::Sender<i64>,
    /// The open connection. There is none at first, and after the connection broke.
    pub(super) connected: Mutex<Option<Connected>>,
}

impl Follower {
    /// Each change that the database announces is sent to `revision`.
    pub(super) fn new(connector: Connector, revision: watch::Sender<i64>) -> Self {
        Self { connector, revision, connected: Mutex::new(None) }
    }

    /// Begins to listen, if this process does not do so yet. Every later change wakes the follower.
    pub(super) async fn listen(&self) -> Result<(), PostgresError> {
        let mut connected = self.connected.lock().await;
        if connected.as_ref().is_none_or(|connected| connected.client.is_closed()) {
            *connected = Some(self.connect().await?);
        }
        Ok(())
    }

    /// Reads the changes after a cursor.
    pub(super) async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, PostgresError> {
        let mut place = self.connected.lock().await;
        // The connection is put back only if the call succeeds. If the call fails or is dropped,
        // the connection is closed.
        let connected = match place.take() {
            Some(connected) if !connected.client.is_closed() => connected,
            _ => self.connect().await?,
        };
        let changes = changes(&connected.client, cursor).await?;
        *place = Some(connected);
        Ok(changes)
    }

    async fn connect(&self) -> Result<Connected, PostgresError> {
        let revision = self.revision.clone();
        let notified = move |payload: Option<&str>| match payload {
            Some(payload) => {
                let Ok(newest) = payload.parse::<i64>() else { return };
                // A process is told of its own changes, too.
                revision.send_if_modified(|known| std::mem::replace(known, newest) != newest);
            }
            // The connection is gone, and notifications with it. A follower that is woken connects
            // again.
            None => revision.send_modify(|_| ()),
        };
        let connected = self.connector.connect(notified).await?;
        // Listening begins before anything is read, so that no change is missed in between.
        within(async { Ok(connected.client.batch_execute(LISTEN).await?) }).await?;
        Ok(connected)
    }
}

/// Reads the changes after a cursor, and the cursor after these changes.
pub(super) async fn changes(client: &Client, cursor: &Cursor) -> Result<Changes, PostgresError> {
    match within(read(client, cursor)).await {
        // The database ended the statement because it took too long: there are too many changes for
        // one statement. A snapshot may take longer.
        Err(error) if error.is_canceled() => Ok(Changes::SnapshotNeeded),
        changes => changes,
    }
}

/// Reads the changes and the cursor in one statement. All parts of a statement see the database at
/// the same moment.
async fn read(client: &Client, cursor: &Cursor) -> Result<Changes, PostgresError> {
    let sql = format!(
        "SELECT l.revision, c.change_id, EXISTS ( \
             SELECT 1 FROM ingestion_keys.changes WHERE revision = $1 AND change_id = $2 \
         ), k.* FROM ingestion_keys.last_change l \
         JOIN ingestion_keys.changes c ON c.revision = l.revision \
         LEFT JOIN LATERAL ( \
             {} WHERE revision > $1 UNION ALL {} WHERE revision > $1 ORDER BY revision LIMIT $3 \
         ) k ON true ORDER BY k.revision",
        rows::LIVE,
        rows::DELETED
    );
    let limit = MAX_CHANGES as i64 + 1;
    let values = [
        (&cursor.revision as _, Type::INT8),
        (&cursor.change_id.as_slice() as _, Type::BYTEA),
        (&limit as _, Type::INT8),
    ];
    let found = client.query_typed(&sql, &values).await?;
    let first = found.first().ok_or(PostgresError::Row { table: "changes" })?;
    let newest = rows::cursor_columns(first, 0)?;
    let is_known: bool = first.try_get(2)?;
    if !is_known || found.len() > MAX_CHANGES {
        return Ok(Changes::SnapshotNeeded);
    }
    // Without a changed key there is one row, which has the cursor and nothing else.
    let changes = match first.try_get::<_, Option<i64>>(3)? {
        Some(_) => found.iter().map(|row| rows::change(row, 3)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok(Changes::Since(changes, newest))
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}
