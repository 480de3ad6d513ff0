//! The gateways.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::common::gateway::Gateway;
use crate::connection::{Connection, Request};

/// The number of replicas.
pub(crate) const REPLICAS: usize = 3;

const KEYS_PATH: &str = "/api/security/ingestion/api_keys";

/// Gateways on one database.
pub(crate) struct Replicas {
    pub(crate) gateways: Vec<Gateway>,
    _directory: TempDir,
}

/// A key that was created through one of the replicas.
pub(crate) struct Created {
    pub(crate) secret: String,
    /// The request that deletes it.
    delete: Request<'static>,
}

/// A connection to the management API of a replica.
pub(crate) struct Management {
    connection: Connection,
    admin: String,
}

impl Replicas {
    /// Starts this number of gateways with these settings, and waits until they are ready.
    pub(crate) async fn start(url: &str, count: usize, settings: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let start = |_| Gateway::start(url, directory.path(), settings);
        let gateways: Vec<_> = (0..count).map(start).collect();
        let request = Request::new("GET /readyz", "", &[]);
        for gateway in &gateways {
            let mut connection = Connection::open(gateway.address("telemetry")).await;
            while connection.send(&request).await.status != 200 {
                sleep(Duration::from_millis(2)).await;
            }
        }
        Self { gateways, _directory: directory }
    }
}

impl Management {
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        Self {
            connection: Connection::open(gateway.address("management")).await,
            admin: format!("X-API-Token: {}\r\n", gateway.admin_token),
        }
    }

    pub(crate) async fn create(&mut self, key: &Value) -> Created {
        let body = key.to_string();
        let fields = format!("{}Content-Type: application/json\r\n", self.admin);
        let what = format!("POST {KEYS_PATH}");
        let request = Request::new(&what, &fields, body.as_bytes());
        let answer = self.connection.send(&request).await;
        let created: Value = serde_json::from_slice(&answer.body).unwrap();
        let what = format!("DELETE {KEYS_PATH}/{}", created["id"].as_i64().unwrap());
        Created {
            secret: created["apiKey"].as_str().unwrap().to_owned(),
            delete: Request::new(&what, &self.admin, &[]),
        }
    }

    /// Deletes a key, and returns as soon as this has been answered with success.
    pub(crate) async fn delete(&mut self, created: &Created) {
        assert_eq!(self.connection.send(&created.delete).await.status, 204);
    }
}

/// Returns an export over HTTP.
pub(crate) fn export<'a>(key: &str, body: &'a [u8]) -> Request<'a> {
    let fields = format!(
        "Authorization: StackState {key}\r\nContent-Type: application/x-protobuf\r\n\
         User-Agent: OpenTelemetry Collector/1.0.0 (linux/amd64)\r\n"
    );
    Request::new("POST /v1/traces", &fields, body)
}
