//! Every configuration of a Collector in our documents, run by a Collector.

use std::fs;
use std::path::{Path, PathBuf};

use otlp_auth_tests::{Certificate, Items, Totals, peer, send};

use super::Collector;
use crate::exporter::start_exporter;
use crate::{KEY, TestFile, start_receiver};

const ITEMS: usize = 3;

/// The directories of this repository that contain documents, and the documents in its root.
const PLACES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs",
    "crates",
    "examples/src",
    "tests",
    "xtask",
];

/// A configuration in a document.
struct Snippet {
    file: PathBuf,
    text: String,
}

/// The text of a document: a Markdown file, or the documentation comments of a Rust file.
fn document(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a document");
    if file.extension().is_some_and(|extension| extension == "md") {
        return text;
    }
    let comment = |line: &str| {
        let line = line.trim_start();
        let prose = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        prose.map_or(String::new(), |prose| prose.strip_prefix(' ').unwrap_or(prose).to_owned())
    };
    text.lines().map(comment).collect::<Vec<_>>().join("\n")
}

/// Returns every document of this repository.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let mut places: Vec<PathBuf> = PLACES.iter().map(|place| root.join(place)).collect();
    let mut documents = Vec::new();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = fs::read_dir(&place).expect("a directory");
            places.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if place.extension().is_some_and(|extension| extension == "md" || extension == "rs")
        {
            let text = document(&place);
            documents.push((place, text));
        }
    }
    documents
}

/// Returns every whole configuration of a Collector: the code blocks in YAML that have exporters,
/// and the strings in Rust examples that begin with extensions.
fn configurations() -> Vec<Snippet> {
    let mut found = Vec::new();
    for (file, text) in documents() {
        let fenced = text.split("\n```").filter_map(|block| block.strip_prefix("yaml\n"));
        let fenced = fenced.filter(|text| text.contains("exporters:")).map(str::to_owned);
        let quoted = text.split("\n\"\n").chain(text.split("\n    \"\n"));
        let quoted = quoted.filter(|text| text.starts_with("extensions:"));
        let quoted = quoted.filter_map(|text| Some(text.split_once("\n\"")?.0.to_owned()));
        found.extend(fenced.chain(quoted).map(|text| Snippet { file: file.clone(), text }));
    }
    found
}

/// Returns every `bearertokenauth` block in a Rust example.
fn blocks() -> Vec<Snippet> {
    let mut found = Vec::new();
    for (file, text) in documents() {
        for rest in text.split("from_yaml(\"").skip(1) {
            let literal = rest.split("\")").next().unwrap_or_default();
            let literal = literal.split("\", ").next().unwrap_or_default();
            let text = literal.replace("\\n", "\n").replace("\\\"", "\"");
            found.push(Snippet { file: file.clone(), text });
        }
    }
    found
}

// Scenario: every configuration of a Collector that stands in one of our documents is run by a
// Collector. Only its ports, the names of its files and its upstream are replaced. The Collector
// gets three signals, from our exporter if it requires a key.
// Guarantee: the Collector starts, and every item arrives exactly once at each upstream, under the
// name of the key.
#[tokio::test(flavor = "multi_thread")]
async fn every_configuration_in_our_documents_runs() {
    let configurations = configurations();
    let in_file =
        |name: &str| configurations.iter().filter(|snippet| snippet.file.ends_with(name)).count();
    assert_eq!(in_file("README.md"), 3);
    assert_eq!(in_file("collector_config/collector.rs"), 1);
    for snippet in &configurations {
        run(snippet).await;
    }
}

async fn run(Snippet { file, text }: &Snippet) {
    let file = file.display();
    let (certificate, tokens) =
        (Certificate::new(), TestFile::new("tokens", &format!("team-a={KEY}\n")));
    let (plain, plain_port) = start_receiver("receiver-axum", &tokens.path(), None);
    let (tls, tls_port) = start_receiver("receiver-axum", &tokens.path(), Some(&certificate));
    let accepted = TestFile::new("tokens.txt", KEY);
    let (plain_url, tls_url) =
        (format!("http://127.0.0.1:{plain_port}"), format!("https://localhost:{tls_port}"));
    let (mut upstreams, mut adapted) = (Vec::new(), text.clone());
    for (documented, replacement, upstream) in [
        ("http://127.0.0.1:14317", &*plain_url, Some("plain")),
        ("http://127.0.0.1:4318", &plain_url, Some("plain")),
        ("https://otlp-http.example.com", &tls_url, Some("tls")),
        ("localhost:4317", &format!("localhost:{tls_port}"), Some("tls")),
        ("127.0.0.1:24317", "127.0.0.1:0", None),
        ("ca.pem", &certificate.cert().display().to_string(), None),
        ("server.pem", &certificate.cert().display().to_string(), None),
        ("server.key", &certificate.key().display().to_string(), None),
        ("tokens.txt", &accepted.path().display().to_string(), None),
    ] {
        if adapted.contains(documented) {
            adapted = adapted.replace(documented, replacement);
            upstreams.extend(upstream);
        }
    }
    assert!(!upstreams.is_empty(), "{file}: this test does not know where the example sends to");
    // By default, every Collector of a host has the same port for its metrics.
    let mut command = peer("otelcol");
    command.args(["--set", "service.telemetry.metrics.level=none"]);
    command.env("API_KEY", KEY).env("SSL_CERT_FILE", certificate.cert());
    let collector = Collector::start_with(&mut command, &adapted);
    let sent = match collector.http {
        Some(port) if text.contains("tokens.txt") => export(port),
        _ => {
            send(&collector.channel(), ITEMS).await;
            3 * ITEMS
        }
    };
    for (name, mut receiver) in [("plain", plain), ("tls", tls)] {
        let expected = if upstreams.contains(&name) { sent } else { 0 };
        let mut items = Items::default();
        while items.total() < expected {
            receiver.wait_until("all items", |line| items.add_line(line).then_some(()));
        }
        let items = Items::of(&receiver.stop());
        assert_eq!(items.total(), expected, "{file}: {name}");
        assert!(items.identities.iter().all(|name| name == "team-a"), "{file}: {items:?}");
    }
    collector.program.stop();
}

/// Sends this host's telemetry with our exporter and the key, and returns the number of items.
fn export(port: u16) -> usize {
    let config = format!(
        "extensions:\n  bearertokenauth: {{scheme: StackState, token: \"${{env:API_KEY}}\"}}\n\
         exporters:\n  otlphttp: {{endpoint: \"http://127.0.0.1:{port}\", auth: {{authenticator: bearertokenauth}}}}\n\
         service:\n  extensions: [bearertokenauth]\n"
    );
    let config = TestFile::new("exporter.yaml", &config);
    let (code, lines) = start_exporter(&config.path(), &[], KEY).end();
    assert_eq!(code, Some(0), "{lines:#?}");
    Totals::of(&lines).sent
}

// Scenario: our exporter and a receiver run as in the README.
// Guarantee: every item arrives under the name of the key.
#[test]
fn our_exporter_runs_the_example_of_the_readme() {
    let configurations = configurations();
    let mut readme =
        configurations.iter().filter(|snippet| snippet.text.contains("127.0.0.1:14317"));
    let (readme, None) = (readme.next().expect("an example"), readme.next()) else {
        panic!("there are several examples with this port")
    };
    let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
    let (receiver, port) = start_receiver("receiver-axum", &tokens.path(), None);
    let text = readme.text.replace("127.0.0.1:14317", &format!("127.0.0.1:{port}"));
    let config = TestFile::new("collector.yaml", &text);
    let (code, lines) = start_exporter(&config.path(), &[], KEY).end();
    let totals = Totals::of(&lines);
    assert!(code == Some(0) && totals.sent > 0 && totals.failed == 0, "{lines:#?}");
    let items = Items::of(&receiver.stop());
    assert_eq!((items.total(), items.identities), (totals.sent, vec!["team-a".to_owned()]));
}

// Scenario: every `bearertokenauth` block in our Rust examples is put into the configuration of a
// Collector.
// Guarantee: the Collector finds the configuration valid.
#[test]
fn every_block_in_our_examples_is_valid() {
    let blocks = blocks();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    for Snippet { file, text } in blocks {
        let text = text.replace('\n', "\n    ");
        let config = format!(
            "extensions:\n  bearertokenauth:\n    {text}\n\
             receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\n\
             exporters:\n  otlphttp: {{endpoint: \"https://h\", auth: {{authenticator: bearertokenauth}}}}\n\
             service:\n  extensions: [bearertokenauth]\n  pipelines: {{traces: {{receivers: [otlp], exporters: [otlphttp]}}}}\n"
        );
        let config = TestFile::new("collector.yaml", &config);
        let mut command = peer("otelcol");
        command.arg("validate").arg("--config").arg(config.path()).env("API_KEY", KEY);
        let outcome = command.output().expect("a Collector");
        let told = String::from_utf8_lossy(&outcome.stderr);
        assert!(outcome.status.success(), "{}: {told}", file.display());
    }
}
