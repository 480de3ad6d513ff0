//! Prometheus, from Debian's package, as the sender of remote write.

use otlp_auth_tests::{Gateway, Home, Program, peer};

use crate::{TestFile, WRONG_KEY};

/// Returns the configuration of a Prometheus that scrapes the gateway itself and writes what it
/// scrapes to the gateway: with a key as a password, with a key behind a scheme, and with a wrong
/// key. Debian's Prometheus does not send `sts-api-key`, because it ignores `headers`.
fn configuration(gateway: &Gateway, basic: &str, scheme: &str) -> String {
    let url = format!("{}/receiver/prometheus/api/v1/write", gateway.url("agent"));
    format!(
        "
global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}
scrape_configs:
- job_name: gateway
  static_configs: [{{targets: ['{}']}}]
remote_write:
- {{name: basic, url: '{url}', basic_auth: {{username: apikey, password: {basic}}}}}
- {{name: scheme, url: '{url}', authorization: {{type: StackState, credentials: {scheme}}}}}
- {{name: wrong, url: '{url}', basic_auth: {{username: apikey, password: {WRONG_KEY}}}}}
",
        gateway.address("telemetry")
    )
}

// Scenario: Prometheus writes to the gateway, with a key as the password of `apikey`, with another
// key behind a scheme, and with a wrong key.
// Guarantee: what is written with each of the two keys is accepted and counted for this key. What
// is written with the wrong key is refused, and Prometheus does not repeat it.
#[test]
fn remote_write_reaches_the_gateway() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home);
    home.save_context(&gateway);
    let keys = ["basic", "scheme"].map(|name| home.create_key(name));
    let text = configuration(&gateway, &keys[0].secret, &keys[1].secret);
    let file = TestFile::new("prometheus.yaml", &text);
    let mut command = peer("prometheus");
    command.arg("--config.file").arg(file.path());
    command.args(["--enable-feature", "agent", "--web.listen-address", "127.0.0.1:0"]);
    command.arg("--storage.agent.path").arg(home.path().join("prometheus"));
    let mut prometheus = Program::start(&mut command);
    let refused = prometheus.wait_for("non-recoverable error");
    assert!(refused.contains("remote_name=wrong") && refused.contains("403"), "{refused}");
    let mut waiting: Vec<_> = keys.iter().map(|key| format!("({})=", key.id)).collect();
    gateway.program.wait_until("a line with both keys", |line| {
        let discards = line.starts_with("discarded data_points=");
        waiting.retain(|key| !(discards && line.contains(key)));
        waiting.is_empty().then_some(())
    });
    let log = prometheus.stop();
    let failed =
        log.iter().find(|line| line.contains("error") && !line.contains("remote_name=wrong"));
    assert_eq!(failed, None);
    let lines = gateway.program.stop();
    assert!(
        !lines.iter().chain(&log).any(|line| keys.iter().any(|key| line.contains(&key.secret)))
    );
}
