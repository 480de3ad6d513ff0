//! Processes that follow a gateway: this program has many followers, each with a connection and a
//! cache of its own, as many processes would.

use std::time::{Duration, Instant};

use ingestion_keys::remote::{FollowedKeys, Follower};
use otlp_auth::server::ServerAuthenticator as _;
use otlp_auth::{Credential, Decision};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::common::gateway::Gateway;
use crate::cpu::cpu;
use crate::memory::resident_megabytes;
use crate::replicas::Management;
use crate::revocation::milliseconds;

/// The number of keys that are deleted.
const DELETED: usize = 200;

/// The time from one look at the followers to the next one.
const RESOLUTION: Duration = Duration::from_millis(1);

/// How long followers may take until they have all keys.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time after which connecting has no effect on the memory any more.
const SETTLED: Duration = Duration::from_secs(10);

/// How long the gateway is observed without followers.
const ALONE: Duration = Duration::from_secs(30);

/// Each follower renews its connection 90 to 180 s after it was made. All of them do so for the
/// first time in the time that is observed, which is more than they do later in the same time.
const RENEWING: Duration = Duration::from_secs(90);

/// Followers of one gateway.
pub(crate) struct Followers(Vec<Follower>);

/// What followers cost their gateway.
pub(crate) struct Cost {
    pub(crate) megabytes: f64,
    /// The part of a processor that they use while no key changes, in percent.
    pub(crate) idle_percent: f64,
}

impl Followers {
    /// Starts followers of this gateway, and waits until all of them have its keys.
    pub(crate) async fn start(gateway: &Gateway, count: usize) -> Self {
        let token = json!({ "name": "followers", "role": "follower" });
        let token = Management::of(gateway).await.create(&token).await.secret;
        let url = format!("http://{}", gateway.address("management"));
        let mut followers = Vec::new();
        for _ in 0..count {
            let follower = Follower::builder(&url).token(token.as_str()).start().await.unwrap();
            followers.push(follower);
        }
        for follower in &followers {
            timeout(PATIENCE, follower.ready()).await.expect("the followers are ready");
        }
        Self(followers)
    }

    /// Deletes keys through the gateway. Returns how long after the answer to the deletion each
    /// follower refused the key for the first time, in milliseconds.
    pub(crate) async fn revocations(&self, gateway: &Gateway) -> Vec<f64> {
        let caches: Vec<_> = self.0.iter().map(Follower::authenticator).collect();
        let mut management = Management::of(gateway).await;
        let mut latencies = Vec::new();
        for _ in 0..DELETED {
            let key = management.create(&json!({ "name": "revoked" })).await;
            until(&caches, |decision| matches!(decision, Decision::Allow(_)), &key.secret).await;
            let secret = key.secret.clone();
            let watched = caches.clone();
            let refused = tokio::spawn(async move {
                until(&watched, |decision| matches!(decision, Decision::Deny(_)), &secret).await
            });
            management.delete(&key).await;
            let deleted = Instant::now();
            let refused = refused.await.unwrap();
            latencies.extend(refused.into_iter().map(|refused| milliseconds(deleted, refused)));
        }
        latencies
    }
}

/// Looks at the followers until each of them has decided on the key in this way, and returns the
/// time for each of them.
async fn until(
    followers: &[FollowedKeys],
    is_wanted: impl Fn(&Decision) -> bool,
    key: &str,
) -> Vec<Instant> {
    let mut times = vec![None; followers.len()];
    let credential = Credential::new("StackState", key).unwrap();
    let mut interval = interval(RESOLUTION);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while times.contains(&None) {
        interval.tick().await;
        for (follower, time) in followers.iter().zip(&mut times).filter(|(_, time)| time.is_none())
        {
            let verdict = follower.authenticate(&credential).await;
            if is_wanted(&verdict.expect("the follower is fresh")) {
                *time = Some(Instant::now());
            }
        }
    }
    times.into_iter().flatten().collect()
}

/// Measures what this number of followers cost a gateway.
pub(crate) async fn cost(gateway: &Gateway, count: usize) -> Cost {
    allow_open_files();
    let process = gateway.child.id();
    sleep(SETTLED).await;
    let (memory, alone) = (resident_megabytes(process), idle_percent(process, ALONE).await);
    let started = Instant::now();
    let _followers = Followers::start(gateway, count).await;
    sleep(RENEWING.saturating_sub(started.elapsed())).await;
    let with_followers = idle_percent(process, RENEWING).await;
    let megabytes = resident_megabytes(process) - memory;
    Cost { megabytes, idle_percent: with_followers - alone }
}

/// Returns the part of a processor that the process uses in the next time, in percent.
async fn idle_percent(process: u32, observed: Duration) -> f64 {
    let (before, started) = (cpu(process), Instant::now());
    sleep(observed).await;
    (cpu(process) - before).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0
}

/// Lets this process open as many files as it may. Each follower has a connection.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}
