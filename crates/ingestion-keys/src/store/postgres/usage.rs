//! Reads and writes the usage of keys in its tables.

use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use super::error::PostgresError;
use crate::clock::Timestamp;
use crate::key::{KeyClient, KeyId, Usage};
use crate::store::UsageBatch;

/// The number of the advisory lock that a write of usage holds: the bytes of `IngUsage`. Two
/// processes that write the rows of the same keys in different orders would wait for each other.
const USAGE_LOCK: i64 = i64::from_be_bytes(*b"IngUsage");

/// The counters of a batch. Arrays that are unnested in a `SELECT` list are read once, and not
/// copied first.
const BATCH: &str = "( \
        SELECT unnest($1::bigint[]) AS key_id, unnest($2::bigint[]) AS accepted, \
            unnest($3::bigint[]) AS failed, unnest($4::bigint[]) AS denied, \
            unnest($5::bigint[]) AS bytes, unnest($6::bigint[]) AS last_used_at \
    ) b";

/// Adds the counters of a batch to the rows of its keys. A counter that is too large stays at the
/// largest number.
const UPDATE: &str = "UPDATE ingestion_keys.usage AS u SET \
     accepted = least(u.accepted, 9223372036854775807 - b.accepted) + b.accepted, \
     failed = least(u.failed, 9223372036854775807 - b.failed) + b.failed, \
     denied = least(u.denied, 9223372036854775807 - b.denied) + b.denied, \
     bytes = least(u.bytes, 9223372036854775807 - b.bytes) + b.bytes, \
     last_used_at = greatest(u.last_used_at, b.last_used_at)";

/// Inserts the rows of keys that were never used, after the other rows were updated. Nobody else
/// inserts rows meanwhile, because of the lock.
const INSERT: &str = "INSERT INTO ingestion_keys.usage \
     (key_id, accepted, failed, denied, bytes, last_used_at) SELECT b.*";

/// Sets the last use of clients that are known already.
const UPDATE_CLIENTS: &str = "\
    UPDATE ingestion_keys.clients c SET last_used_at = greatest(c.last_used_at, b.last_used_at) \
    FROM ( \
        SELECT unnest($1::bigint[]) AS key_id, unnest($2::text[]) AS address, \
            unnest($3::text[]) AS user_agent, unnest($4::bigint[]) AS last_used_at \
    ) b WHERE c.key_id = b.key_id AND c.address = b.address AND c.user_agent = b.user_agent";

/// Merges the clients of a batch with the known clients of its keys, and keeps the latest ones.
const MERGE_CLIENTS: &str = "\
    WITH merged AS ( \
        SELECT key_id, address, user_agent, max(last_used_at) AS last_used_at \
        FROM ( \
            SELECT c.key_id, c.address, c.user_agent, c.last_used_at \
            FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[]) \
                AS c (key_id, address, user_agent, last_used_at) \
            JOIN ingestion_keys.keys k ON k.id = c.key_id \
            UNION ALL \
            SELECT key_id, address, user_agent, last_used_at FROM ingestion_keys.clients \
            WHERE key_id = ANY ($1::bigint[]) \
        ) both_parts GROUP BY key_id, address, user_agent \
    ), ranked AS ( \
        SELECT *, row_number() OVER (PARTITION BY key_id ORDER BY last_used_at DESC) AS place \
        FROM merged \
    ), gone AS ( \
        DELETE FROM ingestion_keys.clients c USING ranked r \
        WHERE c.key_id = r.key_id AND c.address = r.address AND c.user_agent = r.user_agent \
            AND (r.place > $6 OR r.last_used_at < $7) \
    ) \
    INSERT INTO ingestion_keys.clients AS c (key_id, address, user_agent, last_used_at) \
    SELECT key_id, address, user_agent, last_used_at FROM ranked \
    WHERE place <= $6 AND last_used_at >= $7 \
    ON CONFLICT (key_id, address, user_agent) DO UPDATE \
        SET last_used_at = excluded.last_used_at \
        WHERE c.last_used_at < excluded.last_used_at";

/// Adds a batch to the stored usage. Ignores keys that do not exist any more.
pub(super) async fn add(
    transaction: &Transaction<'_>,
    batch: &UsageBatch,
) -> Result<(), PostgresError> {
    lock(transaction).await?;
    let column = |value: &dyn Fn(&Usage) -> u64| -> Vec<i64> {
        batch.usage.iter().map(|(_, usage)| to_integer(value(usage))).collect()
    };
    let ids: Vec<i64> = batch.usage.iter().map(|(id, _)| id.get()).collect();
    let last_used_at: Vec<Option<i64>> =
        batch.usage.iter().map(|(_, usage)| usage.last_used_at.map(Timestamp::as_millis)).collect();
    let values = [
        (&ids as _, Type::INT8_ARRAY),
        (&column(&|usage| usage.accepted) as _, Type::INT8_ARRAY),
        (&column(&|usage| usage.failed) as _, Type::INT8_ARRAY),
        (&column(&|usage| usage.denied) as _, Type::INT8_ARRAY),
        (&column(&|usage| usage.bytes) as _, Type::INT8_ARRAY),
        (&last_used_at as _, Type::INT8_ARRAY),
    ];
    let update = format!("{UPDATE} FROM {BATCH} WHERE u.key_id = b.key_id");
    let updated = transaction.execute_typed(&update, &values).await?;
    if updated < batch.usage.len() as u64 {
        let insert = format!(
            "{INSERT} FROM {BATCH} JOIN ingestion_keys.keys k ON k.id = b.key_id \
             ON CONFLICT (key_id) DO NOTHING"
        );
        transaction.execute_typed(&insert, &values).await?;
    }
    merge_clients(transaction, batch).await
}

async fn merge_clients(
    transaction: &Transaction<'_>,
    batch: &UsageBatch,
) -> Result<(), PostgresError> {
    // With a limit of 0, the clients of an earlier configuration are removed.
    let changed: Vec<&(KeyId, Usage)> = batch
        .usage
        .iter()
        .filter(|(_, usage)| !usage.clients.is_empty() || batch.max_clients == 0)
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let of_keys: Vec<i64> = changed.iter().map(|(id, _)| id.get()).collect();
    let (mut ids, mut addresses, mut agents, mut times) = (vec![], vec![], vec![], vec![]);
    for (id, usage) in changed {
        for client in &usage.clients {
            ids.push(id.get());
            addresses.push(client.address.to_string());
            agents.push(client.user_agent.as_deref().unwrap_or_default());
            times.push(client.last_used_at.as_millis());
        }
    }
    let clients = [
        (&ids as _, Type::INT8_ARRAY),
        (&addresses as _, Type::TEXT_ARRAY),
        (&agents as _, Type::TEXT_ARRAY),
        (&times as _, Type::INT8_ARRAY),
    ];
    // Most batches have no new client. Old clients stay until there is one.
    let known = transaction.execute_typed(UPDATE_CLIENTS, &clients).await?;
    if known == ids.len() as u64 && batch.max_clients > 0 {
        return Ok(());
    }
    let max_clients = i64::try_from(batch.max_clients).unwrap_or(i64::MAX);
    let oldest = batch.oldest_client.map_or(i64::MIN, Timestamp::as_millis);
    let [ids, addresses, agents, times] = clients;
    let values = [
        (&of_keys as _, Type::INT8_ARRAY),
        ids,
        addresses,
        agents,
        times,
        (&max_clients as _, Type::INT8),
        (&oldest as _, Type::INT8),
    ];
    transaction.execute_typed(MERGE_CLIENTS, &values).await?;
    Ok(())
}

/// Removes the usage of the keys that do not exist any more.
pub(super) async fn prune(transaction: &Transaction<'_>) -> Result<(), PostgresError> {
    lock(transaction).await?;
    for table in ["usage", "clients"] {
        let sql = format!(
            "DELETE FROM ingestion_keys.{table} u \
             WHERE NOT EXISTS (SELECT 1 FROM ingestion_keys.keys k WHERE k.id = u.key_id)"
        );
        transaction.execute_typed(&sql, &[]).await?;
    }
    Ok(())
}

async fn lock(transaction: &Transaction<'_>) -> Result<(), PostgresError> {
    let values = [(&USAGE_LOCK as _, Type::INT8)];
    transaction.execute_typed("SELECT pg_advisory_xact_lock($1)", &values).await?;
    Ok(())
}

/// Reads the usage from five columns, which begin at column `first`. All five are null for a key
/// that was never used. The clients are not read here, but by [`clients`].
pub(super) fn columns(row: &Row, first: usize) -> Result<Usage, PostgresError> {
    let Some(accepted) = row.try_get::<_, Option<i64>>(first)? else {
        return Ok(Usage::default());
    };
    Ok(Usage {
        accepted: from_integer(accepted),
        failed: from_integer(row.try_get(first + 1)?),
        denied: from_integer(row.try_get(first + 2)?),
        bytes: from_integer(row.try_get(first + 3)?),
        last_used_at: row.try_get::<_, Option<_>>(first + 4)?.map(Timestamp::from_millis),
        clients: Vec::new(),
    })
}

/// Reads the clients of a key, the latest first.
pub(super) async fn clients(
    client: &impl GenericClient,
    id: KeyId,
) -> Result<Vec<KeyClient>, PostgresError> {
    let sql = "SELECT address, user_agent, last_used_at FROM ingestion_keys.clients \
         WHERE key_id = $1 ORDER BY last_used_at DESC, address, user_agent";
    let rows = client.query_typed(sql, &[(&id.get(), Type::INT8)]).await?;
    rows.iter().map(|row| self::client(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)).collect()
}

/// Makes a client from the values of its columns.
pub(super) fn client(
    address: &str,
    user_agent: &str,
    last_used_at: i64,
) -> Result<KeyClient, PostgresError> {
    Ok(KeyClient {
        address: address.parse().map_err(|_| PostgresError::Row { table: "clients" })?,
        user_agent: (!user_agent.is_empty()).then(|| user_agent.to_owned()),
        last_used_at: Timestamp::from_millis(last_used_at),
    })
}

/// Converts a count to a signed integer, because PostgreSQL has no unsigned integers.
pub(super) fn to_integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn from_integer(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or_default()
}
