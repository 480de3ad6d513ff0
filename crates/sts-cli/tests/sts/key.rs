//! Tests of what the commands on keys send and print.

use serde_json::{Value, json as value};

use crate::list::FULL;
use crate::mock::{CREATED, KEY, Mock, json};
use crate::sts::Sts;

const KEYS: &str = "/api/security/ingestion/api_keys";

// Scenario: the three documented commands run against a server that has only the documented
// operations and fields.
// Guarantee: each command first requests information about the server, and then prints the
// documented text.
#[test]
fn the_documented_commands() {
    let mock = Mock::contract();
    let sts = Sts::connected_to(&mock);
    assert_eq!(
        sts.key(&["create", "--name", "my-ingestion-api-key"]),
        format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n")
    );
    let table = "ID              | NAME                 | EXPIRATION | DESCRIPTION\n\
         250558013078953 | my-ingestion-api-key |            | -          \n";
    assert_eq!(sts.key(&["list"]), table);
    assert_eq!(
        sts.key(&["delete", "--id", "250558013078953"]),
        "[SUCCESS] Ingestion Api Key deleted: 250558013078953\n"
    );
    let info = "GET /api/server/info".to_owned();
    let calls = [
        info.clone(),
        format!("POST {KEYS}"),
        info.clone(),
        format!("GET {KEYS}"),
        info,
        // The key may be the token of a follower.
        format!("GET {KEYS}/250558013078953"),
        format!("DELETE {KEYS}/250558013078953"),
    ];
    assert_eq!(mock.request_lines(), calls);
}

// Scenario: the documented commands run with `-o json`.
// Guarantee: stdout is the documented JSON and nothing else.
#[test]
fn the_documented_json() {
    let mock = Mock::contract();
    let sts = Sts::connected_to(&mock);
    let created = "{\n  \"ingestion-api-key\": {\n    \"apiKey\": \
         \"iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN\",\n    \"id\": 250558013078953,\n    \
         \"lastUpdateTimestamp\": 1590105600001,\n    \"name\": \"my-ingestion-api-key\"\n  }\n}\n";
    assert_eq!(sts.key(&["create", "-n", "my-ingestion-api-key", "-o", "json"]), created);
    let listed = "{\n  \"ingestion-api-keys\": [\n    {\n      \"id\": 250558013078953,\n      \
         \"lastUpdateTimestamp\": 1590105600001,\n      \"name\": \"my-ingestion-api-key\"\n    \
         }\n  ]\n}\n";
    assert_eq!(sts.key(&["list", "--output=json"]), listed);
    assert_eq!(
        sts.key(&["delete", "-i", "7", "-ojson"]),
        "{\n  \"deleted-ingestion-api-key\": 7\n}\n"
    );
}

// Scenario: three keys are created. The first has every flag, with white space around the date. The
// second has an empty name. The third has an empty description.
// Guarantee: the body of each request is JSON with a line end, and has only the given fields. The
// content type has no charset.
#[test]
fn what_create_sends() {
    let mock = Mock::contract();
    let sts = Sts::connected_to(&mock);
    sts.key(&[
        "create",
        "--name",
        "edge",
        "--description",
        "for <b>",
        "--expiration",
        " 2020-05-22 ",
    ]);
    let request = mock.last();
    assert_eq!(
        request.body,
        "{\"name\":\"edge\",\"description\":\"for <b>\",\"expiration\":1590105600000}\n"
    );
    assert_eq!(
        (request.header("content-type"), request.header("accept")),
        ("application/json", "application/json")
    );
    assert_eq!(request.header("user-agent"), concat!("StackStateCLI/", env!("CARGO_PKG_VERSION")));
    sts.key(&["create", "-n", ""]);
    assert_eq!(mock.last().body, "{\"name\":\"\"}\n");
    sts.key(&["create", "-n", "edge", "--description", ""]);
    assert_eq!(mock.last().body, "{\"name\":\"edge\"}\n");
}

// Scenario: names have emoji, right-to-left text, markup, line ends, quotes and SQL.
// Guarantee: the server receives each name as it was typed, because the server decides which names
// are valid.
#[test]
fn every_name_is_sent_unchanged() {
    let mock = Mock::contract();
    for name in [
        "🔑",
        "مفتاح",
        "<b>x</b>",
        "a\nb",
        "it's \"x\"",
        "'; DROP TABLE keys; --",
        "\u{202e}evil",
        "a&b\\c",
    ] {
        Sts::connected_to(&mock).key(&["create", &format!("--name={name}")]);
        assert_eq!(
            serde_json::from_str::<Value>(&mock.last().body).unwrap(),
            value!({"name": name})
        );
    }
}

// Scenario: one key is created with `--quiet`. Another key is created with the environment of a
// terminal, but stdout is a pipe.
// Guarantee: the first command prints only the key. The second command prints no color and no
// symbol.
#[test]
fn a_script_reads_the_key_alone() {
    let mock = Mock::contract();
    let sts = Sts::connected_to(&mock).with("TERM", "xterm-256color");
    assert_eq!(sts.key(&["create", "-n", "edge", "--quiet"]), format!("{KEY}\n"));
    assert_eq!(
        sts.key(&["create", "-n", "edge"]),
        format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n")
    );
}

// Scenario: a key is created, and stdout is a closed pipe.
// Guarantee: the exit code is 6. stderr has the id of the new key, but not the key itself.
#[test]
fn a_key_that_cannot_be_printed() {
    let mock = Mock::contract();
    for args in [
        &["create", "-n", "edge"][..],
        &["create", "-n", "edge", "-q"],
        &["create", "-n", "edge", "-o", "json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command =
            Sts::connected_to(&mock).command(&[&["ingestion-api-key"], args].concat());
        let output = command.stdout(writer).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{stderr}");
        assert!(
            stderr.contains(
                "The key with the id 250558013078953 was created, but nobody can read it any more: \
                 delete it with `sts ingestion-api-key delete --id 250558013078953`"
            ),
            "{stderr}"
        );
        assert!(!stderr.contains(KEY));
    }
}

// Scenario: the server reports that another key has the same name.
// Guarantee: the key is printed. The warning goes to stderr, as JSON if JSON is requested.
#[test]
fn a_duplicate_name_is_a_warning() {
    let mock = Mock::with_override("POST", |_| {
        json(200, &CREATED.replacen('{', "{\"duplicateName\":true,", 1))
    });
    let sts = Sts::connected_to(&mock);
    let outcome = sts.try_key(&["create", "-n", "my-ingestion-api-key"]);
    let warning =
        "another key has the name my-ingestion-api-key too; the new key has the id 250558013078953";
    assert_eq!((outcome.code, outcome.stderr), (0, format!("[WARNING] {warning}\n")));
    assert_eq!(outcome.stdout, format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n"));
    let outcome = sts.try_key(&["create", "-n", "my-ingestion-api-key", "-o", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&outcome.stderr).unwrap(),
        value!({"warning": warning})
    );
    assert!(serde_json::from_str::<Value>(&outcome.stdout).is_ok());
}

// Scenario: each field of a key is changed. Then each optional field is removed.
// Guarantee: the body has the given fields only. A removed field is null.
#[test]
fn what_update_sends() {
    let mock = Mock::with_override("PATCH", |_| json(200, FULL));
    let sts = Sts::connected_to(&mock);
    for (args, body) in [
        (&["--name", "new"][..], "{\"name\":\"new\"}\n"),
        (&["--description", "d"], "{\"description\":\"d\"}\n"),
        (&["--description", ""], "{\"description\":null}\n"),
        (&["--expiration", "2020-05-22"], "{\"expiration\":1590105600000}\n"),
        (&["--no-expiration"], "{\"expiration\":null}\n"),
        (&["--enable"], "{\"enabled\":true}\n"),
        (&["--disable", "-n", "off"], "{\"name\":\"off\",\"enabled\":false}\n"),
    ] {
        assert_eq!(
            sts.key(&[&["update", "--id", "7"], args].concat()),
            "[SUCCESS] Ingestion Api Key updated: 7\n"
        );
        assert_eq!(
            (mock.last().line, mock.last().body.as_str()),
            (format!("PATCH {KEYS}/7"), body)
        );
    }
    let text = sts.key(&["update", "--id", "7", "--enable", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["ingestion-api-key"]["name"], "edge");
}

// Scenario: a key is rotated with and without an overlap and an expiration.
// Guarantee: if the overlap and the expiration are given, the body has them in milliseconds. The
// new key is printed in the same way as by `create`.
#[test]
fn what_rotate_sends() {
    let mock = Mock::with_override("POST /api/security/ingestion/api_keys/7/rotate", |_| {
        json(200, CREATED)
    });
    let sts = Sts::connected_to(&mock);
    assert_eq!(
        sts.key(&["rotate", "--id", "7"]),
        format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n")
    );
    assert_eq!(mock.last().body, "{}\n");
    assert_eq!(
        sts.key(&["rotate", "-i", "7", "--overlap", "1h30m", "--expiration", "2020-05-22", "-q"]),
        format!("{KEY}\n")
    );
    assert_eq!(mock.last().body, "{\"overlap\":5400000,\"expiration\":1590105600000}\n");
    sts.key(&["rotate", "-i", "7", "--overlap", "0"]);
    assert_eq!(mock.last().body, "{\"overlap\":0}\n");
}

// Scenario: servers have several versions: 5.0.0 with and without suffixes, later versions, older
// versions, and invalid versions.
// Guarantee: 5.0.0 and later versions are accepted. For an older version, a pre-release, or an
// invalid version, the exit code is 10 and the second request is not sent.
#[test]
fn the_server_must_be_new_enough() {
    for (version, code) in [
        (r#"{"major":5}"#, 0),
        (r#"{"major":5,"diff":"7","commit":"abc","isDev":true}"#, 0),
        (r#"{"major":6,"minor":1}"#, 0),
        (r#"{"major":5,"commit":"abc"}"#, 10),
        (r#"{"major":5,"isDev":true}"#, 10),
        (r#"{"major":4,"minor":99}"#, 10),
        (r#"{"major":6,"diff":"<b>\n"}"#, 10),
        ("{}", 10),
    ] {
        let mock = Mock::with_override("GET /api/server/info", move |_| {
            json(200, &format!("{{\"version\":{version}}}"))
        });
        let outcome = Sts::connected_to(&mock).try_key(&["list"]);
        assert_eq!(outcome.code, code, "{version}: {}", outcome.stderr);
        assert_eq!(mock.request_lines().len(), if code == 0 { 2 } else { 1 }, "{version}");
        assert!(
            code == 0
                || outcome
                    .stderr
                    .starts_with("[ERROR] This command needs StackState 5.0.0 or later, but ")
        );
    }
}
