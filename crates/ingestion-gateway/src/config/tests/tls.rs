use super::*;

/// The paths of the listeners.
const LISTENERS: [&str; 6] = [
    "receivers.otlp.protocols.grpc",
    "receivers.otlp.protocols.http",
    "receivers.agent",
    "management",
    "authorize",
    "telemetry",
];

fn load_set(sets: Vec<String>) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let env = |name: &str| (name == "HOME").then(|| "/home/ops".to_owned());
    Config::load(&Sources { files: Vec::new(), sets }, &env)
}

/// Returns the TLS of each listener, in the order of [`LISTENERS`].
fn tls(config: &Config) -> [Option<&ServerTlsConfig>; 6] {
    let Protocols { grpc, http } = &config.receivers.otlp.protocols;
    [
        grpc.as_ref().unwrap().tls.as_ref(),
        http.as_ref().unwrap().tls.as_ref(),
        config.receivers.agent.as_ref().unwrap().tls.as_ref(),
        config.management.as_ref().unwrap().tls.as_ref(),
        config.authorize.as_ref().unwrap().tls.as_ref(),
        config.telemetry.tls.as_ref(),
    ]
}

// Scenario: each listener gets a `tls` section, once with what is needed and once with every
// setting. Then the section is null.
// Guarantee: that listener has TLS as configured, and no other one has. The printed configuration
// can be read again. With null, the listener is plaintext.
#[test]
fn every_listener_may_have_tls() {
    for (index, listener) in LISTENERS.into_iter().enumerate() {
        let set = |tls: &str| load_set(vec![format!("{listener}.tls={tls}")]).unwrap().0;
        let shortest = set("{cert_file: /c, key_file: /k}");
        let whole = set("{cert_file: /c, key_file: /k, client_ca_file: /a, min_version: '1.3', \
                          reload_interval: 1h}");
        for (config, client_ca_file, min_version, reload_interval) in [
            (&shortest, None, TlsVersion::V1_2, Duration::from_secs(5)),
            (&whole, Some("/a".into()), TlsVersion::V1_3, Duration::from_secs(3600)),
        ] {
            let expected = ServerTlsConfig {
                cert_file: "/c".into(),
                key_file: "/k".into(),
                client_ca_file,
                min_version,
                reload_interval,
            };
            let mut all = [None; 6];
            all[index] = Some(&expected);
            assert_eq!(tls(config), all, "{listener}");
            let printed = config.to_yaml().unwrap();
            assert_eq!(load(&printed).unwrap().0.to_yaml().unwrap(), printed);
        }
        assert_eq!(tls(&set("null")), [None; 6]);
    }
}

// Scenario: `tls` sections lack a file, are empty, name an old version of TLS, or have a file whose
// path comes from a variable that is not set.
// Guarantee: each is a problem with its path. No listener is plaintext by mistake, and no file that
// adds protection is left out by mistake.
#[test]
fn mistakes_in_tls_are_reported() {
    for (section, path, message) in [
        ("", "tls", "expected a map or null, found nothing"),
        ("{}", "tls.cert_file", "is required"),
        ("{cert_file: /c}", "tls.key_file", "is required"),
        ("{cert_file: '', key_file: /k}", "tls.cert_file", "is empty"),
        (
            "{cert_file: /c, key_file: /k, client_ca_file: '${env:NO:-}'}",
            "tls.client_ca_file",
            "expected a value or null, found nothing",
        ),
        ("{cert_file: /c, key_file: /k, min_version: '1.1'}", "tls.min_version", "is the oldest"),
        ("{cert_file: /c, key_file: /k, min_version: 1.4}", "tls.min_version", "expected"),
        ("{cert_file: /c, key_file: /k, reload_interval: 0s}", "tls.reload_interval", "longer"),
        ("{cert_file: /c, key_file: /k, ca_file: /a}", "tls.ca_file", "unknown key"),
    ] {
        for listener in LISTENERS {
            let problems = load_set(vec![format!("{listener}.tls={section}")]).unwrap_err();
            assert_eq!(problems[0].path(), format!("{listener}.{path}"), "{section}");
            assert!(problems[0].message().contains(message), "{section}: {problems:?}");
        }
    }
    let (config, _) =
        load("management: {tls: {cert_file: /c, key_file: /k, min_version: 1.3}}").unwrap();
    assert_eq!(config.management.unwrap().tls.unwrap().min_version, TlsVersion::V1_3);
}

// Scenario: other hosts can reach a listener, with TLS and without it.
// Guarantee: without TLS, there is a warning with the path of the listener.
#[test]
fn a_plaintext_listener_for_other_hosts_causes_a_warning() {
    for listener in LISTENERS {
        for endpoint in ["0.0.0.0:0", "'[::]:0'", ":0", "gateway.example.com:0"] {
            let set = |tls: &str| {
                let sets = [format!("endpoint={endpoint}"), format!("tls={tls}")];
                let sets = sets.map(|set| format!("{listener}.{set}"));
                let (_, warnings) = load_set(sets.into()).unwrap();
                let is_ours = |warning: &&Problem| warning.message().contains("plaintext");
                warnings.iter().filter(is_ours).map(|warning| warning.path().to_owned()).collect()
            };
            let warned: Vec<String> = set("null");
            assert_eq!(warned, [listener], "{endpoint}");
            let warned: Vec<String> = set("{cert_file: /c, key_file: /k}");
            assert!(warned.is_empty(), "{endpoint}");
        }
    }
}

// Scenario: the listener of `telemetry` is off, and has `tls`.
// Guarantee: a warning says that `tls` has no effect.
#[test]
fn tls_of_a_listener_that_is_off_causes_a_warning() {
    let text = "telemetry: {endpoint: null, tls: {cert_file: /c, key_file: /k}}";
    let (_, warnings) = load(text).unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].path(), "telemetry");
    assert!(warnings[0].message().contains("no effect"));
}
