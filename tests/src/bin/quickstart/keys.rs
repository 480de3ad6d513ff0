//! The main job: a key from `sts` lets telemetry in to the gateway, until it is deleted.

use std::time::Instant;

use otlp_auth_tests::{Discarded, Gateway, Home, PATIENCE, Totals};

use crate::shown::{Files, Sent, account, configuration, export, show, start, step};

const NAME: &str = "quickstart";

const EXPORTERS: [(&str, &str); 2] =
    [("OTLP/gRPC", "otlp/stackstate"), ("OTLP/HTTP", "otlphttp/stackstate")];

pub(crate) fn run() {
    let home = Home::new();
    let files = Files::new();

    step(
        "A gateway on its embedded default: a new SQLite file and a new admin token below HOME, and free ports",
    );
    show(&home.configuration());
    let gateway = Gateway::ready(start(&mut home.gateway(), "gateway"), &home);

    step("sts learns where it is, with the admin token that the gateway made");
    let url = gateway.url("management");
    sts(&home, &["context", "save", "--url", &url, "--api-token", &home.admin_token()]);

    step("A key: it is printed this once");
    let create = ["create", "--name", NAME, "--description", "the telemetry of this host"];
    let lines = sts(&home, &[&["ingestion-api-key"], &create[..]].concat());
    let key =
        lines.iter().find_map(|line| line.split_once("generated: ")).expect("a key").1.to_owned();

    step(
        "The Collector's configuration, as documented; only the endpoints are those of this gateway",
    );
    let source = "token: \"${env:API_KEY}\"";
    files.write(
        "collector.yaml",
        &configuration(source, gateway.address("otlp_grpc"), gateway.address("otlp_http")),
    );
    let config = files.path("collector.yaml");
    let (mut sent, mut batches) = (Vec::new(), 0);
    for (what, exporter) in EXPORTERS {
        step(&format!("This host's telemetry over {what}, with API_KEY in the environment"));
        let (code, lines) = export(&config, exporter, &key);
        let totals = Totals::of(&lines);
        assert!(
            code == Some(0) && totals.sent > 0 && totals.failed == 0,
            "the export failed: {totals:?}"
        );
        batches += lines
            .iter()
            .filter(|line| line.starts_with("sent ") && !line.ends_with("items=0"))
            .count() as u64;
        sent.push(Sent { what, totals });
    }

    step("The key's use: each batch is at least one request");
    let deadline = Instant::now() + PATIENCE;
    while accepted(&home) < batches {
        assert!(Instant::now() < deadline, "the gateway does not tell of the key's use");
    }
    let lines = sts(&home, &["ingestion-api-key", "list", "--wide"]);
    let row = lines.iter().find(|line| line.contains(NAME)).expect("a row");
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let [id, NAME, "active", _, last_use, accepted, "0", ..] = cells[..] else {
        panic!("not as expected: {row}")
    };
    assert!(
        last_use != "never" && accepted.parse::<u64>().is_ok_and(|accepted| accepted >= batches),
        "not as expected: {row}"
    );

    step("The key is deleted, and refused from then on");
    sts(&home, &["ingestion-api-key", "delete", "--id", id]);
    for (what, exporter) in [("deleted, gRPC", EXPORTERS[0].1), ("deleted, HTTP", EXPORTERS[1].1)] {
        let (code, lines) = export(&config, exporter, &key);
        let totals = Totals::of(&lines);
        assert!(
            code == Some(1) && totals.sent == 0 && totals.failed > 0,
            "a deleted key was let in: {totals:?}"
        );
        sent.push(Sent { what, totals });
    }

    step("Items sent, and counted by the gateway");
    let received = Discarded::of(&gateway.program.stop());
    let total = account(&sent, received.items, &received.keys);
    assert_eq!(received.items, total, "what was received is not what was sent");
    assert_eq!(received.keys, [format!("\"{NAME}\"({id})")]);
}

/// Runs `sts` and shows it; it has to succeed. Returns what it prints.
fn sts(home: &Home, arguments: &[&str]) -> Vec<String> {
    let (code, lines) = start(home.sts_command().args(arguments), "sts").end();
    assert_eq!(code, Some(0), "sts failed");
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}

/// How many requests the only key has let in, as far as the gateway has told its store.
fn accepted(home: &Home) -> u64 {
    home.sts_key(&["list"])["ingestion-api-keys"][0]["accepted"].as_u64().expect("a count")
}
