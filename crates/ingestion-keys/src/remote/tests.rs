use std::time::Duration;

use ingestion_api::{
    FollowCursor, FollowEvent, FollowHello, FollowPosition, FollowedKey, UsageReport,
};
use otlp_auth::DenyReason::Unknown;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::clock::ManualClock;
use crate::fixture::{NOW, Outcome, allow, decide, key, record};
use crate::store::Change;

/// How long a test waits for a step before it fails. No step takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that answers as a test says.
struct Scripted(TcpListener);

/// A request that was received and is not answered yet.
struct Exchange {
    line: String,
    authorization: String,
    body: Vec<u8>,
    stream: BufReader<TcpStream>,
}

impl Scripted {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn follower(&self) -> FollowerBuilder {
        let url = format!("http://{}/", self.0.local_addr().unwrap());
        Follower::builder(url).token("the-token").report_interval(Duration::from_millis(10))
    }

    /// Waits for a request with this path.
    async fn request(&self, path: &str) -> Exchange {
        loop {
            let accepted = timeout(PATIENCE, self.0.accept()).await.expect("a connection");
            let exchange = Exchange::read(accepted.unwrap().0).await;
            if exchange.line.split([' ', '?']).nth(1) == Some(path) {
                return exchange;
            }
        }
    }
}

impl Exchange {
    async fn read(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let (mut line, mut authorization, mut length) = (String::new(), String::new(), 0);
        stream.read_line(&mut line).await.unwrap();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name {
                "authorization" => value.clone_into(&mut authorization),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        Self { line, authorization, body, stream }
    }

    fn report(&self) -> UsageReport {
        serde_json::from_slice(&self.body).unwrap()
    }

    async fn answer(&mut self, status: &str) {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await.unwrap();
    }

    async fn send(&mut self, event: FollowEvent) {
        let line = serde_json::to_string(&event).unwrap() + "\n";
        self.stream.write_all(line.as_bytes()).await.unwrap();
    }

    /// Answers with these keys and a position, at time 0 of the gateway.
    async fn follow(&mut self, snapshot: bool, keys: &[i64], revision: i64) {
        self.hello(0, snapshot).await;
        let followed = |&number: &i64| FollowedKey::from(&Change::from(&record(number, "n")));
        self.send(FollowEvent::Keys(keys.iter().map(followed).collect())).await;
        self.position(revision, 0).await;
    }

    async fn hello(&mut self, now: i64, snapshot: bool) {
        self.answer("200 OK").await;
        self.send(FollowEvent::Hello(FollowHello { now, snapshot })).await;
    }

    async fn position(&mut self, revision: i64, as_of: i64) {
        let cursor = FollowCursor { revision, change_id: [7; 16] };
        self.send(FollowEvent::Position(FollowPosition { cursor, as_of })).await;
    }
}

const FOLLOW: &str = "/api/security/ingestion/follow";
const USAGE: &str = "/api/security/ingestion/follow/usage";

/// Waits until the condition is true.
async fn until(mut holds: impl FnMut() -> bool) {
    let reached = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, reached).await.expect("the condition is reached");
}

/// Returns how the follower decides on the key with this number.
fn outcome(follower: &Follower, number: u64) -> Outcome {
    decide(&follower.cache, key(number).expose_secret())
}

/// Waits until the follower decides in this way on the key with this number.
async fn wait_for(follower: &Follower, number: u64, expected: Outcome) {
    until(|| outcome(follower, number) == expected).await;
}

// Scenario: a gateway does not accept the token at first. Then it sends a snapshot, and breaks the
// connection. It sends a change after the cursor, and breaks the connection again. It breaks the
// next connection in the middle of a snapshot, and then sends another whole snapshot.
// Guarantee: the follower sends its token and its last cursor. It is undecided before the first
// snapshot, and decides meanwhile from what it has. A part of a snapshot removes no key, and a
// whole snapshot removes the keys that it does not have. A line that it does not know is ignored.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_continues_at_its_cursor() {
    let gateway = Scripted::start().await;
    let follower = gateway.follower().start().await.unwrap();
    gateway.request(FOLLOW).await.answer("401 Unauthorized").await;
    let mut exchange = gateway.request(FOLLOW).await;
    assert_eq!(exchange.line, format!("GET {FOLLOW} HTTP/1.1\r\n"));
    assert_eq!(exchange.authorization, "StackState the-token");
    assert_eq!(outcome(&follower, 1), Outcome::Undecided);
    exchange.follow(true, &[1, 2], 5).await;
    timeout(PATIENCE, follower.ready()).await.unwrap();
    wait_for(&follower, 1, allow("n")).await;
    drop(exchange);

    let mut exchange = gateway.request(FOLLOW).await;
    let after = format!("?after=5.{}", "07".repeat(16));
    assert!(exchange.line.contains(&after), "{}", exchange.line);
    assert_eq!(outcome(&follower, 3), Outcome::Deny(Unknown));
    exchange.follow(false, &[3], 6).await;
    wait_for(&follower, 3, allow("n")).await;
    assert_eq!(outcome(&follower, 2), allow("n"));
    drop(exchange);

    let mut exchange = gateway.request(FOLLOW).await;
    assert!(exchange.line.contains("?after=6."), "{}", exchange.line);
    exchange.hello(0, true).await;
    exchange.stream.write_all(b"{\"later\":[1]}\n").await.unwrap();
    exchange.send(FollowEvent::Keys(vec![FollowedKey::from(&Change::from(&record(4, "n")))])).await;
    wait_for(&follower, 4, allow("n")).await;
    drop(exchange);

    let mut exchange = gateway.request(FOLLOW).await;
    assert!(exchange.line.contains("?after=6."), "{}", exchange.line);
    assert_eq!(outcome(&follower, 2), allow("n"));
    exchange.follow(true, &[1], 2).await;
    wait_for(&follower, 2, Outcome::Deny(Unknown)).await;
    wait_for(&follower, 4, Outcome::Deny(Unknown)).await;
    assert_eq!(outcome(&follower, 1), allow("n"));
}

/// The largest staleness of a follower with a clock that a test moves.
const MAX_STALENESS: Duration = Duration::from_secs(60);

/// Starts a follower with a clock that stands still.
async fn with_clock(gateway: &Scripted) -> (Follower, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let follower = gateway.follower().clock(clock.clone()).max_staleness(MAX_STALENESS);
    (follower.start().await.unwrap(), clock)
}

/// Checks that the follower decides on a key that it has and on another one for exactly this long,
/// and is undecided about both from then on.
fn decides_for(left: Duration, follower: &Follower, clock: &ManualClock) {
    let outcomes = || (outcome(follower, 1), outcome(follower, 2));
    clock.advance(left - Duration::from_millis(1));
    assert_eq!(outcomes(), (allow("n"), Outcome::Deny(Unknown)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcomes(), (Outcome::Undecided, Outcome::Undecided));
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// Scenario: the gateway takes three seconds to accept the request, and has not read its own store
// for 20 seconds then. Later, while the follower is too old, lines come that were on their way for
// long: one with keys as of half a minute ago, one that the gateway has sent without reading its
// store again, and one after the machine of the follower was suspended.
// Guarantee: the follower decides up to the moment at which what it has is too old, and is
// undecided from then on. A line makes it as young as the gateway was when it read its store, and
// no younger.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_has_is_as_old_as_the_gateway_says() {
    let gateway = Scripted::start().await;
    let (follower, clock) = with_clock(&gateway).await;
    let mut exchange = gateway.request(FOLLOW).await;
    clock.advance(seconds(3));
    exchange.hello(100_000, true).await;
    exchange.send(FollowEvent::Keys(vec![FollowedKey::from(&Change::from(&record(1, "n")))])).await;
    exchange.position(1, 80_000).await;
    timeout(PATIENCE, follower.ready()).await.unwrap();
    let keys = follower.authenticator();
    assert_eq!((follower.cache.age(), keys.fresh_for()), (Some(seconds(23)), Some(seconds(37))));
    decides_for(seconds(37), &follower, &clock);

    // 40 seconds have passed since the request.
    exchange.position(2, 110_000).await;
    until(|| keys.fresh_for().is_some()).await;
    assert_eq!((follower.cache.age(), outcome(&follower, 1)), (Some(seconds(30)), allow("n")));
    clock.advance(seconds(30));
    exchange.position(3, 110_000).await;
    until(|| follower.cache.revision() == Some(3)).await;
    assert_eq!(outcome(&follower, 1), Outcome::Undecided);

    // 70 seconds have passed since the request.
    clock.suspend(seconds(100));
    exchange.position(4, 250_000).await;
    until(|| keys.fresh_for().is_some()).await;
    assert_eq!(follower.cache.age(), Some(seconds(20)));
}

// Scenario: the clock of the gateway runs half as fast as that of the follower.
// Guarantee: after a few minutes the follower connects again at its cursor, without a pause. Then
// what it has is not too old any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_renewed() {
    let gateway = Scripted::start().await;
    let (follower, clock) = with_clock(&gateway).await;
    let mut exchange = gateway.request(FOLLOW).await;
    exchange.follow(true, &[1], 1).await;
    wait_for(&follower, 1, allow("n")).await;
    clock.advance(seconds(180));
    exchange.position(2, 90_000).await;
    let lines = async {
        // The follower does not leave because nothing comes.
        while exchange.stream.write_all(b"{}\n").await.is_ok() {
            tokio::time::sleep(seconds(1)).await;
        }
        std::future::pending().await
    };
    let mut renewed = tokio::select! {
        renewed = gateway.request(FOLLOW) => renewed,
        () = lines => unreachable!(),
    };
    assert!(renewed.line.contains("?after=2."), "{}", renewed.line);
    assert_eq!(outcome(&follower, 1), Outcome::Undecided);
    renewed.hello(90_000, false).await;
    renewed.position(2, 90_000).await;
    wait_for(&follower, 1, allow("n")).await;
    assert_eq!(follower.cache.age(), Some(Duration::ZERO));
}

// Scenario: the gateway says nothing for 20 seconds, though the connection is open.
// Guarantee: the follower connects again at its cursor.
#[tokio::test]
async fn a_silent_gateway_is_left() {
    let gateway = Scripted::start().await;
    let (follower, _clock) = with_clock(&gateway).await;
    let mut exchange = gateway.request(FOLLOW).await;
    exchange.follow(true, &[1], 1).await;
    timeout(PATIENCE, follower.ready()).await.unwrap();
    // This only moves the time of Tokio.
    tokio::time::pause();
    tokio::time::advance(seconds(20)).await;
    tokio::time::resume();
    let again = gateway.request(FOLLOW).await;
    assert!(again.line.contains("?after=1."), "{}", again.line);
}

// Scenario: the gateway ends the connection, and does not accept the token any more.
// Guarantee: the follower decides from what it has until that is too old. Then it is undecided, and
// says about no key that it is not valid.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_cut_off_is_undecided() {
    let gateway = Scripted::start().await;
    let (follower, clock) = with_clock(&gateway).await;
    let mut exchange = gateway.request(FOLLOW).await;
    exchange.follow(true, &[1], 1).await;
    wait_for(&follower, 1, allow("n")).await;
    drop(exchange);
    gateway.request(FOLLOW).await.answer("401 Unauthorized").await;
    let _unanswered = gateway.request(FOLLOW).await;
    decides_for(MAX_STALENESS, &follower, &clock);
}

// Scenario: the answer to a report is lost. Then a key is used again, and the follower stops.
// Guarantee: the report is sent again with the same number and the same usage, and the later usage
// in a report of its own. Every use is in one of the reports.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_was_not_answered_is_sent_again() {
    let gateway = Scripted::start().await;
    let follower = gateway.follower().start().await.unwrap();
    let mut stream = gateway.request(FOLLOW).await;
    stream.follow(true, &[1], 1).await;
    wait_for(&follower, 1, allow("n")).await;
    let first = gateway.request(USAGE).await;
    let lost = first.report();
    assert_eq!((lost.number, lost.source.len()), (1, 32));
    outcome(&follower, 1);
    drop(first);
    let mut again = gateway.request(USAGE).await;
    assert_eq!(UsageReport { timestamp: lost.timestamp, ..again.report() }, lost);
    again.answer("204 No Content").await;
    let stop = tokio::spawn(follower.shut_down());
    let mut last = gateway.request(USAGE).await;
    let rest = last.report();
    assert_eq!((&rest.source, rest.number), (&lost.source, 2));
    last.answer("204 No Content").await;
    timeout(PATIENCE, stop).await.unwrap().unwrap();
    let uses = [lost, rest].map(|report| report.keys[0].accepted);
    assert!(uses.iter().sum::<u64>() >= 2 && uses.iter().all(|&uses| uses > 0), "{uses:?}");
}

// Scenario: a follower is built with plaintext to another host, without a token, with files that do
// not exist or have no certificate, and with durations of zero.
// Guarantee: each of them is an error of the start.
#[tokio::test]
async fn a_follower_that_cannot_work_does_not_start() {
    let start = async |builder: FollowerBuilder| builder.start().await.unwrap_err();
    let https = || Follower::builder("https://gateway.example.com").token("t");
    let plaintext = Follower::builder("http://gateway.example.com").token("t");
    assert!(matches!(start(plaintext).await, StartError::Auth(_)));
    let no_token = Follower::builder("https://gateway.example.com");
    assert!(matches!(start(no_token).await, StartError::Auth(_)));
    assert!(matches!(start(https().token_file("/none")).await, StartError::Auth(_)));
    assert!(matches!(start(https().ca_file("/none")).await, StartError::CaFile { .. }));
    assert!(matches!(start(https().ca_file("/dev/null")).await, StartError::Certificates(_)));
    for zero in [https().max_staleness(Duration::ZERO), https().report_interval(Duration::ZERO)] {
        assert!(matches!(start(zero).await, StartError::Zero { .. }));
    }
}
