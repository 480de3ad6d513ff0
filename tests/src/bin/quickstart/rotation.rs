//! A receiver with the library in front, and tokens in files: a wrong one is refused, and they are
//! rotated under load.

use otlp_auth_tests::{Items, Totals, example};

use crate::shown::{Files, Sent, account, configuration, export, exporter, start, step};

const OLD: &str = "iapikeyok-Quick001-ForTeamA-OldKey00-0a1b2c";
const NEW: &str = "iapikeyok-Quick002-ForTeamA-NewKey00-3d4e5f";
const OTHER: &str = "iapikeyok-Quick003-ForTeamB-Another0-6a7b8c";
const WRONG: &str = "iapikeyok-Nobody00-HasThisK-ey000000-9d0e1f";

pub(crate) fn run() {
    let files = Files::new();

    step("A receiver, with two named tokens in a file");
    files.write("tokens", &format!("team-a={OLD}\nteam-b={OTHER}\n"));
    let mut command = example("receiver-axum");
    command.args(["--listen", "127.0.0.1:0", "--tokens"]).arg(files.path("tokens"));
    let mut receiver = start(&mut command, "receiver");
    let line = receiver.wait_for("listening on ");
    let address = line.rsplit(' ').next().expect("an address").to_owned();

    step(
        "The Collector's configuration, as documented; only the endpoints are those of this receiver",
    );
    files.write("collector.yaml", &configuration("token: \"${env:API_KEY}\"", &address, &address));
    let mut sent = Vec::new();
    for (what, exporter) in [("OTLP/gRPC", "otlp/stackstate"), ("OTLP/HTTP", "otlphttp/stackstate")]
    {
        step(&format!("This host's telemetry over {what}, with API_KEY in the environment"));
        let (code, lines) = export(&files.path("collector.yaml"), exporter, OLD);
        let totals = Totals::of(&lines);
        assert!(
            code == Some(0) && totals.sent > 0 && totals.failed == 0,
            "the export failed: {totals:?}"
        );
        sent.push(Sent { what, totals });
    }

    step("A wrong key is refused");
    let (code, lines) = export(&files.path("collector.yaml"), "otlp/stackstate", WRONG);
    let totals = Totals::of(&lines);
    assert!(
        code == Some(1) && totals.sent == 0 && totals.failed > 0,
        "a wrong key was let in: {totals:?}"
    );
    sent.push(Sent { what: "wrong key", totals });

    step("Rotation under load: the exporter takes its token from a file");
    files.write("token", &format!("{OLD}\n"));
    let source = format!("filename: {}", files.path("token").display());
    files.write("rotating.yaml", &configuration(&source, &address, &address));
    let mut command = exporter(&files.path("rotating.yaml"), "otlp/stackstate");
    command.args(["--rounds", "0", "--interval", "20ms"]);
    let mut exporter = start(&mut command, "exporter");
    exporter.wait_for("sent ");
    step("  1. the receiver gets the new token beside the old one");
    files.write("tokens", &format!("team-a={OLD}\nteam-a={NEW}\nteam-b={OTHER}\n"));
    receiver.wait_for("reloaded tokens");
    step("  2. the exporter's file gets the new token");
    files.write("token", &format!("{NEW}\n"));
    exporter.wait_for("reloaded token");
    step("  3. the receiver drops the old one");
    files.write("tokens", &format!("team-a={NEW}\nteam-b={OTHER}\n"));
    receiver.wait_for("reloaded tokens");
    // Ten rounds of three signals; some were sent during the steps above.
    for _ in 0..30 {
        exporter.wait_for("sent ");
    }
    let totals = Totals::of(&exporter.stop());
    assert!(totals.sent > 0 && totals.failed == 0, "the rotation cost telemetry: {totals:?}");
    sent.push(Sent { what: "rotation", totals });

    step("Items sent and received");
    let received = Items::of(&receiver.stop());
    let total = account(&sent, received.total(), &received.identities);
    assert_eq!(received.total(), total, "what was received is not what was sent");
    assert_eq!(received.identities, ["team-a"]);
}
