//! Refusals of requests with large bodies, as HTTP clients of others read them.
//!
//! A sender that cannot read why it was refused sends the same data again and again. A server that
//! closes a connection while a sender still writes makes the sender's system discard the response.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use otlp_auth_tests::{Gateway, Home, Key, peer};
use serde_json::{Value, json};

use crate::{KEY, RECEIVERS, TestFile, WRONG_KEY, start_receiver};

/// The lengths of the bodies, in bytes. The largest is above every limit.
const SIZES: [usize; 5] = [64 << 10, 300 << 10, 1 << 20, 8 << 20, TOO_LARGE];

const TOO_LARGE: usize = 32 << 20;

/// How many requests of each size a client sends to the gateway, and how many to the receivers.
const TRIES: usize = 40;

const PROTOBUF: &str = "application/x-protobuf";

/// A request that is refused.
#[derive(Clone)]
struct Refused {
    url: String,
    headers: Vec<(&'static str, String)>,
    status: u16,
}

impl Refused {
    fn new(url: String, headers: &[(&'static str, &str)], status: u16) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { url, headers, status }
    }

    fn request(&self, size: usize) -> Value {
        let headers: BTreeMap<_, _> = self.headers.iter().cloned().collect();
        json!({"url": self.url, "headers": headers, "size": size})
    }
}

/// Returns the refusals of an OTLP receiver at this URL, whose statuses do not depend on the size.
fn refusals_of_otlp(url: &str, key: &str) -> Vec<Refused> {
    let (good, wrong) = (format!("StackState {key}"), format!("StackState {WRONG_KEY}"));
    let traces = format!("{url}/v1/traces");
    let content_type = ("content-type", PROTOBUF);
    vec![
        Refused::new(traces.clone(), &[content_type], 401),
        Refused::new(traces.clone(), &[content_type, ("authorization", &wrong)], 401),
        Refused::new(format!("{url}/v1/none"), &[content_type, ("authorization", &good)], 404),
        Refused::new(traces, &[("content-type", "text/plain"), ("authorization", &good)], 415),
    ]
}

/// Returns a request that is refused only because it is too large.
fn too_large(url: String, key: &str) -> Refused {
    let authorization = format!("StackState {key}");
    Refused::new(url, &[("content-type", PROTOBUF), ("authorization", &authorization)], 413)
}

/// Lets a client send `TRIES` requests of each size, and asserts that each response is read.
fn assert_no_answer_lost(mut client: Command, refusals: &[Refused], too_large: &[Refused]) {
    let sent: Vec<_> = SIZES
        .into_iter()
        .flat_map(|size| {
            let too_large = if size == TOO_LARGE { too_large } else { &[] };
            // Each request is sent twice in a row, so that a client uses a connection again before
            // it can notice that the server has closed it.
            let all: Vec<_> = refusals
                .iter()
                .chain(too_large)
                .flat_map(|one| [one.clone(), one.clone()])
                .collect();
            all.into_iter().cycle().take(TRIES).map(move |refused| (refused, size))
        })
        .collect();
    let requests: Value = sent.iter().map(|(refused, size)| refused.request(*size)).collect();
    let requests = TestFile::new("requests.json", &requests.to_string());
    let output = client
        .stdin(File::open(requests.path()).expect("the requests"))
        .stderr(Stdio::inherit())
        .output()
        .expect("the client runs");
    let answers = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(output.status.success() && answers.len() == sent.len(), "{client:?}: {answers:#?}");
    // Each kind of lost answer has the number of its cases, and what the client read in the last.
    let mut lost: BTreeMap<_, (usize, &Value)> = BTreeMap::new();
    for ((Refused { url, status, .. }, size), answer) in sent.iter().zip(&answers) {
        if answer["status"] != *status {
            let (count, example) = lost.entry((status, url, size)).or_insert((0, answer));
            (*count, *example) = (*count + 1, answer);
        }
    }
    assert!(lost.is_empty(), "{client:?}: of {} answers are lost: {lost:#?}", sent.len());
}

/// Lets a client send to the gateway and then to every receiver.
fn assert_no_refusal_lost(client: impl Fn() -> Command) {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    home.save_context(&gateway);
    let Key { secret, .. } = home.create_key("sender");
    let (otlp, agent) = (gateway.url("otlp_http"), gateway.url("agent"));
    let intake = format!("{agent}/stsAgent/intake/");
    let (good, wrong) = (format!("StackState {secret}"), format!("StackState {WRONG_KEY}"));
    let mut refusals = refusals_of_otlp(&otlp, &secret);
    refusals.extend([
        Refused::new(intake.clone(), &[], 401),
        Refused::new(intake.clone(), &[("authorization", &wrong)], 403),
        Refused::new(format!("{agent}/none"), &[("authorization", &good)], 404),
        Refused::new(format!("{}/metrics", gateway.url("telemetry")), &[], 405),
        Refused::new(format!("{}/api/server/info", gateway.url("management")), &[], 401),
        Refused::new(format!("{}/none", gateway.url("authorize")), &[], 404),
    ]);
    let too_large = [too_large(format!("{otlp}/v1/logs"), &secret), too_large(intake, &secret)];
    assert_no_answer_lost(client(), &refusals, &too_large);

    let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
    let receivers = RECEIVERS.map(|name| start_receiver(name, &tokens.path(), None));
    let urls = receivers.each_ref().map(|(_, port)| format!("http://127.0.0.1:{port}"));
    let refusals: Vec<_> = urls.iter().flat_map(|url| refusals_of_otlp(url, KEY)).collect();
    let too_large = urls.map(|url| self::too_large(format!("{url}/v1/logs"), KEY));
    assert_no_answer_lost(client(), &refusals, &too_large);
}

/// Returns the path of a file in the directory of the peers' sources.
fn source(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers").join(path)
}

// The modules have the names of the peers, so that their tests can be skipped.

mod collector {
    use super::*;

    // Scenario: Go's client sends bodies of 64 KiB to 32 MiB to the gateway and to each receiver,
    // with no key, a wrong key, a wrong path, a wrong content type, or too many bytes.
    // Guarantee: the client reads every refusal.
    #[test]
    fn go_reads_every_refusal() {
        assert_no_refusal_lost(|| peer("refusals"));
    }
}

mod node {
    use super::*;

    // Scenario: Node's client sends the same requests.
    // Guarantee: the client reads every refusal.
    #[test]
    fn node_reads_every_refusal() {
        assert_no_refusal_lost(|| {
            let mut client = Command::new("node");
            client.arg(source("node/refusals.mjs"));
            client
        });
    }
}

mod python {
    use super::*;

    fn client(name: &str) -> Command {
        let mut client = peer("python/bin/python");
        client.arg(source("python/refusals.py")).arg(name);
        client
    }

    // Scenario: `requests`, which the SDK for Python uses, and Python's own client send the same
    // requests.
    // Guarantee: both clients read every refusal.
    #[test]
    fn python_reads_every_refusal() {
        for name in ["requests", "http.client"] {
            assert_no_refusal_lost(|| client(name));
        }
    }
}
