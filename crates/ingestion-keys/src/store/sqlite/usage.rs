//! Reads and writes the usage of keys in its tables.

use rusqlite::{Connection, Row, Transaction, params};

use super::error::SqliteError;
use crate::clock::Timestamp;
use crate::key::{KeyClient, KeyId, Usage};
use crate::store::UsageBatch;

/// Adds a batch to the stored usage. Ignores keys that do not exist any more.
pub(super) fn add(transaction: &Transaction<'_>, batch: UsageBatch) -> Result<(), SqliteError> {
    let sql = "SELECT u.accepted, u.failed, u.denied, u.bytes, u.last_used_at \
         FROM keys k LEFT JOIN usage u ON u.key_id = k.id WHERE k.id = ?1";
    let mut find = transaction.prepare_cached(sql)?;
    let sql = "INSERT OR REPLACE INTO usage \
         (key_id, accepted, failed, denied, bytes, last_used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut replace = transaction.prepare_cached(sql)?;
    for (id, later) in batch.usage {
        let mut rows = find.query([id.get()])?;
        let Some(row) = rows.next()? else { continue };
        let mut usage = columns(row, 0)?;
        // With a limit of 0, the clients of an earlier configuration are removed.
        let reads_clients = !later.clients.is_empty() || batch.max_clients == 0;
        let known = if reads_clients { slots(transaction, id)? } else { Vec::new() };
        usage.clients = known.iter().map(|(_, client)| client.clone()).collect();
        usage.add(later, batch.max_clients, batch.oldest_client);
        replace.execute(params![
            id.get(),
            to_integer(usage.accepted),
            to_integer(usage.failed),
            to_integer(usage.denied),
            to_integer(usage.bytes),
            usage.last_used_at.map(Timestamp::as_millis),
        ])?;
        write_clients(transaction, id, &known, &usage.clients)?;
    }
    Ok(())
}

/// Reads the usage from five columns, which begin at column `first`. All five are null for a key
/// that was never used. The clients are not read here, but by [`clients`].
pub(super) fn columns(row: &Row<'_>, first: usize) -> Result<Usage, SqliteError> {
    let Some(accepted) = row.get::<_, Option<i64>>(first)? else { return Ok(Usage::default()) };
    Ok(Usage {
        accepted: from_integer(accepted),
        failed: from_integer(row.get(first + 1)?),
        denied: from_integer(row.get(first + 2)?),
        bytes: from_integer(row.get(first + 3)?),
        last_used_at: row.get::<_, Option<_>>(first + 4)?.map(Timestamp::from_millis),
        clients: Vec::new(),
    })
}

/// Reads the clients of a key, the latest first.
pub(super) fn clients(connection: &Connection, id: KeyId) -> Result<Vec<KeyClient>, SqliteError> {
    Ok(slots(connection, id)?.into_iter().map(|(_, client)| client).collect())
}

/// Reads the clients of a key with their slots, the latest first.
fn slots(connection: &Connection, id: KeyId) -> Result<Vec<(i64, KeyClient)>, SqliteError> {
    let sql = "SELECT slot, address, user_agent, last_used_at FROM clients \
         WHERE key_id = ?1 ORDER BY last_used_at DESC, slot";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([id.get()])?;
    let mut slots = Vec::new();
    while let Some(row) = rows.next()? {
        let address = row.get_ref(1)?.as_str().unwrap_or_default().parse();
        let client = KeyClient {
            address: address.map_err(|_| SqliteError::Row { table: "clients" })?,
            user_agent: row.get(2)?,
            last_used_at: Timestamp::from_millis(row.get(3)?),
        };
        slots.push((row.get(0)?, client));
    }
    Ok(slots)
}

/// Writes `clients` in place of the `known` clients. A client that has not changed is not written.
fn write_clients(
    transaction: &Transaction<'_>,
    id: KeyId,
    known: &[(i64, KeyClient)],
    clients: &[KeyClient],
) -> Result<(), SqliteError> {
    let same =
        |a: &KeyClient, b: &KeyClient| (a.address, &a.user_agent) == (b.address, &b.user_agent);
    // New clients get the slots of the clients that are not kept, and then new slots.
    let mut free: Vec<i64> = known
        .iter()
        .filter(|(_, known)| !clients.iter().any(|client| same(client, known)))
        .map(|(slot, _)| *slot)
        .collect();
    let mut new_slots = known.iter().map(|(slot, _)| slot + 1).max().unwrap_or_default()..;
    let sql = "INSERT OR REPLACE INTO clients (key_id, slot, address, user_agent, last_used_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut replace = transaction.prepare_cached(sql)?;
    for client in clients {
        let slot = match known.iter().find(|(_, known)| same(client, known)) {
            Some((_, known)) if known == client => continue,
            Some((slot, _)) => Some(*slot),
            None => free.pop().or_else(|| new_slots.next()),
        };
        replace.execute(params![
            id.get(),
            slot,
            client.address.to_string(),
            client.user_agent,
            client.last_used_at.as_millis(),
        ])?;
    }
    let sql = "DELETE FROM clients WHERE key_id = ?1 AND slot = ?2";
    let mut delete = transaction.prepare_cached(sql)?;
    for slot in free {
        delete.execute([id.get(), slot])?;
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

#[cfg(test)]
mod tests {
    use rusqlite::TransactionBehavior;

    use super::*;
    use crate::store::sqlite::schema;

    fn client(last: u8, at: i64) -> KeyClient {
        KeyClient {
            address: [192, 0, 2, last].into(),
            user_agent: None,
            last_used_at: Timestamp::from_millis(at),
        }
    }

    /// Adds the use of the key with the id 1 by these clients. Returns the number of rows that were
    /// written.
    fn add_clients(connection: &mut Connection, max_clients: usize, clients: &[KeyClient]) -> i64 {
        let written = |connection: &Connection| -> i64 {
            connection.query_row("SELECT total_changes()", [], |row| row.get(0)).unwrap()
        };
        let before = written(connection);
        let id = KeyId::new(1).unwrap();
        let usage = Usage { accepted: 1, clients: clients.to_vec(), ..Usage::default() };
        let batch = UsageBatch { usage: vec![(id, usage)], max_clients, oldest_client: None };
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        add(&transaction, batch).unwrap();
        transaction.commit().unwrap();
        written(connection) - before
    }

    // Scenario: usage is added with no client, with new clients, with a known client, with more
    // clients than are kept, and at last with a limit of 0.
    // Guarantee: besides the row of the usage, only the rows of clients that changed are written.
    // The latest clients are kept. With a limit of 0, no client is kept.
    #[test]
    fn only_changed_clients_are_written() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        let key = "INSERT INTO keys (id, revision, digest, enabled, name, key_start, created_at, \
             updated_at) VALUES (1, 1, zeroblob(32), 1, 'n', 'aaaa', 0, 0)";
        connection.execute(key, []).unwrap();
        let stored = |connection: &Connection| clients(connection, KeyId::new(1).unwrap()).unwrap();
        assert_eq!(add_clients(&mut connection, 2, &[]), 1);
        assert_eq!(add_clients(&mut connection, 2, &[client(1, 10), client(2, 11)]), 3);
        assert_eq!(add_clients(&mut connection, 2, &[]), 1);
        assert_eq!(stored(&connection), [client(2, 11), client(1, 10)]);
        assert_eq!(add_clients(&mut connection, 2, &[client(1, 12)]), 2);
        assert_eq!(add_clients(&mut connection, 2, &[client(3, 13)]), 2);
        assert_eq!(stored(&connection), [client(3, 13), client(1, 12)]);
        assert_eq!(add_clients(&mut connection, 0, &[]), 3);
        assert_eq!(stored(&connection), []);
    }
}
