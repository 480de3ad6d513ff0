//! Telemetry is sent to a receiver that uses the library, with tokens in files. A wrong token is
//! refused, and tokens are rotated while telemetry is sent.

use otlp_auth_tests::{Items, Totals, example};

use crate::output::{Files, Sent, configuration, export, exporter, print_totals, start, step};

const OLD: &str = "iapikeyok-Quick001-ForTeamA-OldKey00-0a1b2c";
const NEW: &str = "iapikeyok-Quick002-ForTeamA-NewKey00-3d4e5f";
const OTHER: &str = "iapikeyok-Quick003-ForTeamB-Another0-6a7b8c";
const WRONG: &str = "iapikeyok-Nobody00-HasThisK-ey000000-9d0e1f";

pub(crate) fn run() {
    let files = Files::new();

    step("A receiver starts with two named tokens in a file");
    files.write("tokens", &format!("team-a={OLD}\nteam-b={OTHER}\n"));
    let mut command = example("receiver-axum");
    command.args(["--listen", "127.0.0.1:0", "--tokens"]).arg(files.path("tokens"));
    let mut receiver = start(&mut command, "receiver");
    let line = receiver.wait_for("listening on ");
    let address = line.rsplit(' ').next().expect("an address").to_owned();

    step("The configuration of a Collector as documented, with the endpoints of this receiver");
    files.write("collector.yaml", &configuration("token: \"${env:API_KEY}\"", &address, &address));
    let mut sent = Vec::new();
    for (what, exporter) in [("OTLP/gRPC", "otlp/stackstate"), ("OTLP/HTTP", "otlphttp/stackstate")]
    {
        step(&format!("Telemetry of this host is sent over {what}, with the key in API_KEY"));
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
        "a wrong key was accepted: {totals:?}"
    );
    sent.push(Sent { what: "wrong key", totals });

    step(
        "A token is rotated while the exporter, which reads its token from a file, sends telemetry",
    );
    files.write("token", &format!("{OLD}\n"));
    let source = format!("filename: {}", files.path("token").display());
    files.write("rotating.yaml", &configuration(&source, &address, &address));
    let mut command = exporter(&files.path("rotating.yaml"), "otlp/stackstate");
    command.args(["--rounds", "0", "--interval", "20ms"]);
    let mut exporter = start(&mut command, "exporter");
    exporter.wait_for("sent ");
    step("  1. the new token is added to the file of the receiver");
    files.write("tokens", &format!("team-a={OLD}\nteam-a={NEW}\nteam-b={OTHER}\n"));
    receiver.wait_for("reloaded tokens");
    step("  2. the new token replaces the old one in the file of the exporter");
    files.write("token", &format!("{NEW}\n"));
    exporter.wait_for("reloaded token");
    step("  3. the old token is removed from the file of the receiver");
    files.write("tokens", &format!("team-a={NEW}\nteam-b={OTHER}\n"));
    receiver.wait_for("reloaded tokens");
    // Wait for ten rounds of three signals. Some of them were sent during the steps above.
    for _ in 0..30 {
        exporter.wait_for("sent ");
    }
    let totals = Totals::of(&exporter.stop());
    assert!(totals.sent > 0 && totals.failed == 0, "the rotation lost telemetry: {totals:?}");
    sent.push(Sent { what: "rotation", totals });

    step("The items that were sent and received");
    let received = Items::of(&receiver.stop());
    let total = print_totals(&sent, received.total(), &received.identities);
    assert_eq!(
        received.total(),
        total,
        "the number of received items is not the number of sent ones"
    );
    assert_eq!(received.identities, ["team-a"]);
}
