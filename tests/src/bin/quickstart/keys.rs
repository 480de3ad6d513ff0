//! Telemetry is sent to the gateway with a key of `sts`, until the key is deleted.

use std::time::Instant;

use otlp_auth_tests::{Discarded, Gateway, Home, PATIENCE, Totals};

use crate::output::{Files, Sent, configuration, export, print_file, print_totals, start, step};

const NAME: &str = "quickstart";

const EXPORTERS: [(&str, &str); 2] =
    [("OTLP/gRPC", "otlp/stackstate"), ("OTLP/HTTP", "otlphttp/stackstate")];

pub(crate) fn run() {
    let home = Home::new();
    let files = Files::new();

    step(
        "A gateway starts with its default settings on free ports: it creates a SQLite file and an admin \
         token below HOME",
    );
    print_file(&home.configuration());
    let gateway = Gateway::ready(start(&mut home.gateway(), "gateway"), &home);

    step("sts saves the URL of the gateway and the admin token that the gateway created");
    let url = gateway.url("management");
    sts(&home, &["context", "save", "--url", &url, "--api-token", &home.admin_token()]);

    step("sts creates a key and prints it once");
    let create = ["create", "--name", NAME, "--description", "the telemetry of this host"];
    let lines = sts(&home, &[&["ingestion-api-key"], &create[..]].concat());
    let key =
        lines.iter().find_map(|line| line.split_once("generated: ")).expect("a key").1.to_owned();

    step("The configuration of a Collector as documented, with the endpoints of this gateway");
    let source = "token: \"${env:API_KEY}\"";
    files.write(
        "collector.yaml",
        &configuration(source, gateway.address("otlp_grpc"), gateway.address("otlp_http")),
    );
    let config = files.path("collector.yaml");
    let (mut sent, mut batches) = (Vec::new(), 0);
    for (what, exporter) in EXPORTERS {
        step(&format!("Telemetry of this host is sent over {what}, with the key in API_KEY"));
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

    step("sts shows the use of the key: at least one request for each batch");
    let deadline = Instant::now() + PATIENCE;
    while accepted(&home) < batches {
        assert!(Instant::now() < deadline, "the gateway does not report the use of the key");
    }
    let lines = sts(&home, &["ingestion-api-key", "list", "--wide"]);
    let row = lines.iter().find(|line| line.contains(NAME)).expect("a row");
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let [id, NAME, "active", _, last_use, accepted, "0", "0", ..] = cells[..] else {
        panic!("unexpected row: {row}")
    };
    assert!(
        last_use != "never" && accepted.parse::<u64>().is_ok_and(|accepted| accepted >= batches),
        "unexpected row: {row}"
    );

    step("sts deletes the key, which is refused from then on");
    sts(&home, &["ingestion-api-key", "delete", "--id", id]);
    for (what, exporter) in [("deleted, gRPC", EXPORTERS[0].1), ("deleted, HTTP", EXPORTERS[1].1)] {
        let (code, lines) = export(&config, exporter, &key);
        let totals = Totals::of(&lines);
        assert!(
            code == Some(1) && totals.sent == 0 && totals.failed > 0,
            "a deleted key was accepted: {totals:?}"
        );
        sent.push(Sent { what, totals });
    }

    step("The items that were sent, and those that the gateway counted");
    let received = Discarded::of(&gateway.program.stop());
    let total = print_totals(&sent, received.items, &received.keys);
    assert_eq!(
        received.items, total,
        "the number of received items is not the number of sent ones"
    );
    assert_eq!(received.keys, [format!("\"{NAME}\"({id})")]);
}

/// Runs `sts`, which must succeed, prints the command, and returns its output.
fn sts(home: &Home, arguments: &[&str]) -> Vec<String> {
    let (code, lines) = start(home.sts_command().args(arguments), "sts").end();
    assert_eq!(code, Some(0), "sts failed");
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}

/// Returns the number of accepted requests of the only key. Requests that the gateway has not
/// written to its store yet are missing.
fn accepted(home: &Home) -> u64 {
    home.sts_key(&["list"])["ingestion-api-keys"][0]["accepted"].as_u64().expect("a count")
}
