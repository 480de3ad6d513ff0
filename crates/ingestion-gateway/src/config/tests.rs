mod null;
mod storage;
mod tls;
mod upstream;

use std::path::PathBuf;

use otlp_auth::server::InMemoryAuthenticator;
use otlp_auth::{Credential, Decision};

use super::*;

fn load(text: &str) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.yaml");
    std::fs::write(&path, text).unwrap();
    let env = |name: &str| match name {
        "HOME" => Some("/home/ops".to_owned()),
        "KEY" => Some("a-shared-key-of-some-length".to_owned()),
        _ => None,
    };
    Config::load(&Sources { files: vec![path], sets: Vec::new() }, &env)
}

fn paths(text: &str) -> Vec<String> {
    load(text).unwrap_err().iter().map(|problem| problem.path().to_owned()).collect()
}

// Scenario: nothing is configured.
// Guarantee: every documented default is in force.
#[test]
fn everything_has_a_default() {
    let (config, warnings) = load("").unwrap();
    assert!(warnings.is_empty());
    assert_eq!(
        config.storage.database.to_string(),
        "/home/ops/.local/state/ingestion-gateway/keys.db"
    );
    assert_eq!(
        config.management.as_ref().unwrap().admin_token_file,
        PathBuf::from("/home/ops/.local/state/ingestion-gateway/admin-tokens")
    );
    let expected = "\
storage:
  url: sqlite:///home/ops/.local/state/ingestion-gateway/keys.db
  poll_interval: 5s
  max_staleness: 10m
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:4317
        tls: null
      http:
        endpoint: 127.0.0.1:4318
        tls: null
        cors:
          allowed_origins: []
          allowed_headers: []
          max_age: 0
  agent:
    endpoint: 127.0.0.1:7077
    tls: null
auth:
  schemes:
  - StackState
  - SUSEObservability
  receiver_api_key: null
  query_parameter: true
upstream:
  otlp_grpc: debug
  otlp_http: debug
  agent: debug
  identity_headers: true
limits:
  max_request_body_size: 20MiB
  max_header_size: 16KiB
  max_connections: 10000
  max_streams: 100
  header_read_timeout: 10s
  idle_timeout: 1m
trusted_proxies: []
usage:
  flush_interval: 10s
  sources: 5
  retain: 720h
management:
  endpoint: 127.0.0.1:7070
  tls: null
  admin_token_file: /home/ops/.local/state/ingestion-gateway/admin-tokens
authorize:
  endpoint: 127.0.0.1:7071
  tls: null
telemetry:
  endpoint: 127.0.0.1:8888
  tls: null
  logs:
    level: info
    format: text
shutdown_grace: 30s
";
    assert_eq!(config.to_yaml().unwrap(), expected);
}

// Scenario: a configuration without secrets is printed, and the output is read as a configuration.
// Guarantee: the two configurations are equal.
#[test]
fn a_printed_configuration_can_be_read() {
    let text = "storage: {url: 'sqlite:///var/lib/a%20b%3F/keys.db'}\nusage: {retain: 30d}\nlimits: {max_request_body_size: 1048577}\n\
                receivers: {otlp: {protocols: {http: {endpoint: '[::1]:0', cors: {allowed_origins: ['*', 'https://*.example.com'], allowed_headers: ['*', X-Scope], max_age: 60}}}}, agent: {endpoint: ':7077'}}\ntrusted_proxies: [10.0.0.0/8, 192.0.2.1]";
    let printed = load(text).unwrap().0.to_yaml().unwrap();
    assert!(printed.contains("sqlite:///var/lib/a b%3F/keys.db"), "{printed}");
    assert!(
        printed.contains("1048577B")
            && printed.contains("[::1]:0")
            && printed.contains(":7077")
            && printed.contains("https://*.example.com")
            && printed.contains("192.0.2.1/32"),
        "{printed}"
    );
    assert_eq!(load(&printed).unwrap().0.to_yaml().unwrap(), printed);
}

// Scenario: the settings of `gateway.yaml` that stand in comments are put in force.
// Guarantee: the file is still valid, and names every setting there is.
#[test]
fn the_documented_file_has_every_setting() {
    let text = include_str!("../../gateway.yaml");
    let is_setting = |line: &str| {
        let (key, value) = line.split_once(':').unwrap_or(("", line));
        let key = key.trim_start();
        let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        !key.is_empty() && is_key && (value.is_empty() || value.starts_with(' '))
    };
    let uncommented = text.lines().map(|line| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_setting(rest) => {
            format!("{indent}{rest}")
        }
        _ => line.to_owned(),
    });
    let uncommented = uncommented.collect::<Vec<_>>().join("\n");
    let (config, _) = load(&uncommented.replace("RECEIVER_API_KEY", "KEY")).unwrap();
    assert!(config.auth.receiver.is_some());
    assert_eq!(config.storage.database.to_string(), "/var/lib/ingestion-gateway/keys.db");
    for path in null::keys(&serde_json::to_value(&config).unwrap(), "") {
        let key = path.rsplit('.').next().unwrap();
        let named = |line: &str| line.trim_start().starts_with(&format!("{key}:"));
        assert!(uncommented.lines().any(named), "{path}");
    }
}

// Scenario: the receiver API key comes from the environment.
// Guarantee: the key is in force. The printed configuration has a mask in place of the key, and
// `Debug` does not show the key. The mask itself is not accepted as a key. An empty value means
// that there is no key.
#[test]
fn secrets_are_masked() {
    let (config, _) = load("auth: {receiver_api_key: '${env:KEY}'}").unwrap();
    assert!(config.auth.receiver.is_some());
    let printed = config.to_yaml().unwrap();
    assert!(
        printed.contains("receiver_api_key: \"***\"")
            || printed.contains("receiver_api_key: '***'"),
        "{printed}"
    );
    assert!(!printed.contains("a-shared-key") && !format!("{config:?}").contains("a-shared-key"));
    assert_eq!(paths(&printed), ["auth.receiver_api_key"]);
    assert!(
        load("auth: {receiver_api_key: '${env:NOT_SET:-}'}").unwrap().0.auth.receiver.is_none()
    );
}

// Scenario: the receiver API key has a line end or blanks at its ends. Other keys have a blank, a
// quote, a comma, a letter outside ASCII, a scheme or too many characters.
// Guarantee: what stands around a key does not belong to the key. For every other text there is a
// problem that says what is wrong and does not contain the text.
#[test]
fn a_receiver_key_is_trimmed_and_checked() {
    let load_key = |key: &str| {
        load(&format!("auth: {{receiver_api_key: {}}}", serde_json::to_string(key).unwrap()))
    };
    let is_allowed = |config: &Config, key: &str| {
        let receiver = config.auth.receiver.as_ref().unwrap();
        let decided = receiver.decide(&Credential::new("", key).unwrap());
        matches!(decided, Ok(Decision::Allow(_)))
    };
    for key in ["canary-of-24-characters\n", "\r\n canary-of-24-characters\t "] {
        let (config, warnings) = load_key(key).unwrap();
        assert!(warnings.is_empty() && is_allowed(&config, "canary-of-24-characters"), "{key:?}");
    }
    for (key, expected) in [
        ("\n", "has only blanks"),
        ("canary of blanks", "has a blank or a line end inside"),
        ("canary\nof lines", "has a blank or a line end inside"),
        ("\"canary-in-quotes\"", "has a quote"),
        ("canary,of-commas", "has a comma"),
        ("canarÿ-of-letters", "has a character other than visible ASCII"),
        ("stackstate canary", "begins with the scheme StackState: give the key alone"),
        ("Bearer canary", "begins with the scheme Bearer: give the key alone"),
        (&"canary".repeat(1000), "the token is longer than 4096 bytes"),
    ] {
        let problems = load_key(key).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].to_string(), format!("auth.receiver_api_key: {expected} (line 1)"));
    }
    let (config, warnings) = load_key("'canary-in-quotes'").unwrap();
    assert!(warnings[0].to_string().contains("quote") && is_allowed(&config, "'canary-in-quotes'"));
}

// Scenario: nearly every setting of a file is wrong.
// Guarantee: all problems are reported at once, each with its path.
#[test]
fn all_problems_are_reported() {
    let found = paths(
        "storage: {url: 'mysql://x', poll_interval: 0s, surprise: 1}\nreceivers: {otlp: {protocols: {grpc: {endpoint: 4317}}}}\n\
         auth: {schemes: ['not a scheme'], receiver_api_key: '${env:NOT_SET}'}\n\
         limits: {max_header_size: 1KiB, max_streams: 0, max_request_body_size: lots}\ntrusted_proxies: [nowhere]\n\
         telemetry: {logs: {level: loud, format: xml}}\nshutdown_grace: soon\nusage: {sources: 1000, retain: 0s}\nunknown: 1",
    );
    let expected = [
        "storage.url",
        "storage.poll_interval",
        "storage.surprise",
        "receivers.otlp.protocols.grpc.endpoint",
        "auth.schemes[0]",
        "auth.receiver_api_key",
        "limits.max_request_body_size",
        "limits.max_header_size",
        "limits.max_streams",
        "trusted_proxies[0]",
        "usage.sources",
        "usage.retain",
        "telemetry.logs.level",
        "telemetry.logs.format",
        "shutdown_grace",
        "unknown",
    ];
    assert_eq!(found, expected);
}

// Scenario: authentication is switched off, as the benchmark does with a build of its own. This
// build may have every feature.
// Guarantee: there is no such setting.
#[test]
fn authentication_cannot_be_switched_off() {
    assert_eq!(paths("auth: {off: true}"), ["auth.off"]);
}

// Scenario: the permission for web pages has mistakes in every setting, or no origin to which its
// other settings could apply.
// Guarantee: each mistake is reported with its path.
#[test]
fn mistakes_in_cors_are_reported() {
    let paths = |cors: &str| {
        let paths =
            paths(&format!("receivers: {{otlp: {{protocols: {{http: {{cors: {cors}}}}}}}}}"));
        paths
            .into_iter()
            .map(|path| path.replace("receivers.otlp.protocols.http.", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        paths(
            "{allowed_origins: ['https://*.*', a.example, 1], allowed_headers: [a b], max_age: -1}"
        ),
        [
            "cors.allowed_origins[2]",
            "cors.allowed_origins[0]",
            "cors.allowed_origins[1]",
            "cors.allowed_headers[0]",
            "cors.max_age",
        ]
    );
    assert_eq!(paths("{max_age: 2h}"), ["cors.max_age"]);
    assert_eq!(paths("{max_age: 60, allowed_origins: [a]}"), ["cors.allowed_origins[0]"]);
    assert_eq!(paths("{max_age: 60}"), ["cors"]);
    assert_eq!(paths("{allowed_headers: [X-Scope]}"), ["cors"]);
    assert_eq!(paths("{exposed_headers: [X-Scope]}"), ["cors.exposed_headers"]);
}

// Scenario: two files and `--set` options give different values to the same settings. Other `--set`
// options are malformed.
// Guarantee: a later source overrides an earlier source, setting by setting. Every option that
// cannot be read is reported, with the path of its setting if the option has a valid path.
#[test]
fn later_sources_override() {
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<_> = ["a.yaml", "b.yaml"].map(|name| directory.path().join(name)).into();
    std::fs::write(&files[0], "limits: {max_streams: 1, max_connections: 2}\nshutdown_grace: 1s")
        .unwrap();
    std::fs::write(&files[1], "limits: {max_streams: 3}").unwrap();
    let env = |name: &str| (name == "XDG_STATE_HOME").then(|| "/state".to_owned());
    let load = |sets: &[&str]| {
        Config::load(
            &Sources {
                files: files.clone(),
                sets: sets.iter().map(|set| (*set).to_owned()).collect(),
            },
            &env,
        )
    };
    let (config, _) =
        load(&["shutdown_grace=2s", "telemetry.logs.level=${env:LEVEL:-debug}"]).unwrap();
    assert_eq!((config.limits.max_streams, config.limits.max_connections), (3, 2));
    assert_eq!(
        (config.shutdown_grace, config.telemetry.logs.level),
        (Duration::from_secs(2), "debug")
    );
    assert_eq!(config.storage.database.to_string(), "/state/ingestion-gateway/keys.db");
    let problems =
        load(&["nonsense", "a-b=1", "limits.max_streams=[", "limits.max_streams=1\nx: 2"])
            .unwrap_err();
    assert_eq!(
        problems.iter().map(Problem::path).collect::<Vec<_>>(),
        ["", "", "limits.max_streams", "limits.max_streams"]
    );
    let problems = load(&["nonsense", "limits.max_streams=many"]).unwrap_err();
    assert_eq!(problems.iter().map(Problem::path).collect::<Vec<_>>(), ["", "limits.max_streams"]);
    let problems = load(&["limits.max_streams=many"]).unwrap_err();
    assert_eq!((problems[0].path(), problems[0].line()), ("limits.max_streams", None));
}

// Scenario: the values of `--set` options contain a `#`, with and without quotes.
// Guarantee: each value is used completely or causes an error. No part of a value is dropped as a
// comment.
#[test]
fn settings_have_no_comments() {
    let load = |set: &str| {
        let env = |_: &str| Some("/state".to_owned());
        Config::load(
            &Sources {
                files: Vec::new(),
                sets: vec![format!("management.admin_token_file={set}")],
            },
            &env,
        )
    };
    for cut in ["#abc", "/abc #def", "/a\t#def", "'/abc' #'"] {
        let problems = load(cut).unwrap_err();
        assert!(
            problems[0].message().contains("comment")
                && problems[0].path() == "management.admin_token_file",
            "{problems:?}"
        );
    }
    for (whole, expected) in
        [("/abc#def", "/abc#def"), ("'/abc #def'", "/abc #def"), ("\"/a' #b\"", "/a' #b")]
    {
        let management = load(whole).unwrap().0.management.unwrap();
        assert_eq!(management.admin_token_file, PathBuf::from(expected));
    }
}

// Scenario: the first configuration gives no database path, and no environment variable gives a
// home or state directory. In the second configuration, other hosts can reach the authorize
// endpoint. In the third, the receiver API key is short.
// Guarantee: the first configuration causes an error at `storage.url`. The other two cause
// warnings.
#[test]
fn the_environment_is_checked() {
    let problems = Config::load(&Sources::default(), &|_| None).unwrap_err();
    assert_eq!(problems[0].path(), "storage.url");
    for endpoint in ["0.0.0.0:7071", ":7071", "[::]:7071"] {
        let (_, warnings) = load(&format!("authorize: {{endpoint: '{endpoint}'}}")).unwrap();
        assert_eq!(warnings[0].path(), "authorize");
    }
    let (_, warnings) = load("auth: {receiver_api_key: short}").unwrap();
    assert_eq!(warnings[0].path(), "auth.receiver_api_key");
}
