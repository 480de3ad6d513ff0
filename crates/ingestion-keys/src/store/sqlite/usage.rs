//! Reads and writes the usage of keys in its tables.

use rusqlite::{Connection, Row, Transaction, params};

use super::error::SqliteError;
use crate::clock::Timestamp;
use crate::key::{KeyClient, KeyId, Usage};
use crate::store::UsageBatch;

/// Adds a batch to the stored usage. Ignores keys that do not exist any more.
pub(super) fn add(transaction: &Transaction<'_>, batch: UsageBatch) -> Result<(), SqliteError> {
    let sql = "SELECT u.accepted, u.denied, u.bytes, u.last_used_at \
         FROM keys k LEFT JOIN usage u ON u.key_id = k.id WHERE k.id = ?1";
    let mut find = transaction.prepare_cached(sql)?;
    let sql = "INSERT OR REPLACE INTO usage (key_id, accepted, denied, bytes, last_used_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut replace = transaction.prepare_cached(sql)?;
    for (id, later) in batch.usage {
        let mut rows = find.query([id.get()])?;
        let Some(row) = rows.next()? else { continue };
        let mut usage = columns(row, 0)?;
        let known = clients(transaction, id)?;
        usage.clients.clone_from(&known);
        usage.add(later, batch.max_clients, batch.oldest_client);
        replace.execute(params![
            id.get(),
            to_integer(usage.accepted),
            to_integer(usage.denied),
            to_integer(usage.bytes),
            usage.last_used_at.map(Timestamp::as_millis),
        ])?;
        if usage.clients != known {
            replace_clients(transaction, id, &usage.clients)?;
        }
    }
    Ok(())
}

/// Reads the usage from four columns, which begin at column `first`. All four are null for a key
/// that was never used. The clients are not read here, but by [`clients`].
pub(super) fn columns(row: &Row<'_>, first: usize) -> Result<Usage, SqliteError> {
    let Some(accepted) = row.get::<_, Option<i64>>(first)? else { return Ok(Usage::default()) };
    Ok(Usage {
        accepted: from_integer(accepted),
        denied: from_integer(row.get(first + 1)?),
        bytes: from_integer(row.get(first + 2)?),
        last_used_at: row.get::<_, Option<_>>(first + 3)?.map(Timestamp::from_millis),
        clients: Vec::new(),
    })
}

/// Reads the clients of a key, the latest first.
pub(super) fn clients(connection: &Connection, id: KeyId) -> Result<Vec<KeyClient>, SqliteError> {
    let sql = "SELECT address, user_agent, last_used_at FROM clients \
         WHERE key_id = ?1 ORDER BY position";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([id.get()])?;
    let mut clients = Vec::new();
    while let Some(row) = rows.next()? {
        let address = row.get_ref(0)?.as_str().unwrap_or_default().parse();
        clients.push(KeyClient {
            address: address.map_err(|_| SqliteError::Row { table: "clients" })?,
            user_agent: row.get(1)?,
            last_used_at: Timestamp::from_millis(row.get(2)?),
        });
    }
    Ok(clients)
}

fn replace_clients(
    transaction: &Transaction<'_>,
    id: KeyId,
    clients: &[KeyClient],
) -> Result<(), SqliteError> {
    transaction.prepare_cached("DELETE FROM clients WHERE key_id = ?1")?.execute([id.get()])?;
    let sql = "INSERT INTO clients (key_id, position, address, user_agent, last_used_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = transaction.prepare_cached(sql)?;
    for (position, client) in (0_i64..).zip(clients) {
        insert.execute(params![
            id.get(),
            position,
            client.address.to_string(),
            client.user_agent,
            client.last_used_at.as_millis(),
        ])?;
    }
    Ok(())
}

/// Converts a count to a signed integer, because SQLite has no unsigned integers.
fn to_integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn from_integer(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or_default()
}
