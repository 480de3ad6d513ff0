//! The roles of the documentation.

use super::*;

const PAGE: &str = include_str!("../../../../../../docs/postgresql.md");

/// Returns the SQL code block of the documentation that begins with this text.
fn documented(begins_with: &str) -> &'static str {
    let mut blocks = PAGE.split("```sql\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.find(|block| block.starts_with(begins_with)).unwrap()
}

// Scenario: the roles and rights are set up as the documentation says. The owner migrates, and a
// gateway works with its own role.
// Guarantee: the gateway can do everything that a store does. It cannot change the audit log, or
// drop a table. Before the tables exist, it says what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough() {
    let server = Postgres::start();
    documented("CREATE ROLE").lines().for_each(|line| _ = server.psql("postgres", line));
    let url = |role| server.url("ingestion").replace("//postgres@", &format!("//{role}@"));
    let store = open(&url("ingestion_gateway"));
    let error = store.list().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("rights"), "{error}");

    open(&url("ingestion_owner")).migrate().await.unwrap();
    let grants = format!("SET ROLE ingestion_owner;\n{}", documented("GRANT"));
    server.psql("ingestion", &grants);
    let (_, mut cursor) = whole(&store).await;
    let revision = insert(&store, 1).await;
    assert_eq!(follow(&store, &mut cursor).await, [revision]);
    let key = store.list().await.unwrap().remove(0).record;
    let usage = vec![(key.id, crate::key::Usage { accepted: 1, ..crate::key::Usage::default() })];
    store.add_usage(UsageBatch { usage, max_clients: 0, oldest_client: None }).await.unwrap();
    assert_eq!(store.get(key.id).await.unwrap().unwrap().usage.accepted, 1);
    store.commit(commit(2, vec![Write::Update(key.clone())])).await.unwrap();
    let key = store.get(key.id).await.unwrap().unwrap().record;
    store.commit(commit(3, vec![Write::Delete(key)])).await.unwrap();
    store.prune(Timestamp::from_millis(i64::MAX)).await.unwrap();
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 3);
    for refused in [
        "UPDATE ingestion_keys.audit SET who = 'nobody'",
        "DELETE FROM ingestion_keys.audit",
        "DROP TABLE ingestion_keys.keys",
    ] {
        let connected = store.pool.get().await.unwrap();
        assert!(connected.client.batch_execute(refused).await.is_err(), "{refused}");
    }
}
