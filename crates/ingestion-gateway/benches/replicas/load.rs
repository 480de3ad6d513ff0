//! The exports that each replica gets all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::KEYS;
use crate::common::keys::key;
use crate::connection::Connection;
use crate::payload;
use crate::replicas::{REPLICAS, Replicas, export};

/// The exports a second that each replica gets.
const RATE: u32 = 1000;

/// The number of spans of an export.
const SPANS: usize = 100;

/// The connections to each replica.
const CONNECTIONS: u32 = 8;

/// The least part of the rate that must be reached, in percent.
const REACHED: u64 = 99;

/// Senders that send until this value is dropped.
pub(crate) struct Load {
    accepted: Arc<AtomicU64>,
    _senders: JoinSet<()>,
}

impl Load {
    /// Starts to send to each replica, with all keys in turn.
    pub(crate) fn start(replicas: &Replicas) -> Self {
        let body: Arc<[u8]> = Arc::from(&*payload::export(SPANS, false).0);
        let accepted = Arc::<AtomicU64>::default();
        let mut senders = JoinSet::new();
        for gateway in &replicas.gateways {
            for first in 0..CONNECTIONS {
                let (body, accepted) = (Arc::clone(&body), Arc::clone(&accepted));
                let address = gateway.address("otlp_http").to_owned();
                senders.spawn(async move {
                    let mut connection = Connection::open(&address).await;
                    let mut interval = interval(Duration::from_secs(1) * CONNECTIONS / RATE);
                    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
                    for number in
                        (0..KEYS).cycle().skip(first as usize).step_by(CONNECTIONS as usize)
                    {
                        let request = export(&key(number), &body);
                        interval.tick().await;
                        assert_eq!(connection.send(&request).await.status, 200);
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        Self { accepted, _senders: senders }
    }

    /// Waits for `measured`. Panics if the replicas have not got and accepted as many exports
    /// meanwhile as they should.
    pub(crate) async fn during<T>(&self, what: &str, measured: impl Future<Output = T>) -> T {
        eprintln!("measuring {what}, at {REPLICAS} x {RATE} exports/s");
        let (before, started) = (self.accepted.load(Ordering::Relaxed), Instant::now());
        let result = measured.await;
        let accepted = self.accepted.load(Ordering::Relaxed) - before;
        let seconds = started.elapsed().as_secs_f64();
        let rate = accepted as f64 / seconds / REPLICAS as f64;
        eprintln!("measured {what} for {seconds:.1} s, at {REPLICAS} x {rate:.1} exports/s");
        assert!(rate * 100.0 >= (u64::from(RATE) * REACHED) as f64, "there was too little load");
        result
    }
}
