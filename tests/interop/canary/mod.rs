//! Uses keys in every possible way, and then searches for them in everything that was printed, sent
//! and stored.

mod debug;
mod hay;

use std::process::Command;

use ingestion_api::IngestionKey;
use otlp_auth_tests::{Gateway, Home, Key, Outcome, Program};

use crate::exporter::start_exporter;
use crate::{TestFile, WRONG_KEY};
use hay::Hay;
pub(crate) use hay::request;

const RECEIVER_KEY: &str = "receiver-canary-b7Qx93LmZt";

const NAME: &str = "visible-canary";

/// Texts that are not secret, each with the place that must contain it. Finding these texts shows
/// that the right places are searched and that every request was made.
const VISIBLE: [(&str, &str); 10] = [
    ("the gateway's output", NAME),
    ("the gateway's output", "DEBUG"),
    ("keys.db", NAME),
    ("metrics", "ingestion_debug_items_total"),
    ("config print", "receiver_api_key"),
    ("management", r#""who":"#),
    ("authorize", "204 No Content"),
    ("authorize", "403 Forbidden"),
    ("the exporter's output", "failed=0"),
    ("check", "otlp-grpc"),
];

/// A key of the right format that was never issued.
fn unknown_key() -> String {
    let mut next = 11_u8;
    let generated = IngestionKey::generate(|bytes| {
        bytes.fill_with(|| {
            next = next.wrapping_mul(29).wrapping_add(101);
            next
        });
        Ok::<_, std::convert::Infallible>(())
    });
    match generated {
        Ok(key) => key.expose_secret().to_owned(),
    }
}

// Scenario: every kind of key and the admin token are used on every listener and by every command,
// correctly and incorrectly. The keys are created, rotated, deleted, unknown and mistyped keys, and
// the receiver API key. The gateway logs at the level trace, once as text and once as JSON.
// Guarantee: no secret and no part of a secret is in a log, a response, a metric, the audit log,
// the printed configuration or a file. The only exceptions are the output of the command that
// created a key, and the two files with the admin token.
#[test]
fn no_secret_is_in_anything_that_is_printed_or_kept() {
    for format in ["text", "json"] {
        let home = Home::new();
        let mut hay = Hay::default();
        let gateway = start(&home, format);
        hay.add("context save", save_context(&home, &gateway));

        let created = make(&home, &mut hay, &["create", "--name", NAME]);
        use_up(&home, &gateway, &mut hay, &created.secret);
        let rotated =
            make(&home, &mut hay, &["rotate", "--overlap", "1h", "--id", &created.id.to_string()]);
        use_up(&home, &gateway, &mut hay, &rotated.secret);
        let deleted = make(&home, &mut hay, &["create", "--name", NAME]);
        use_up(&home, &gateway, &mut hay, &deleted.secret);
        manage(&home, &mut hay, &deleted);
        let unknown = unknown_key();
        for refused in [&deleted.secret, &unknown, WRONG_KEY, RECEIVER_KEY] {
            use_up(&home, &gateway, &mut hay, refused);
        }
        call_management(&home, &gateway, &mut hay, &created);

        let mut print = configured(&home, format);
        hay.add("config print", text(&Outcome::of(print.args(["config", "print"]))));
        hay.add("metrics", request(gateway.address("telemetry"), "GET", "/metrics", &[], ""));
        hay.add_files(home.path());
        hay.add("the gateway's output", gateway.program.stop().join("\n"));
        hay.add_files(home.path());

        for (place, visible) in VISIBLE {
            assert!(hay.has(place, visible), "{visible} is not in {place}");
        }
        hay.assert_free_of("admin token", &home.admin_token(), &["admin-tokens", "config.yaml"]);
        hay.assert_free_of("receiver key", RECEIVER_KEY, &[]);
        for (what, key) in [
            ("created", &created.secret),
            ("rotated", &rotated.secret),
            ("deleted", &deleted.secret),
            ("unknown", &unknown),
        ] {
            hay.assert_free_of(what, key, &[]);
            // Between its prefix and its checksum, a key has three groups of characters. The first
            // group is not searched for, because its first characters are shown on purpose.
            for part in key.split('-').skip(2).take(2) {
                hay.assert_free_of(what, part, &[]);
            }
        }
        hay.assert_free_of("mistyped", WRONG_KEY, &[]);
    }
}

/// A command that runs the gateway with a receiver API key and the level trace.
fn configured(home: &Home, format: &str) -> Command {
    let mut command = home.gateway();
    command.args([
        "--set",
        "auth.receiver_api_key=${env:RECEIVER_API_KEY}",
        "--set",
        "telemetry.logs.level=trace",
    ]);
    command.args(["--set", &format!("telemetry.logs.format={format}")]);
    command
        .env("RECEIVER_API_KEY", RECEIVER_KEY)
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "1");
    command
}

fn start(home: &Home, format: &str) -> Gateway {
    Gateway::ready(Program::start(&mut configured(home, format)), home)
}

fn save_context(home: &Home, gateway: &Gateway) -> String {
    let url = gateway.url("management");
    let outcome =
        home.sts(&["context", "save", "-vv", "--url", &url, "--api-token", &home.admin_token()]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    text(&outcome)
}

/// Runs a command that prints a key, and asserts that the key is only on stdout.
fn make(home: &Home, hay: &mut Hay, arguments: &[&str]) -> Key {
    let outcome = home.sts(&[&["ingestion-api-key", "-vv", "-o", "json"], arguments].concat());
    assert_eq!(outcome.code, Some(0), "{arguments:?}");
    hay.add(arguments[0], outcome.stderr);
    Key::of(&serde_json::from_str(&outcome.stdout).expect("JSON"))
}

/// Sends a key in every header and query parameter of every listener, alone and beside another key.
/// The test itself makes some of the requests, and our programs make the others.
fn use_up(home: &Home, gateway: &Gateway, hay: &mut Hay, key: &str) {
    for scheme in ["StackState", "SUSEObservability", "ApiKey", "Bearer", "stackstate  "] {
        let credential = format!("{scheme} {key}");
        for (listener, path) in [
            ("otlp_http", "/v1/traces"),
            ("agent", "/stsAgent/intake"),
            ("management", "/api/server/info"),
        ] {
            hay.add(
                listener,
                request(
                    gateway.address(listener),
                    "POST",
                    path,
                    &[("authorization", &credential)],
                    "{}",
                ),
            );
        }
    }
    let agent = gateway.address("agent");
    hay.add(
        "agent",
        request(agent, "GET", &format!("/stsAgent/api/v1/validate?api_key={key}"), &[], ""),
    );
    hay.add(
        "agent",
        request(agent, "POST", &format!("/receiver/stsAgent/intake/?api_key={key}&x=y"), &[], "{}"),
    );
    hay.add("agent", request(agent, "GET", &format!("/elsewhere/{key}?api_key={key}"), &[], ""));
    for headers in [
        &[("sts-api-key", key)][..],
        &[("dd-api-key", key)],
        &[("sts-api-key", key), ("dd-api-key", WRONG_KEY)],
        &[("x-api-token", key)],
        &[("x-api-key", key)],
        &[("cookie", key), ("user-agent", "canary")],
    ] {
        for listener in ["agent", "otlp_http", "management", "telemetry"] {
            hay.add(
                listener,
                request(
                    gateway.address(listener),
                    "POST",
                    "/stsAgent/api/v1/validate",
                    headers,
                    "",
                ),
            );
        }
    }
    let authorize = "/internal/api/security/ingestion/authorize";
    for body in [
        format!(r#"{{"apiKey":"{key}"}}"#),
        format!(r#"{{"apiKey":"{key}"#),
        format!(r#"["{key}"]"#),
        format!(r#"{{"{key}":1}}"#),
    ] {
        for query in ["", "?withReceiverKey=true", &format!("?withReceiverKey={key}")] {
            let path = format!("{authorize}{query}");
            hay.add(
                "authorize",
                request(
                    gateway.address("authorize"),
                    "POST",
                    &path,
                    &[("content-type", "application/json")],
                    &body,
                ),
            );
        }
    }
    export(gateway, hay, key);

    let mut check = home.sts_command();
    check.args(["ingestion-api-key", "check", "-vv", "--otlp-grpc", &gateway.url("otlp_grpc")]);
    check.args(["--otlp-http", &gateway.url("otlp_http"), "--agent", &gateway.url("agent")]);
    hay.add("check", text(&Outcome::of(check.env("API_KEY", key))));
    for arguments in [
        &["delete", "--id", key][..],
        &["describe", key],
        &["create", "--name", "x", "--expiration", key],
    ] {
        // A receiver API key may be any text, so `sts` cannot recognize it as a key.
        if key != RECEIVER_KEY {
            hay.add(
                "a key as an argument",
                text(&home.sts(&[&["ingestion-api-key"], arguments].concat())),
            );
        }
    }
}

/// Runs our exporter over both transports.
fn export(gateway: &Gateway, hay: &mut Hay, key: &str) {
    let auth = "auth: {authenticator: bearertokenauth}}";
    let yaml = TestFile::new(
        "exporter.yaml",
        &format!(
            "extensions:\n  bearertokenauth: {{scheme: StackState, token: \"${{env:API_KEY}}\"}}\n\
             exporters:\n  otlp: {{endpoint: \"{}\", tls: {{insecure: true}}, {auth}\n  otlphttp: {{endpoint: \"{}\", {auth}\n\
             service:\n  extensions: [bearertokenauth]\n",
            gateway.address("otlp_grpc"),
            gateway.url("otlp_http")
        ),
    );
    for exporter in ["otlp", "otlphttp"] {
        let (_, lines) = start_exporter(&yaml.path(), &["--exporter", exporter], key).end();
        hay.add("the exporter's output", lines.join("\n"));
    }
}

/// Runs every command that takes the id of a key and must not print the key. The last command
/// deletes the key.
fn manage(home: &Home, hay: &mut Hay, key: &Key) {
    let id = key.id.to_string();
    for arguments in [
        &["list", "--wide"][..],
        &["list", "-o", "json"],
        &["describe", "--id", &id],
        &["update", "--id", &id, "--description", "a canary"],
        &["delete", "--id", &id],
        &["delete", "--id", &id],
    ] {
        hay.add(
            arguments[0],
            text(&home.sts(&[&["ingestion-api-key", "-vv"], arguments].concat())),
        );
    }
}

/// Makes the management calls that no command makes, and calls that contain a key by mistake.
fn call_management(home: &Home, gateway: &Gateway, hay: &mut Hay, key: &Key) {
    let (address, token, secret) = (gateway.address("management"), home.admin_token(), &key.secret);
    let keys = "/api/security/ingestion/api_keys";
    for (method, path, body) in [
        ("GET", "/api/security/ingestion/audit?after=0&limit=100".to_owned(), String::new()),
        ("GET", format!("/api/security/ingestion/audit?after={secret}"), String::new()),
        ("GET", format!("{keys}/{}", key.id), String::new()),
        ("GET", format!("{keys}/{secret}"), String::new()),
        ("PUT", format!("/api/{secret}?{secret}"), String::new()),
        ("POST", keys.to_owned(), format!(r#"{{"name":"x","expiration":"{secret}"}}"#)),
        ("POST", keys.to_owned(), format!(r#"{{"name":{{"{secret}":1}}}}"#)),
        (
            "POST",
            "/api/security/ingestion/authorize".to_owned(),
            format!(r#"{{"apiKey":"{secret}"}}"#),
        ),
    ] {
        for headers in [&[("x-api-token", token.as_str())][..], &[]] {
            hay.add("management", request(address, method, &path, headers, &body));
        }
    }
}

fn text(Outcome { stdout, stderr, .. }: &Outcome) -> String {
    format!("{stdout}\n{stderr}")
}
