use super::*;

/// Returns the configuration of the upstreams, with a receiver of each kind.
fn upstream(text: &str) -> Result<UpstreamConfig, Vec<String>> {
    match load(&format!("upstream: {text}")) {
        Ok((config, _)) => Ok(config.upstream),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

fn endpoint(destination: &Option<DestinationConfig>) -> Option<&EndpointConfig> {
    match destination {
        Some(DestinationConfig::Forward(endpoint)) => Some(endpoint),
        _ => None,
    }
}

// Scenario: one, two or all upstreams are set, with all listeners on or some of them off.
// Guarantee: each listener that is on needs an upstream or the word `debug`. Without any upstream,
// everything is discarded. An upstream that no listener needs causes a warning.
#[test]
fn a_listener_needs_an_upstream() {
    const URL: &str = "{endpoint: 'http://c:1'}";
    for nothing in ["", "upstream:", "upstream: {}", "upstream: {otlp_grpc: null}"] {
        let (config, warnings) = load(nothing).unwrap();
        assert!(config.upstream.discards() && warnings.is_empty(), "{nothing}");
        assert!(matches!(config.upstream.otlp_grpc, Some(DestinationConfig::Debug)), "{nothing}");
    }
    let all = ["upstream.otlp_grpc", "upstream.otlp_http", "upstream.agent"];
    assert_eq!(paths(&format!("upstream: {{otlp_grpc: {URL}}}")), all[1..]);
    assert_eq!(paths(&format!("upstream: {{otlp_http: {URL}, agent: null}}")), [all[0], all[2]]);
    assert_eq!(paths("upstream: {otlp_http: debug}"), [all[0], all[2]]);
    let (config, warnings) =
        load(&format!("upstream: {{otlp_grpc: {URL}, otlp_http: {URL}, agent: debug}}")).unwrap();
    assert!(config.upstream.discards() && warnings.is_empty());
    assert!(endpoint(&config.upstream.otlp_grpc).is_some());
    // Agents send OTLP/HTTP too.
    let off = "receivers: {otlp: null}";
    assert_eq!(paths(&format!("{off}\nupstream: {{agent: {URL}}}")), [all[1]]);
    let off = "receivers: {agent: null, otlp: {protocols: {http: null}}}";
    let (config, warnings) = load(&format!("{off}\nupstream: {{otlp_grpc: {URL}}}")).unwrap();
    assert!(!config.upstream.discards() && warnings.is_empty());
    assert!(config.upstream.agent.is_none() && config.upstream.otlp_http.is_none());
    let printed = config.to_yaml().unwrap();
    assert_eq!(load(&printed).unwrap().0.to_yaml().unwrap(), printed);
    let (_, warnings) =
        load(&format!("{off}\nupstream: {{otlp_grpc: {URL}, agent: {URL}}}")).unwrap();
    assert_eq!(warnings[0].path(), "upstream.agent");
}

// Scenario: every setting of the upstreams is given, with tokens and without.
// Guarantee: all of them are in force. The printed configuration is read as the same one, except
// that it has a mask in place of each token, which is not accepted as a token. `Debug` shows no
// token either.
#[test]
fn a_printed_upstream_can_be_read() {
    let text = "{otlp_grpc: {endpoint: 'http://[::1]:4317/', connect_timeout: 1s, response_timeout: 2m}, \
                 otlp_http: {endpoint: 'http://127.0.0.1:4318/base/', auth: {scheme: StackState, filename: /run/token}}, \
                 agent: debug, identity_headers: {X-Scope-OrgID: name, x-key: id}}";
    let config = upstream(text).unwrap();
    let grpc = endpoint(&config.otlp_grpc).unwrap();
    assert_eq!((grpc.endpoint.host(), grpc.endpoint.port()), ("::1", 4317));
    assert_eq!(
        (grpc.connect_timeout, grpc.response_timeout),
        (Duration::from_secs(1), Duration::from_secs(120))
    );
    let http = endpoint(&config.otlp_http).unwrap();
    assert_eq!(http.endpoint.base_path(), "/base");
    assert_eq!(
        (http.connect_timeout, http.response_timeout),
        (Duration::from_secs(5), Duration::from_secs(30))
    );
    let fields: Vec<_> = config
        .identity_headers
        .fields()
        .iter()
        .map(|(name, field)| (name.as_str(), *field))
        .collect();
    assert_eq!(fields, [("x-scope-orgid", IdentityField::Name), ("x-key", IdentityField::Id)]);
    let printed = load(&format!("upstream: {text}")).unwrap().0.to_yaml().unwrap();
    assert!(printed.contains("filename: /run/token"), "{printed}");
    assert_eq!(load(&printed).unwrap().0.to_yaml().unwrap(), printed);

    let text = "upstream: {otlp_grpc: debug, otlp_http: {endpoint: 'http://localhost', \
                auth: {header: X-Key, scheme: '', tokens: [canary-one, canary-two]}}, \
                agent: {endpoint: 'http://127.0.0.1:7077/receiver', auth: {token: canary-three}}}";
    let config = load(text).unwrap().0;
    let printed = config.to_yaml().unwrap();
    assert!(!printed.contains("canary") && !format!("{config:?}").contains("canary"), "{printed}");
    assert_eq!(paths(&printed), ["upstream.otlp_http.auth", "upstream.agent.auth"]);
}

// Scenario: upstreams and identity headers with a mistake each.
// Guarantee: each mistake is reported with its path, and without a value.
#[test]
fn mistakes_in_upstreams_are_reported() {
    for (grpc, path) in [
        ("", "upstream.otlp_grpc"),
        ("discard", "upstream.otlp_grpc"),
        ("'http://canary:4317'", "upstream.otlp_grpc"),
        ("true", "upstream.otlp_grpc"),
        ("{}", "upstream.otlp_grpc"),
        ("{endpoint: }", "upstream.otlp_grpc"),
        ("{endpoint: canary}", "upstream.otlp_grpc.endpoint"),
        ("{endpoint: 'http://c:1/canary'}", "upstream.otlp_grpc.endpoint"),
        ("{endpoint: 'http://canary@c:1'}", "upstream.otlp_grpc.endpoint"),
        (
            "{endpoint: 'https://c:1/canary', tls: {ca_file: /canary}}",
            "upstream.otlp_grpc.endpoint",
        ),
        ("{endpoint: 'http://c:1', timeout: 1s}", "upstream.otlp_grpc.timeout"),
        ("{endpoint: 'http://c:1', connect_timeout: 0s}", "upstream.otlp_grpc.connect_timeout"),
        ("{endpoint: 'http://c:1', response_timeout: 5}", "upstream.otlp_grpc.response_timeout"),
        ("{endpoint: 'http://c:1', auth: null}", "upstream.otlp_grpc.auth"),
        ("{endpoint: 'http://c:1', auth: {token: canary}}", "upstream.otlp_grpc.auth"),
        ("{endpoint: 'http://[::1]:1', auth: {}}", "upstream.otlp_grpc.auth"),
        ("{endpoint: 'http://c:1', tls: {}}", "upstream.otlp_grpc.tls"),
        ("{endpoint: 'http://c:1', tls: {ca_file: /canary}}", "upstream.otlp_grpc.tls"),
        (
            "{endpoint: 'http://c:1', tls: {insecure: true, ca_file: /canary}}",
            "upstream.otlp_grpc.tls",
        ),
        ("{endpoint: 'https://c:1', tls: {insecure: true}}", "upstream.otlp_grpc.tls.insecure"),
        ("{endpoint: 'https://c:1', tls: {ca_file: ''}}", "upstream.otlp_grpc.tls.ca_file"),
        ("{endpoint: 'https://c:1', tls: {cert_file: /canary}}", "upstream.otlp_grpc.tls"),
        ("{endpoint: 'https://c:1', tls: }", "upstream.otlp_grpc.tls"),
        (
            "{endpoint: 'https://c:1', tls: {server_name_override: 'a canary'}}",
            "upstream.otlp_grpc.tls.server_name_override",
        ),
        (
            "{endpoint: 'http://[::1]:1', auth: {token: 'a canary'}}",
            "upstream.otlp_grpc.auth.token",
        ),
        (
            "{endpoint: 'http://[::1]:1', auth: {token: canary, name: a}}",
            "upstream.otlp_grpc.auth.name",
        ),
        (
            "{endpoint: 'http://[::1]:1', auth: {token: canary, header: x-ingestion-key-id}}",
            "upstream.otlp_grpc.auth",
        ),
    ] {
        let problems = upstream(&format!("{{otlp_grpc: {grpc}, otlp_http: debug, agent: debug}}"));
        let problems = problems.unwrap_err();
        assert!(problems[0].starts_with(&format!("{path}: ")), "{grpc}: {problems:?}");
        assert!(problems.len() == 1 && !problems[0].contains("canary"), "{grpc}: {problems:?}");
    }
    for (agent, path) in [
        (
            "{endpoint: 'http://[::1]:1', auth: {token: canary, scheme: A}}",
            "upstream.agent.auth.scheme",
        ),
        (
            "{endpoint: 'http://[::1]:1', auth: {token: canary, header: a}}",
            "upstream.agent.auth.header",
        ),
    ] {
        let problems = upstream(&format!("{{otlp_grpc: debug, otlp_http: debug, agent: {agent}}}"));
        let problems = problems.unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("{path}: ")),
            "{problems:?}"
        );
    }
    for (headers, path) in [
        ("sometimes", "upstream.identity_headers"),
        ("{}", "upstream.identity_headers"),
        ("[x-key]", "upstream.identity_headers"),
        ("{x-key: secret}", "upstream.identity_headers.x-key"),
        ("{x-key: }", "upstream.identity_headers.x-key"),
        ("{'x key': id}", "upstream.identity_headers.x key"),
        ("{x-key: id, X-Key: name}", "upstream.identity_headers.X-Key"),
        ("{Authorization: name}", "upstream.identity_headers.Authorization"),
        ("{sts-api-key: name}", "upstream.identity_headers.sts-api-key"),
        ("{X-Forwarded-User: name}", "upstream.identity_headers.X-Forwarded-User"),
        ("{Content-Type: name}", "upstream.identity_headers.Content-Type"),
        ("{x-key-bin: name}", "upstream.identity_headers.x-key-bin"),
    ] {
        let problems = upstream(&format!("{{identity_headers: {headers}}}")).unwrap_err();
        assert!(problems[0].starts_with(&format!("{path}: ")), "{headers}: {problems:?}");
    }
    assert!(upstream("{identity_headers: false}").unwrap().identity_headers.fields().is_empty());
}

// Scenario: upstreams have an https endpoint without `tls` and with every setting of it, and an
// http endpoint with a credential that may be sent over plaintext.
// Guarantee: the settings are in force. Without `tls`, the authorities of the system are trusted.
// Accepting every certificate causes a warning. The printed configuration is read as the same one.
#[test]
fn an_upstream_may_have_tls() {
    let text = "upstream: {otlp_grpc: {endpoint: 'https://c:1'}, \
                otlp_http: {endpoint: 'https://c:1', tls: {ca_file: /a, \
                include_system_ca_certs_pool: true, cert_file: /c, key_file: /k, \
                server_name_override: otlp.example.com, insecure_skip_verify: true, \
                min_version: '1.3', reload_interval: 1m}}, \
                agent: {endpoint: 'http://c:1', auth: {filename: /t}, tls: {insecure: true}}}";
    let (config, warnings) = load(text).unwrap();
    let tls = |to| endpoint(to).unwrap().client_tls();
    assert_eq!(tls(&config.upstream.otlp_grpc), Some(&ClientTlsConfig::default()));
    let expected = ClientTlsConfig {
        insecure: false,
        ca_file: Some("/a".into()),
        include_system_ca_certs_pool: true,
        cert_file: Some("/c".into()),
        key_file: Some("/k".into()),
        server_name_override: Some("otlp.example.com".to_owned()),
        insecure_skip_verify: true,
        min_version: TlsVersion::V1_3,
        reload_interval: Duration::from_secs(60),
    };
    assert_eq!(tls(&config.upstream.otlp_http), Some(&expected));
    assert_eq!(tls(&config.upstream.agent), None);
    let warned: Vec<_> = warnings.iter().map(Problem::path).collect();
    assert_eq!(warned, ["upstream.otlp_http.tls.insecure_skip_verify"]);
    let printed = config.to_yaml().unwrap();
    assert_eq!(load(&printed).unwrap().0.to_yaml().unwrap(), printed);
}

// Scenario: the configuration in the page about running the gateway is read.
// Guarantee: it is valid without a warning, and nothing is discarded.
#[test]
fn the_documented_upstreams_are_valid() {
    let page = include_str!("../../../../../docs/run-the-gateway.md");
    let block = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let (config, warnings) = load(&block.replace("RECEIVER_API_KEY", "KEY")).unwrap();
    assert!(warnings.is_empty() && !config.upstream.discards(), "{warnings:?}");
    assert!(endpoint(&config.upstream.agent).unwrap().auth.is_some());
}
