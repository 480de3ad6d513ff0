//! Tests of the addresses that the program listens on.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::program::Gateway;

/// Returns how many sockets of the gateway listen.
fn listening(gateway: &Gateway) -> usize {
    let process = format!("/proc/{}", gateway.pid());
    let open = fs::read_dir(format!("{process}/fd")).unwrap();
    let open: HashSet<_> =
        open.filter_map(|file| fs::read_link(file.unwrap().path()).ok()).collect();
    let table = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("{process}/net/{name}")));
    let table = table.into_iter().flatten().collect::<Vec<_>>().join("\n");
    // The fourth column is the state, in which 0A is LISTEN. The tenth column is the inode.
    let listens = |line: &&str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns.get(3) == Some(&"0A")
            && open.contains(Path::new(&format!("socket:[{}]", columns[9])))
    };
    table.lines().filter(listens).count()
}

// Scenario: the gateway runs with all its listeners, and then with two of them switched off.
// Guarantee: a listener that is off has no socket. In the ready file its address is null, and the
// line in the log leaves it out. The other listeners serve.
#[tokio::test]
async fn null_closes_a_port() {
    let gateway = Gateway::start().await;
    assert_eq!(listening(&gateway), 6);
    let off = ["--set=receivers.agent=null", "--set=receivers.otlp.protocols.http=null"];
    let gateway = Gateway::start_with(&off).await;
    assert_eq!(listening(&gateway), 4);
    let ready: serde_json::Value =
        serde_json::from_slice(&fs::read(&gateway.ready_file).unwrap()).unwrap();
    for (listener, address) in ready.as_object().unwrap() {
        let is_off = ["agent", "otlp_http"].contains(&listener.as_str());
        assert_eq!(address.is_null(), is_off, "{listener}");
    }
    let line = gateway.log.wait_for(" ready ").await;
    assert!(line.contains("management=") && !line.contains("agent"), "{line}");
    assert!(!line.contains("otlp_http"), "{line}");
    let key = gateway.create("edge").await;
    assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, tonic::Code::Ok);
}

// Scenario: the endpoint of a listener has no host, as in `:4317`.
// Guarantee: the listener has every address of this host, those of IPv4 and those of IPv6.
#[tokio::test]
async fn an_endpoint_without_a_host_is_every_address() {
    let gateway = Gateway::start_with(&["--set=telemetry.endpoint=:0"]).await;
    let url = gateway.url("telemetry", "/livez");
    let port = url.rsplit(':').next().unwrap();
    let mut addresses = vec!["127.0.0.1", "127.0.0.2"];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        addresses.push("[::1]");
    }
    for address in addresses {
        let response = gateway.client.get(format!("http://{address}:{port}")).send().await;
        assert_eq!(response.unwrap().status(), 200, "{address}");
    }
}

// Scenario: the gateway runs without a management API.
// Guarantee: it creates no admin token file, and decides about keys.
#[tokio::test]
async fn the_management_api_can_be_off() {
    let mut gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    let tokens = gateway.state().join("admin-tokens");
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    fs::remove_file(&tokens).unwrap();
    let directory = Arc::clone(&gateway.directory);
    let gateway = Gateway::start_in(directory, &["--set=management=null"]).await;
    assert!(!tokens.exists());
    assert_eq!(gateway.send_http(&key.secret).await.status(), 200);
}
