//! TLS between our exporter, `sts` and the gateway.

use std::process::Command;

use otlp_auth_tests::{Certificate, Discarded, Gateway, Home, Key, Program, Totals};

use crate::TestFile;
use crate::exporter::{start_exporter, tls_config};

/// Adds the option that gives a listener this certificate and further settings of `tls`.
pub(crate) fn add_tls(
    command: &mut Command,
    listener: &str,
    certificate: &Certificate,
    further: &str,
) {
    let (cert, key) = (certificate.cert(), certificate.key());
    let (cert, key) = (cert.display(), key.display());
    command.arg(format!("--set={listener}.tls={{cert_file: {cert}, key_file: {key}{further}}}"));
}

/// Waits until the gateway has counted this many items.
pub(crate) fn wait_for_items(gateway: &mut Gateway, sent: usize) {
    let mut discarded = Discarded::default();
    gateway.program.wait_until("all items", |line| {
        discarded.add_line(line);
        (discarded.items >= sent).then_some(())
    });
}

/// Stops the gateway, and checks that it has counted this many items, all of them with the key.
pub(crate) fn assert_counted(gateway: Gateway, key: &Key, name: &str, sent: usize) {
    let discarded = Discarded::of(&gateway.program.stop());
    assert_eq!(discarded.items, sent);
    assert_eq!(discarded.keys, [format!("\"{name}\"({})", key.id)]);
}

// Scenario: the management API and both OTLP listeners have TLS. `sts` saves a context and creates
// a key, and our exporter uses the key over both transports. Then `sts` does not know the
// certificate.
// Guarantee: `sts` works with the certificate, and the gateway counts each item. Without the
// certificate, `sts` sends nothing, and says why.
#[test]
fn sts_and_our_exporter_use_tls() {
    let (home, certificate) = (Home::new(), Certificate::authority());
    let mut command = home.gateway();
    for listener in ["management", "receivers.otlp.protocols.grpc", "receivers.otlp.protocols.http"]
    {
        add_tls(&mut command, listener, &certificate, "");
    }
    let gateway = Gateway::ready(Program::start(&mut command), &home);
    let url = format!("https://{}", gateway.address("management"));
    let (token, ca_cert) = (home.admin_token(), certificate.cert());
    let save = ["context", "save", "--url", &url, "--api-token", &token];
    let refused = home.sts(&save);
    assert!(refused.code == Some(4) && refused.stderr.contains("self-signed"), "{refused:?}");
    let trusting = ["--ca-cert", ca_cert.to_str().expect("text")];
    let saved = home.sts(&[&save[..], &trusting].concat());
    assert_eq!(saved.code, Some(0), "{saved:?}");
    let key = home.create_key("exporter");

    let mut sent = 0;
    for (exporter, listener) in
        [("otlp: {endpoint: \"", "otlp_grpc"), ("otlphttp: {endpoint: \"https://", "otlp_http")]
    {
        let exporter = format!("{exporter}{}\"", gateway.address(listener));
        let config: TestFile = tls_config(&exporter, &certificate, "localhost");
        let (code, lines) = start_exporter(&config.path(), &[], &key.secret).end();
        assert_eq!(code, Some(0), "{lines:#?}");
        sent += Totals::of(&lines).sent;
    }
    assert!(sent > 0);
    assert_counted(gateway, &key, "exporter", sent);
}
