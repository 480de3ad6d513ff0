//! Requests that are expensive to decode.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use otlp_auth_tests::compress;

use crate::bombs::{EMPTY_RESOURCE, RESOURCES, traces};
use crate::gateway::{TestEnv, telemetry};
use crate::http::{Client, request};
use crate::keys::Key;

/// How many connections send requests that are expensive to decode.
const ATTACKERS: usize = 64;

/// How often each kind of request is sent under the attack.
const MEASURED: usize = 20;

/// The longest time that one request of somebody else may take. It is generous, because the tests
/// run without optimization on a busy machine.
const MAX_TIME: Duration = Duration::from_secs(30);

// Scenario: 64 connections with one key send requests of 20 KB without pause, which become ten
// million empty resources. Meanwhile keys are deleted, `/livez` is read, and another key sends
// small requests. At last the key of the 64 connections is deleted.
// Guarantee: all these requests are answered, and the deleted key is refused.
#[test]
fn decoding_keeps_nobody_waiting() {
    let env = TestEnv::new(&[]);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let (attacker, other) =
        (Key::create(&mut caller, "attacker"), Key::create(&mut caller, "other"));
    let deleted: Vec<_> = (0..MEASURED).map(|_| Key::create(&mut caller, "deleted")).collect();
    let bomb = compress("gzip", &EMPTY_RESOURCE.repeat(RESOURCES)).expect("a bomb");
    let bomb = traces(&attacker.secret, "gzip", &bomb);
    let (answers, answered) = mpsc::channel();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            let mut client = Client::new(gateway.address("otlp_http"));
            let (bomb, stop, answers) = (&bomb, &stop, answers.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // The gateway may end connections of a sender that it refuses.
                    let status = client.call(bomb).map(|answer| answer.status);
                    match status {
                        Ok(200 | 503) | Err(_) => answers.send(()).expect("the test reads"),
                        Ok(401) => return,
                        Ok(other) => panic!("answered {other}"),
                    }
                }
            });
        }
        drop(answers);
        let _stop = StopOnPanic(&stop);
        answered.recv_timeout(MAX_TIME).expect("the attack begins");
        measure("delete", deleted.iter(), |key| assert_eq!(caller.delete(key.id).status, 204));
        let mut telemetry_listener = Client::new(gateway.address("telemetry"));
        let livez = request("GET", "/livez", &[], "");
        measure("/livez", 0..MEASURED, |_| {
            assert_eq!(telemetry_listener.call(&livez).expect("an answer").status, 200);
        });
        let mut sender = Client::new(gateway.address("otlp_http"));
        measure("export", 0..MEASURED, |_| {
            let answer = sender.call(&telemetry(&other.secret)).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
        });
        assert_eq!(caller.authorize(&[&other.secret, &deleted[0].secret]), [204, 403]);
        measure("revoke", 0..1, |_| assert_eq!(caller.delete(attacker.id).status, 204));
    });
    println!("{} requests of the attack were answered", answered.iter().count());
    gateway.stop();
}

/// Stops the attack if an assertion fails. Otherwise, the attack ends because its key is refused.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        self.0.store(thread::panicking(), Ordering::Relaxed);
    }
}

/// Does something several times, prints how long it takes, and asserts that no time is very long.
fn measure<T>(what: &str, items: impl IntoIterator<Item = T>, mut act: impl FnMut(T)) {
    let mut times: Vec<_> = items
        .into_iter()
        .map(|item| {
            let start = Instant::now();
            act(item);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{what}: {:?} at the median, {:?} at most",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert!(times[times.len() - 1] < MAX_TIME, "{what}: {times:?}");
}
