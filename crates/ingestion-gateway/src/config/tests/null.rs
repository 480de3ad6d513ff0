use super::*;

// Scenario: `null` stands in place of each listener and of each group of listeners, in a file, in
// another spelling, and through a variable.
// Guarantee: exactly these listeners are off. The printed configuration says so, and reading it
// again gives the same configuration.
#[test]
fn null_switches_a_listener_off() {
    let all = ["grpc", "http", "agent", "management", "authorize", "telemetry"];
    let cases: [(&str, &[&str]); 10] = [
        ("receivers: {otlp: {protocols: {grpc: null}}}", &["grpc"]),
        ("receivers: {otlp: {protocols: {http: ~}}}", &["http"]),
        ("receivers: {otlp: {protocols: null}}", &["grpc", "http"]),
        ("receivers: {otlp: null, agent: {}}", &["grpc", "http"]),
        ("receivers: {agent: '${env:OFF:-null}'}", &["agent"]),
        ("receivers: null", &["grpc", "http", "agent"]),
        ("management: null", &["management"]),
        ("authorize: null", &["authorize"]),
        ("telemetry: null", &["telemetry"]),
        ("telemetry: {endpoint: null, logs: {level: debug}}", &["telemetry"]),
    ];
    for (text, expected) in cases {
        let (config, _) = load(text).unwrap();
        let Protocols { grpc, http } = &config.receivers.otlp.protocols;
        let is_on = [
            grpc.is_some(),
            http.is_some(),
            config.receivers.agent.is_some(),
            config.management.is_some(),
            config.authorize.is_some(),
            config.telemetry.endpoint.is_some(),
        ];
        let off: Vec<_> =
            all.iter().zip(is_on).filter(|(_, on)| !on).map(|(name, _)| *name).collect();
        assert_eq!(off, expected, "{text}");
        let printed = config.to_yaml().unwrap();
        assert_eq!(load(&printed).unwrap().0.to_yaml().unwrap(), printed, "{text}");
    }
}

// Scenario: a listener is off in a file, and a later source gives it an address.
// Guarantee: the listener is on, with that address.
#[test]
fn a_later_source_switches_a_listener_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, "receivers: {agent: null}").unwrap();
    let env = |_: &str| Some("/state".to_owned());
    let load = |set: &str| {
        let sources = Sources { files: vec![file.clone()], sets: vec![set.to_owned()] };
        Config::load(&sources, &env).unwrap().0.receivers.agent
    };
    assert!(load("receivers.otlp=null").is_none());
    assert_eq!(load("receivers.agent={}").unwrap().endpoint, Endpoint::loopback(7077));
    assert_eq!(
        load("receivers.agent.endpoint=127.0.0.1:1").unwrap().endpoint,
        Endpoint::loopback(1)
    );
}

// Scenario: each key of the configuration is null, and each key has no value, directly and through
// a variable that is empty.
// Guarantee: a key that would have no effect causes a problem with its path. Null is accepted only
// where it switches something off, and an empty key only for a section whose settings have
// defaults.
#[test]
fn a_null_without_effect_is_refused() {
    let off = [
        "auth.receiver_api_key",
        "authorize",
        "authorize.tls",
        "management",
        "management.tls",
        "receivers",
        "receivers.agent",
        "receivers.agent.tls",
        "receivers.otlp",
        "receivers.otlp.protocols",
        "receivers.otlp.protocols.grpc",
        "receivers.otlp.protocols.grpc.tls",
        "receivers.otlp.protocols.http",
        "receivers.otlp.protocols.http.tls",
        "telemetry",
        "telemetry.endpoint",
        "telemetry.tls",
        "upstream.agent",
        "upstream.otlp_grpc",
        "upstream.otlp_http",
    ];
    let sections = [
        "storage",
        "auth",
        "limits",
        "usage",
        "telemetry.logs",
        "upstream",
        "receivers.otlp.protocols.http.cors",
    ];
    let without_default = ["storage.password_file"];
    let known = keys(&serde_json::to_value(load("").unwrap().0).unwrap(), "");
    for key in known.iter().map(String::as_str).chain(without_default) {
        for (value, accepted) in [
            ("null", off.contains(&key)),
            ("~", off.contains(&key)),
            ("", sections.contains(&key) || key == "auth.receiver_api_key"),
            ("${env:NOTHING:-}", sections.contains(&key) || key == "auth.receiver_api_key"),
        ] {
            let sets = vec![format!("{key}={value}")];
            let env = |name: &str| (name == "HOME").then(|| "/home/ops".to_owned());
            let loaded = Config::load(&Sources { files: Vec::new(), sets }, &env);
            match loaded {
                Ok(_) => assert!(accepted, "{key}={value} is accepted"),
                Err(problems) => {
                    assert!(!accepted, "{key}={value}: {problems:?}");
                    assert_eq!(problems[0].path(), key, "{problems:?}");
                }
            }
        }
    }
    assert_eq!(
        paths("auth: {schemes: [StackState, null]}\ntrusted_proxies: [~]"),
        ["auth.schemes[1]", "trusted_proxies[0]"]
    );
}

/// Returns the path of each key in a tree.
pub(super) fn keys(tree: &serde_json::Value, path: &str) -> Vec<String> {
    let entries = tree.as_object().into_iter().flatten();
    let below = |(key, value): (&String, &serde_json::Value)| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let below = keys(value, &path);
        [vec![path], below].concat()
    };
    entries.flat_map(below).collect()
}

// Scenario: everything that could have something to do is off.
// Guarantee: this is a problem. The management API or the authorize endpoint alone is none, because
// they serve receivers elsewhere.
#[test]
fn a_gateway_without_listeners_is_refused() {
    assert_eq!(paths("receivers: null\nmanagement: null\nauthorize: null"), ["receivers"]);
    assert!(load("receivers: null\nmanagement: null").is_ok());
    assert!(load("receivers: null\nauthorize: null").is_ok());
}
