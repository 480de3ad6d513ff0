//! How soon a deleted key is refused on the other replicas.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::connection::{Connection, Request};
use crate::replicas::{Management, REPLICAS, Replicas, export};

/// Deletions of keys that are measured.
pub(crate) struct Revocations {
    /// The number of keys.
    pub(crate) count: usize,
    /// The number of keys that are created together, before the first of them is deleted.
    pub(crate) at_once: usize,
    /// The number of replicas through which the keys are created and deleted.
    pub(crate) through: usize,
    /// The time from one deletion to the next one.
    pub(crate) pause: Duration,
    /// The time from one export with a deleted key to the next one.
    pub(crate) resolution: Duration,
}

impl Revocations {
    /// Deletes keys. Returns how long after the answer to the deletion each other replica refused
    /// the key for the first time, in milliseconds.
    pub(crate) async fn measure(&self, replicas: &Replicas) -> Vec<f64> {
        let mut management = Vec::new();
        for gateway in &replicas.gateways[..self.through] {
            management.push(Management::of(gateway).await);
        }
        let mut measured = Vec::new();
        for first in (0..self.count).step_by(self.at_once) {
            let mut keys = Vec::new();
            for number in first..self.count.min(first + self.at_once) {
                let replica = number % self.through;
                keys.push((
                    replica,
                    management[replica].create(&json!({ "name": "revoked" })).await,
                ));
            }
            for (replica, key) in keys {
                let mut watching = Vec::new();
                for other in (0..REPLICAS).filter(|other| *other != replica) {
                    let address = replicas.gateways[other].address("otlp_http");
                    let export = export(&key.secret, &[]);
                    let connection = accepted(address, &export).await;
                    watching.push(tokio::spawn(refused(connection, export, self.resolution)));
                }
                management[replica].delete(&key).await;
                measured.push((Instant::now(), watching));
                sleep(self.pause).await;
            }
        }
        let mut latencies = Vec::new();
        for (deleted, watching) in measured {
            for refused in watching {
                latencies.push(milliseconds(deleted, refused.await.unwrap()));
            }
        }
        latencies
    }
}

/// Sends this export until it is accepted, and returns the connection.
async fn accepted(address: &str, export: &Request<'_>) -> Connection {
    loop {
        let mut connection = Connection::open(address).await;
        if connection.send(export).await.status == 200 {
            return connection;
        }
        // The gateway closes a connection after a refusal.
        sleep(Duration::from_millis(1)).await;
    }
}

/// Sends this export until it is refused, and returns the time of the refusal.
async fn refused(
    mut connection: Connection,
    export: Request<'static>,
    resolution: Duration,
) -> Instant {
    let mut interval = interval(resolution);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match connection.send(&export).await.status {
            200 => {}
            401 => return Instant::now(),
            status => panic!("an export with a deleted key was answered with {status}"),
        }
    }
}

/// Returns how long after the answer to a deletion a key was refused, in milliseconds. A refusal
/// that came before the answer counts as 0.
pub(crate) fn milliseconds(deleted: Instant, refused: Instant) -> f64 {
    refused.saturating_duration_since(deleted).as_secs_f64() * 1e3
}

/// Returns a percentile of these values, such as 0.99.
pub(crate) fn percentile(values: &[f64], percentile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() as f64 * percentile) as usize).min(sorted.len() - 1)]
}
