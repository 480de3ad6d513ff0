use std::path::Path;
use std::time::Duration;

use super::super::{Compression, Pem, RetryConfig, Signal};
use super::{collector, exporter};

/// Returns the first problem of an exporter with these settings.
fn problem(id: &str, settings: &str) -> String {
    let problems = exporter(id, settings).unwrap_err();
    assert_eq!(problems.lines().count(), 1, "{settings}: {problems}");
    problems.strip_prefix(&format!("exporters.{id}.")).unwrap_or(&problems).to_owned()
}

/// Returns the only warning about an exporter with these settings.
fn warning(id: &str, settings: &str) -> String {
    let (_, warnings) = exporter(id, settings).unwrap();
    assert_eq!(warnings.lines().count(), 1, "{settings}: {warnings}");
    warnings
}

/// Scenario: an exporter has an endpoint and nothing else.
/// Guarantee: it has the Collector's defaults.
#[test]
fn defaults() {
    let (grpc, warnings) = exporter("otlp", "endpoint: a:4317").unwrap();
    assert_eq!(warnings, "");
    assert_eq!(grpc.timeout(), Some(Duration::from_secs(5)));
    assert_eq!(grpc.compression(), Compression::Gzip);
    assert!(grpc.headers().is_empty() && grpc.auth().is_none() && !grpc.tls().is_insecure());
    assert!(
        grpc.tls().ca().is_none()
            && grpc.tls().identity().is_none()
            && grpc.tls().server_name().is_none()
    );
    assert_eq!(grpc.retry(), &RetryConfig::default());
    assert_eq!(grpc.retry().max_elapsed_time, Some(Duration::from_secs(300)));
    let (http, _) = exporter("otlp_http", "endpoint: http://a").unwrap();
    assert_eq!(http.timeout(), Some(Duration::from_secs(30)));
}

/// Scenario: the endpoint of an OTLP/gRPC exporter is given in every supported form.
/// Guarantee: each endpoint becomes an absolute URI, whose scheme says whether the connection is
/// plaintext.
#[test]
fn grpc_endpoints() {
    for (endpoint, insecure, expected) in [
        ("a.example:4317", false, "https://a.example:4317/"),
        ("a.example:4317", true, "http://a.example:4317/"),
        ("dns:///a.example:4317", false, "https://a.example:4317/"),
        ("dns:///a.example:4317", true, "http://a.example:4317/"),
        ("http://a.example:4317", false, "http://a.example:4317/"),
        ("https://a.example:4317", true, "https://a.example:4317/"),
        ("https://a.example:443/", false, "https://a.example:443/"),
        ("127.0.0.1:4317", true, "http://127.0.0.1:4317/"),
        ("'[::1]:4317'", true, "http://[::1]:4317/"),
        (":4317", true, "http://localhost:4317/"),
        ("https://:4317", false, "https://localhost:4317/"),
        ("${env:HOST:-a.example}:4317", false, "https://a.example:4317/"),
    ] {
        for id in ["otlp", "otlp/x", "otlp_grpc"] {
            let (exporter, _) =
                exporter(id, &format!("endpoint: {endpoint}\ntls: {{insecure: {insecure}}}"))
                    .unwrap();
            assert_eq!(exporter.endpoint().unwrap(), expected, "{endpoint}");
            assert_eq!(exporter.signal_endpoint(Signal::Logs).unwrap(), expected);
        }
    }
    for endpoint in [
        "a.example",
        "https://a.example",
        "':'",
        ":x",
        "a.example:0",
        "a.example:70000",
        "a.example:x",
        "'a.example:'",
        "unix:///run/x.sock",
        "a.example:4317/path",
        "'a b:1'",
        "'user:pw@a.example:1'",
        "''",
        "dns://8.8.8.8/a:1",
        "ftp://a:1",
        "'[::1:4317'",
        "7",
    ] {
        assert!(
            problem("otlp", &format!("endpoint: {endpoint}")).starts_with("endpoint: "),
            "{endpoint}"
        );
    }
    assert_eq!(problem("otlp", "timeout: 5s"), "endpoint: is required (line 3)");
}

/// Scenario: an OTLP/HTTP exporter has a common endpoint, endpoints of signals, or both.
/// Guarantee: the URL of a signal is the endpoint of this signal, or else the common endpoint with
/// the path of the signal.
#[test]
fn http_endpoints() {
    for (settings, traces, logs) in [
        (
            "endpoint: https://a.example",
            Some("https://a.example/v1/traces"),
            Some("https://a.example/v1/logs"),
        ),
        (
            "endpoint: http://a.example:4318/",
            Some("http://a.example:4318/v1/traces"),
            Some("http://a.example:4318/v1/logs"),
        ),
        (
            "endpoint: http://a/otlp/",
            Some("http://a/otlp/v1/traces"),
            Some("http://a/otlp/v1/logs"),
        ),
        (
            "endpoint: http://a\nlogs_endpoint: http://b/l?x=y",
            Some("http://a/v1/traces"),
            Some("http://b/l?x=y"),
        ),
        ("traces_endpoint: https://b/t", Some("https://b/t"), None),
    ] {
        let (exporter, _) = exporter("otlphttp", settings).unwrap();
        let endpoint = |signal| exporter.signal_endpoint(signal).map(|uri| uri.to_string());
        assert_eq!(endpoint(Signal::Traces).as_deref(), traces, "{settings}");
        assert_eq!(endpoint(Signal::Logs).as_deref(), logs, "{settings}");
    }
    for endpoint in [
        "a.example:4318",
        "https://",
        "ftp://a",
        "http://a?x=y",
        "http://a:x",
        "http://a:0/",
        "http://u:p@a/",
        "'http://a b'",
        "''",
        "[a]",
    ] {
        assert!(
            problem("otlphttp", &format!("endpoint: {endpoint}")).starts_with("endpoint: "),
            "{endpoint}"
        );
    }
    assert!(problem("otlphttp", "metrics_endpoint: a").starts_with("metrics_endpoint: "));
    assert_eq!(problem("otlp_http", "timeout: 5s"), "endpoint: is required (line 3)");
}

/// Scenario: the endpoint of a signal has a key in its query.
/// Guarantee: requests contain the key. The `Debug` output of the exporter and of the file hides
/// the key.
#[test]
fn debug_hides_queries() {
    let settings = "traces_endpoint: https://h/v1/traces?api_key=canary";
    let (exporter, _) = exporter("otlphttp", settings).unwrap();
    assert_eq!(exporter.signal_endpoint(Signal::Traces).unwrap().query(), Some("api_key=canary"));
    let told = format!(
        "{exporter:?} {exporter:#?} {:?}",
        collector(&format!("exporters: {{otlphttp: {{{settings}}}}}")).unwrap()
    );
    assert!(!told.contains("canary"), "{told}");
    assert!(told.contains("https://h/v1/traces?.."), "{told}");
}

/// Scenario: an exporter has `tls` blocks with every setting.
/// Guarantee: each setting is read, is refused, or causes a warning because it has no effect.
#[test]
fn tls() {
    let tls = |settings: &str| {
        exporter("otlp", &format!("endpoint: a:1\ntls: {settings}")).unwrap().0.tls().clone()
    };
    let config = tls(
        "{ca_file: /ca.pem, cert_file: /c.pem, key_pem: canary, server_name_override: b, insecure_skip_verify: false}",
    );
    assert!(matches!(config.ca(), Some(Pem::File(path)) if path == Path::new("/ca.pem")));
    let identity = config.identity().unwrap();
    assert!(matches!((identity.cert(), identity.key()), (Pem::File(_), Pem::Text(_))));
    assert_eq!(config.server_name(), Some("b"));
    assert!(!format!("{config:?}").contains("canary"));
    assert!(tls("{ca_file: '', ca_pem: x}").ca().is_some());
    assert!(!config.system_roots() && tls("{}").system_roots());
    assert!(tls("{ca_file: /ca.pem, include_system_ca_certs_pool: true}").system_roots());
    assert!(tls("{insecure: true, insecure_skip_verify: true}").is_insecure());
    let unused = "{min_version: '1.2', cipher_suites: [], curve_preferences: [], tpm: {enabled: false}, max_version: ''}";
    assert!(!tls(unused).is_insecure());

    for (settings, expected) in [
        ("7", "tls: expected a map, found an integer"),
        ("{insecure: 1}", "tls.insecure: expected true or false, found an integer"),
        ("{insecure_skip_verify: true}", "tls.insecure_skip_verify: not supported"),
        (
            "{insecure: false, insecure_skip_verify: true}",
            "tls.insecure_skip_verify: not supported",
        ),
        ("{min_version: '1.3'}", "tls.min_version: not supported: TLS 1.2 would be accepted"),
        ("{min_version: '2'}", "tls.min_version: expected one of"),
        ("{cipher_suites: [A]}", "tls.cipher_suites: not supported"),
        ("{curve_preferences: [X25519]}", "tls.curve_preferences: not supported"),
        ("{tpm: {enabled: true}}", "tls.tpm.enabled: not supported"),
        (
            "{insecure_skip_verify: x}",
            "tls.insecure_skip_verify: expected true or false, found a string",
        ),
        ("{ca_file: a, ca_pem: b}", "tls: both `ca_file` and `ca_pem` are given: keep one"),
        ("{cert_file: a}", "tls: a client certificate needs both"),
        ("{key_pem: a}", "tls: a client certificate needs both"),
        ("{insecure: true, ca_file: a}", "tls: `insecure` and certificates contradict each other"),
        ("{ca_file: [a]}", "tls.ca_file: expected a string, found a list"),
        (
            "{server_name_override: 1}",
            "tls.server_name_override: expected a string, found an integer",
        ),
    ] {
        let problem = problem("otlp", &format!("endpoint: a:1\ntls: {settings}"));
        assert!(problem.starts_with(expected), "{settings}: {problem}");
    }
    assert_eq!(
        warning("otlp", "endpoint: a:1\ntls: {reload_interval: 1h}"),
        "exporters.otlp.tls.reload_interval: has no effect here (line 4)"
    );
    assert_eq!(
        warning("otlp", "endpoint: a:1\ntls: {insecur: 1}"),
        "exporters.otlp.tls.insecur: unknown key: it has no effect (line 4)"
    );
}

/// Scenario: an exporter has each compression on each protocol.
/// Guarantee: the compressions of a Collector are read. A compression that the protocol does not
/// have is a problem, and no other compression is used instead.
#[test]
fn compression() {
    let settings = |name: &str| format!("endpoint: http://a:1\ncompression: {name}");
    let both = [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("snappy", Compression::Snappy),
        ("none", Compression::None),
        ("''", Compression::None),
        ("", Compression::Gzip),
    ];
    let http = [
        ("x-snappy-framed", Compression::SnappyFramed),
        ("zlib", Compression::Zlib),
        ("deflate", Compression::Deflate),
        ("lz4", Compression::Lz4),
    ];
    for (id, (name, expected)) in both
        .iter()
        .map(|case| ("otlp", case))
        .chain(both.iter().chain(&http).map(|case| ("otlphttp", case)))
    {
        let (exporter, warnings) = exporter(id, &settings(name)).unwrap();
        assert_eq!((exporter.compression(), warnings.as_str()), (*expected, ""), "{id} {name}");
    }
    for (name, _) in http {
        assert_eq!(
            problem("otlp", &settings(name)),
            "compression: is for OTLP/HTTP only: expected one of gzip, zstd, snappy, none (line 4)"
        );
    }
    for unknown in ["GZIP", "brotli"] {
        assert_eq!(
            problem("otlp", &settings(unknown)),
            "compression: expected one of gzip, zstd, snappy, none (line 4)"
        );
        assert_eq!(
            problem("otlphttp", &settings(unknown)),
            "compression: expected one of gzip, zstd, snappy, x-snappy-framed, zlib, deflate, lz4, none (line 4)"
        );
    }
}

/// Scenario: `headers` is given as a map and as a list.
/// Guarantee: the values are marked as sensitive, and illegal names and values are refused.
#[test]
fn headers() {
    for headers in [
        "{X-Tenant: a, x-key: 'canary'}",
        "[{name: X-Tenant, value: a}, {name: x-key, value: canary}]",
    ] {
        let (exporter, _) =
            exporter("otlp", &format!("endpoint: a:1\nheaders: {headers}")).unwrap();
        assert_eq!(exporter.headers().len(), 2);
        assert_eq!(exporter.headers()["x-tenant"], "a");
        assert!(exporter.headers().values().all(|value| value.is_sensitive()));
        assert!(!format!("{exporter:?}").contains("canary"));
    }
    for (headers, expected) in [
        ("x", "headers: expected a map, found a string"),
        ("{a b: c}", "headers.a b: expected the name of an HTTP header"),
        ("{':path': c}", "headers.:path: expected the name of an HTTP header"),
        ("{content-type: c}", "headers.content-type: this header belongs to the protocol"),
        ("{Grpc-Timeout: c}", "headers.Grpc-Timeout: this header belongs to the protocol"),
        ("{a: 1}", "headers.a: expected a string, found an integer: put it in quotes"),
        ("{a: }", "headers.a: expected a string, found nothing"),
        ("{sts-api-key: ''}", "headers.sts-api-key: is empty: requests would go out without"),
        ("{a: \"b\\nc\"}", "headers.a: the value has a character that no header may have"),
        ("{a: b, A: c}", "headers.A: the header is set twice"),
        ("[a]", "headers[0]: expected a map, found a string"),
        ("[{name: a}]", "headers[0].value: is required"),
        ("[{value: a}]", "headers[0].name: is required"),
        ("[{name: host, value: a}]", "headers[0].name: this header belongs to the protocol"),
    ] {
        let problem = problem("otlp", &format!("endpoint: a:1\nheaders: {headers}"));
        assert!(problem.starts_with(expected), "{headers}: {problem}");
    }
}

/// Scenario: `headers` has headers whose name or whose value shows that they hold a credential, and
/// other headers. The value of one ends in a line end.
/// Guarantee: the credentials are recognised, and the line end is left out.
#[test]
fn credentials_in_headers() {
    let exporter =
        |headers: &str| exporter("otlp", &format!("endpoint: a:1\nheaders: {headers}")).unwrap().0;
    for name in [
        "Authorization",
        "sts-api-key",
        "x-api-key",
        "api-key",
        "apikey",
        "x-license-key",
        "lightstep-access-token",
        "uptrace-dsn",
        "x-honeycomb-team",
        "cookie",
        "x-auth",
    ] {
        let exporter = exporter(&format!("{{x-tenant: a, {name}: b}}"));
        let found = exporter.credential_header().unwrap_or_else(|| panic!("{name}"));
        assert!(found.as_str().eq_ignore_ascii_case(name), "{name}: {found}");
    }
    assert_eq!(exporter("{x-other: StackState a}").credential_header().unwrap(), "x-other");
    for headers in ["{}", "{x-scope-orgid: a, tenant: b}", "{x-monkey: Bearer}", "{x-author: a b}"]
    {
        assert_eq!(exporter(headers).credential_header(), None, "{headers}");
    }
    assert_eq!(exporter("{x-api-key: \"a\\n\"}").headers()["x-api-key"], "a");
}

/// Scenario: `auth` names an authenticator, and `headers` sets the same header.
/// Guarantee: a warning says that the authenticator replaces the header.
#[test]
fn auth_replaces_a_header() {
    let config = collector(
        "extensions: {bearertokenauth: {token: a}}\nexporters: {otlp: {endpoint: a:1, headers: {authorization: b}, auth: {authenticator: bearertokenauth}}}\nservice: {extensions: [bearertokenauth]}",
    )
    .unwrap();
    let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("the authenticator replaces the header `authorization`"));
}

/// Scenario: an exporter has settings about authentication and TLS that old Collectors read, or
/// that no Collector reads, and settings that send the data somewhere else. Or its `auth` is empty.
/// Guarantee: each of them is a problem, because data would go out without its credential, without
/// its protection, or to somebody else.
#[test]
fn what_decides_about_credentials_and_receivers_is_a_problem() {
    for (id, setting, expected) in [
        ("otlp", "per_rpc_auth: {type: bearer, bearer_token: a}", "per_rpc_auth: is not read, so"),
        ("otlp", "bearer_token: a", "bearer_token: is not read, so that requests would go out"),
        ("otlp", "basic_auth: {username: a, password: b}", "basic_auth: is not read"),
        ("otlphttp", "api_key: a", "api_key: is not read"),
        ("otlphttp", "token: a", "token: is not read"),
        ("otlphttp", "authentication: a", "authentication: is not read"),
        ("otlp", "auth:", "auth: is empty, so that requests would go out without a credential"),
        ("otlp", "auth: {}", "auth.authenticator: is required"),
        ("otlp", "insecure: true", "insecure: is not read here: it belongs into `tls`"),
        ("otlp", "ca_file: a", "ca_file: is not read here: it belongs into `tls`"),
        ("otlp", "tls_settings: {insecure: true}", "tls_settings: is not read here"),
        ("otlp", "authority: a", "authority: not supported: the requests would name another"),
        ("otlphttp", "proxy_url: http://a", "proxy_url: not supported: the requests would not go"),
        ("otlphttp", "middlewares: [{id: a}]", "middlewares: not supported"),
    ] {
        let problem = problem(id, &format!("endpoint: http://a:1\n{setting}"));
        assert!(problem.starts_with(expected), "{setting}: {problem}");
    }
    for empty in ["proxy_url: ''", "middlewares: []", "authority: ''"] {
        let (_, warnings) =
            exporter("otlphttp", &format!("endpoint: http://a:1\n{empty}")).unwrap();
        assert_eq!(warnings, "", "{empty}");
    }
}

/// Scenario: timeouts are given in every form of Go's durations, without a unit, and as 0.
/// Guarantee: a duration with a unit is read, and 0 means that there is no limit. A duration
/// without a unit is a problem.
#[test]
fn timeout() {
    let timeout = |text: &str| {
        exporter("otlp", &format!("endpoint: a:1\ntimeout: {text}")).unwrap().0.timeout()
    };
    assert_eq!(timeout("1m30s"), Some(Duration::from_secs(90)));
    assert_eq!(timeout("0"), None);
    assert_eq!(timeout("0s"), None);
    for text in ["5", "-5s", "soon", "[5s]"] {
        assert!(
            problem("otlp", &format!("endpoint: a:1\ntimeout: {text}"))
                .starts_with("timeout: expected a duration"),
            "{text}"
        );
    }
}

/// Scenario: `retry_on_failure` has every setting, once with valid and once with invalid values.
/// Guarantee: valid values are read, and values out of range are problems.
#[test]
fn retry() {
    let retry = |text: &str| {
        exporter("otlp", &format!("endpoint: a:1\nretry_on_failure: {text}"))
            .unwrap()
            .0
            .retry()
            .clone()
    };
    let all = "{enabled: false, initial_interval: 1s, randomization_factor: 0, multiplier: 2, max_interval: 1m, max_elapsed_time: 0}";
    let expected = RetryConfig {
        enabled: false,
        initial_interval: Duration::from_secs(1),
        randomization_factor: 0.0,
        multiplier: 2.0,
        max_interval: Duration::from_secs(60),
        max_elapsed_time: None,
    };
    assert_eq!(retry(all), expected);
    assert_eq!(retry("{}"), RetryConfig::default());
    for (text, expected) in [
        ("true", "retry_on_failure: expected a map, found a boolean"),
        ("{enabled: 1}", "retry_on_failure.enabled: expected true or false, found an integer"),
        ("{initial_interval: 5}", "retry_on_failure.initial_interval: expected a duration"),
        (
            "{randomization_factor: 1.1}",
            "retry_on_failure.randomization_factor: expected a number from 0 to 1",
        ),
        (
            "{randomization_factor: x}",
            "retry_on_failure.randomization_factor: expected a finite number, found a string",
        ),
        ("{multiplier: 0.5}", "retry_on_failure.multiplier: expected a number of at least 1"),
        ("{multiplier: .nan}", "retry_on_failure.multiplier: expected a finite number"),
        ("{max_interval: x}", "retry_on_failure.max_interval: expected a duration"),
        ("{max_elapsed_time: {}}", "retry_on_failure.max_elapsed_time: expected a duration"),
    ] {
        let problem = problem("otlp", &format!("endpoint: a:1\nretry_on_failure: {text}"));
        assert!(problem.starts_with(expected), "{text}: {problem}");
    }
}

/// Scenario: an exporter has settings without effect here, and unknown settings.
/// Guarantee: each of these settings causes a warning.
#[test]
fn no_effect() {
    for key in [
        "sending_queue",
        "batcher",
        "keepalive",
        "balancer_name",
        "read_buffer_size",
        "write_buffer_size",
        "cookies",
    ] {
        assert_eq!(
            warning("otlp", &format!("endpoint: a:1\n{key}: {{}}")),
            format!("exporters.otlp.{key}: has no effect here (line 4)")
        );
    }
    assert_eq!(
        warning("otlp", "endpoint: a:1\ntimeuot: 1s"),
        "exporters.otlp.timeuot: unknown key: it has no effect (line 4)"
    );
}

/// Scenario: `headers` sets a header that HTTP or gRPC needs for itself, and a header with a
/// similar name.
/// Guarantee: the first header is refused, and the second one is accepted.
#[test]
fn protocol_headers() {
    let set = |name: &str| exporter("otlp", &format!("endpoint: a:1\nheaders: {{{name}: a}}"));
    for name in ["Accept-Encoding", "connection", "content-type", "grpc-timeout", "te", "x-key-bin"]
    {
        assert!(set(name).is_err(), "{name}");
    }
    for name in ["authorization", "x-grpc-key", "x-bin-key"] {
        assert!(set(name).is_ok(), "{name}");
    }
}
