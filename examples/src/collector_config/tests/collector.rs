use std::fs;

use otlp_auth::Scheme;

use super::super::{CollectorConfig, Protocol, SelectExporterError};
use super::{collector, env};

/// The snippet in the documentation for StackState. The endpoint is filled in, and the parts that
/// the snippet leaves out are removed.
const DOCUMENTED: &str = r#"
  extensions:
    bearertokenauth:
      scheme: StackState
      token: "${env:API_KEY}"


  exporters:
    otlp/stackstate:
      auth:
        authenticator: bearertokenauth
      endpoint: otlp-stackstate.example.com:443
"#;

/// A complete file as an operator would run it, with all parts that only a Collector reads.
const FULL: &str = r#"
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "${env:MY_POD_IP}:4317"}
  hostmetrics: {scrapers: {cpu: }}
processors:
  memory_limiter: {check_interval: 5s, limit_percentage: 80}
  batch:
connectors:
  spanmetrics:
extensions:
  health_check: {endpoint: "${env:MY_POD_IP}:13133"}
  bearertokenauth:
    scheme: StackState
    token: "${env:API_KEY}"
  bearertokenauth/other:
    token: ${env:UNSET}
  file_storage: {directory: /var/lib/otelcol}
exporters:
  debug: {}
  nop:
  otlp/stackstate:
    auth: {authenticator: bearertokenauth}
    endpoint: https://otlp-stackstate.example.com:443
    compression: snappy
    sending_queue: {enabled: true, storage: file_storage}
  otlphttp/stackstate:
    auth: {authenticator: bearertokenauth}
    endpoint: https://otlp-http-stackstate.example.com
  prometheusremotewrite: {endpoint: "http://${env:HOST_IP}/"}
service:
  extensions: [health_check, bearertokenauth]
  telemetry: {logs: {level: debug}}
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp/stackstate, debug]}
"#;

fn problems(text: &str) -> String {
    collector(text).unwrap_err().to_string()
}

fn warnings(config: &CollectorConfig) -> String {
    config.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Scenario: the documented snippet is read.
/// Guarantee: the snippet is valid, with one warning about a part that it leaves out.
#[test]
fn documented() {
    let config = collector(DOCUMENTED).unwrap();
    let exporter = config.exporter(None).unwrap();
    assert_eq!((exporter.id(), exporter.protocol()), ("otlp/stackstate", Protocol::Grpc));
    assert_eq!(exporter.endpoint().unwrap(), "https://otlp-stackstate.example.com:443/");
    assert_eq!(exporter.auth().unwrap().scheme(), Some(&Scheme::STACKSTATE));
    let expected = "exporters.otlp/stackstate.auth.authenticator: the file has no `service`: a Collector would need the extension in \
                    `service.extensions` (line 11)";
    assert_eq!(warnings(&config), expected);
}

/// Scenario: the snippet is read exactly as the documentation prints it, with `...` and a
/// placeholder.
/// Guarantee: the `...` and the placeholder are both reported. Each message says what to do.
#[test]
fn documented_verbatim() {
    let verbatim = DOCUMENTED
        .replace("\n\n\n", "\n  \n  ...\n  \n")
        .replace("otlp-stackstate.example.com", "<otlp-stackstate-endpoint>");
    assert!(
        problems(&verbatim).starts_with("a line holds nothing but `...`"),
        "{}",
        problems(&verbatim)
    );
    let problems = problems(&verbatim.replace("...", ""));
    let expected = "exporters.otlp/stackstate.endpoint: replace what stands in angle brackets by the host of your backend (line 13)";
    assert_eq!(problems, expected);
}

/// Scenario: the file of a complete Collector is read. The sections that this program ignores refer
/// to variables that are not set.
/// Guarantee: the file is valid.
#[test]
fn full() {
    let config = collector(FULL).unwrap();
    let ids: Vec<_> = config.exporters().iter().map(|exporter| exporter.id()).collect();
    assert_eq!(ids, ["otlp/stackstate", "otlphttp/stackstate"]);
    let expected = "exporters.otlp/stackstate.sending_queue: has no effect here (line 27)";
    assert_eq!(warnings(&config), expected);
    assert!(config.exporters().iter().all(|exporter| exporter.auth().is_some()));
}

/// Scenario: the same file is read from disk. Then paths are read that are not files.
/// Guarantee: the file is read. For the other paths the error contains the path.
#[test]
fn from_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("collector.yaml");
    fs::write(&path, FULL).unwrap();
    assert_eq!(CollectorConfig::from_file(&path, &env).unwrap().exporters().len(), 2);
    let missing = directory.path().join("missing.yaml");
    let error = CollectorConfig::from_file(&missing, &env).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot read `{}`: No such file", missing.display())),
        "{error}"
    );
    assert!(
        CollectorConfig::from_file(directory.path(), &env)
            .unwrap_err()
            .to_string()
            .contains("it is not a regular file")
    );
}

/// Scenario: exporters are selected by name and without a name.
/// Guarantee: the right exporter is returned, or an error with the names that exist.
#[test]
fn select() {
    let config = collector(FULL).unwrap();
    assert_eq!(config.exporter(Some("otlphttp/stackstate")).unwrap().protocol(), Protocol::Http);
    let ids = vec!["otlp/stackstate".to_owned(), "otlphttp/stackstate".to_owned()];
    assert_eq!(
        config.exporter(None).unwrap_err(),
        SelectExporterError::Ambiguous { ids: ids.clone() }
    );
    assert_eq!(config.exporter(Some("otlp")).unwrap_err(), SelectExporterError::Unknown { ids });
    assert_eq!(collector("").unwrap().exporter(None).unwrap_err(), SelectExporterError::NoExporter);
    assert_eq!(
        config.exporter(None).unwrap_err().to_string(),
        "the configuration has several OTLP exporters, name one of otlp/stackstate, otlphttp/stackstate"
    );
}

/// Scenario: an exporter names an authenticator that does not exist, has another type, is not
/// started, or is invalid.
/// Guarantee: the problem lists the authenticators that exist.
#[test]
fn authenticators() {
    let file = |extensions: &str, auth: &str, rest: &str| {
        format!(
            "extensions: {extensions}\nexporters: {{otlp: {{endpoint: 'a:1', auth: {auth}}}}}\n{rest}"
        )
    };
    let good = "{bearertokenauth: {token: x}, basicauth: {}}";
    let authenticator = "exporters.otlp.auth.authenticator";
    for (text, expected) in [
        (
            file(good, "{authenticator: bearertokenauth/x}", ""),
            format!("{authenticator}: is not a `bearertokenauth` extension of this file; defined are: bearertokenauth (line 2)"),
        ),
        (
            file(good, "{authenticator: basicauth}", ""),
            format!("{authenticator}: is not a `bearertokenauth` extension of this file; defined are: bearertokenauth (line 2)"),
        ),
        (
            file("", "{authenticator: bearertokenauth}", ""),
            format!("{authenticator}: is not a `bearertokenauth` extension of this file; none is defined (line 2)"),
        ),
        (
            file(good, "{authenticator: bearertokenauth}", "service: {extensions: [basicauth]}"),
            format!("{authenticator}: the extension is defined but not started: add it to `service.extensions` (line 2)"),
        ),
        (
            file(good, "{authenticator: bearertokenauth}", "service: {pipelines: {}}"),
            format!("{authenticator}: the extension is defined but not started: add it to `service.extensions` (line 2)"),
        ),
        (
            file(good, "{authenticator: 7}", ""),
            format!("{authenticator}: expected a string, found an integer: put it in quotes (line 2)"),
        ),
        (file(good, "{}", ""), format!("{authenticator}: is required (line 2)")),
        (file(good, "bearertokenauth", ""), "exporters.otlp.auth: expected a map, found a string (line 2)".to_owned()),
        (
            file("{bearertokenauth: {token: ''}}", "{authenticator: bearertokenauth}", "service: {extensions: [bearertokenauth]}"),
            "extensions.bearertokenauth.token: is empty: set what it is taken from, as in token: \"${env:API_KEY}\" (line 1)"
                .to_owned(),
        ),
    ] {
        assert_eq!(problems(&text), expected, "{text}");
    }
}

/// Scenario: an extension is unused, is only started by the service, or does not exist.
/// Guarantee: only used or started extensions must be valid.
#[test]
fn extensions() {
    let broken = "extensions: {bearertokenauth: {token: '${env:UNSET}', odd: 1}}\n";
    assert!(collector(broken).is_ok());
    let started = problems(&format!("{broken}service: {{extensions: [bearertokenauth]}}"));
    let expected = "extensions.bearertokenauth.token: the environment variable `UNSET` is not set; ${env:NAME:-default} would give it \
                    a default (line 1)\n\
                    extensions.bearertokenauth.odd: unknown key; known are header, scheme, token, tokens, filename (line 1)";
    assert_eq!(started, expected);
    assert_eq!(
        problems("service: {extensions: [health_check, bearertokenauth/x]}"),
        "service.extensions[1]: is not defined in `extensions`; none is defined (line 1)"
    );
    assert!(
        problems("extensions: {bearertokenauth: }\nservice: {extensions: [bearertokenauth]}")
            .contains("there is no token")
    );
}

/// Scenario: a section that is read has a wrong type, and another section is unknown.
/// Guarantee: the wrong type is a problem, and the unknown section is a warning.
#[test]
fn sections() {
    for (text, expected) in [
        ("[]", "expected a map, found a list (line 1)"),
        ("exporters: []", "exporters: expected a map, found a list (line 1)"),
        ("extensions: x", "extensions: expected a map, found a string (line 1)"),
        ("service: x", "service: expected a map, found a string (line 1)"),
        (
            "service: {extensions: x}",
            "service.extensions: expected a list, found a string (line 1)",
        ),
        (
            "service: {extensions: [1]}",
            "service.extensions[0]: expected a string, found an integer: put it in quotes (line 1)",
        ),
        ("exporters: {otlp: }", "exporters.otlp: has no settings: give an `endpoint` (line 1)"),
        ("exporters: {otlp: x}", "exporters.otlp: expected a map, found a string (line 1)"),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
    let config = collector(
        "receivers: 1\nprocessors: 2\nconnectors: 3\nexporters: {debug: 4}\nexporter: {}",
    )
    .unwrap();
    assert_eq!(warnings(&config), "exporter: unknown key: it has no effect (line 5)");
}

/// Scenario: the extension and both exporters of a file have several mistakes each.
/// Guarantee: all mistakes are reported at once.
#[test]
fn all_problems() {
    let text = "extensions: {bearertokenauth: {scheme: a b}}\n\
                service: {extensions: [bearertokenauth]}\n\
                exporters:\n\
                \x20 otlp: {endpoint: 1, timeout: 5, tls: {insecure: 'yes'}, auth: {authenticator: bearertokenauth}}\n\
                \x20 otlphttp: {endpoint: localhost, compression: brotli, headers: {host: a}, retry_on_failure: {multiplier: 0}}";
    let problems = problems(text);
    let paths: Vec<_> = problems.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "extensions.bearertokenauth.scheme",
            "extensions.bearertokenauth",
            "exporters.otlp.tls.insecure",
            "exporters.otlp.endpoint",
            "exporters.otlp.timeout",
            "exporters.otlphttp.endpoint",
            "exporters.otlphttp.compression",
            "exporters.otlphttp.headers.host",
            "exporters.otlphttp.retry_on_failure.multiplier",
        ]
    );
}

/// Scenario: environment variables make all tokens of the authenticator empty.
/// Guarantee: the file is refused, because the exporter would send requests without a credential.
#[test]
fn empty_credential() {
    let file = "extensions: {bearertokenauth: {tokens: '${env:EMPTY}'}}\n\
                exporters: {otlp: {endpoint: 'a:1', auth: {authenticator: bearertokenauth}}}";
    assert!(CollectorConfig::from_yaml(file, &|_| Some(String::new())).is_err());
}
