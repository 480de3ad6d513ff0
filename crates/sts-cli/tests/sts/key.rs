//! What each command on keys sends and prints.

use serde_json::{Value, json as value};

use crate::mock::{CREATED, KEY, LISTED, Mock, json};
use crate::sts::Sts;

const KEYS: &str = "/api/security/ingestion/api_keys";

// Scenario: the documentation's three commands against a server that has the contract's calls and
// fields only. Guarantee: each prints the documented text, after asking what the server is.
#[test]
fn the_documented_commands() {
    let mock = Mock::contract();
    let sts = Sts::of(&mock);
    assert_eq!(
        sts.key(&["create", "--name", "my-ingestion-api-key"]),
        format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n")
    );
    let table = "ID              | NAME                 | EXPIRATION | DESCRIPTION\n250558013078953 | my-ingestion-api-key |            | -          \n";
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
        format!("DELETE {KEYS}/250558013078953"),
    ];
    assert_eq!(mock.lines(), calls);
}

// Scenario: the same with `-o json`.
// Guarantee: stdout is the documented JSON alone.
#[test]
fn the_documented_json() {
    let mock = Mock::contract();
    let sts = Sts::of(&mock);
    let created = "{\n  \"ingestion-api-key\": {\n    \"apiKey\": \"iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN\",\n    \"id\": 250558013078953,\n    \"lastUpdateTimestamp\": 1590105600001,\n    \"name\": \"my-ingestion-api-key\"\n  }\n}\n";
    assert_eq!(sts.key(&["create", "-n", "my-ingestion-api-key", "-o", "json"]), created);
    let listed = "{\n  \"ingestion-api-keys\": [\n    {\n      \"id\": 250558013078953,\n      \"lastUpdateTimestamp\": 1590105600001,\n      \"name\": \"my-ingestion-api-key\"\n    }\n  ]\n}\n";
    assert_eq!(sts.key(&["list", "--output=json"]), listed);
    assert_eq!(
        sts.key(&["delete", "-i", "7", "-ojson"]),
        "{\n  \"deleted-ingestion-api-key\": 7\n}\n"
    );
}

// Scenario: a key is created with everything, with blanks around the date, with nothing, and with
// empty values. Guarantee: the body has what was given and no more, is JSON with a line end, and
// names its type without a charset.
#[test]
fn what_create_sends() {
    let mock = Mock::contract();
    let sts = Sts::of(&mock);
    sts.key(&[
        "create",
        "--name",
        "edge",
        "--description",
        "for <b>",
        "--expiration",
        " 2020-05-22 ",
    ]);
    let asked = mock.last();
    assert_eq!(
        asked.body,
        "{\"name\":\"edge\",\"description\":\"for <b>\",\"expiration\":1590105600000}\n"
    );
    assert_eq!(
        (asked.header("content-type"), asked.header("accept")),
        ("application/json", "application/json")
    );
    assert_eq!(asked.header("user-agent"), concat!("StackStateCLI/", env!("CARGO_PKG_VERSION")));
    sts.key(&["create", "-n", ""]);
    assert_eq!(mock.last().body, "{\"name\":\"\"}\n");
    sts.key(&["create", "-n", "edge", "--description", ""]);
    assert_eq!(mock.last().body, "{\"name\":\"edge\"}\n");
}

// Scenario: names with emoji, right-to-left text, markup, line ends, quotes and SQL are given to
// keys. Guarantee: the server gets each as it was typed; whether it is allowed is the server's to
// say.
#[test]
fn any_name_is_sent_as_it_is() {
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
        Sts::of(&mock).key(&["create", &format!("--name={name}")]);
        assert_eq!(
            serde_json::from_str::<Value>(&mock.last().body).unwrap(),
            value!({"name": name})
        );
    }
}

// Scenario: a key is created with `--quiet`, and in a pipe with a terminal's environment.
// Guarantee: the former prints the key alone; the latter has no colour and no symbol.
#[test]
fn a_script_reads_the_key_alone() {
    let mock = Mock::contract();
    let sts = Sts::of(&mock).with("TERM", "xterm-256color");
    assert_eq!(sts.key(&["create", "-n", "edge", "--quiet"]), format!("{KEY}\n"));
    assert_eq!(
        sts.key(&["create", "-n", "edge"]),
        format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n")
    );
}

// Scenario: a key is created, and whoever was to read it has gone.
// Guarantee: exit code 6, and the id of the key that nobody has seen; the key is not on stderr.
#[test]
fn a_key_that_nobody_reads() {
    let mock = Mock::contract();
    for args in [
        &["create", "-n", "edge"][..],
        &["create", "-n", "edge", "-q"],
        &["create", "-n", "edge", "-o", "json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Sts::of(&mock).command(&[&["ingestion-api-key"], args].concat());
        let output = command.stdout(writer).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{stderr}");
        assert!(
            stderr.contains(
                "The key with the id 250558013078953 was created and nobody has seen it: delete it"
            ),
            "{stderr}"
        );
        assert!(!stderr.contains(KEY));
    }
}

// Scenario: the server says that the name is taken.
// Guarantee: the key is printed, and the warning is on stderr, as JSON where JSON is asked for.
#[test]
fn a_name_that_is_taken_is_warned_of() {
    let mock =
        Mock::but("POST", |_| json(200, &CREATED.replacen('{', "{\"duplicateName\":true,", 1)));
    let sts = Sts::of(&mock);
    let outcome = sts.try_key(&["create", "-n", "my-ingestion-api-key"]);
    let warning =
        "another key has the name my-ingestion-api-key too; this one has the id 250558013078953";
    assert_eq!((outcome.code, outcome.stderr), (0, format!("[WARNING] {warning}\n")));
    assert_eq!(outcome.stdout, format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n"));
    let outcome = sts.try_key(&["create", "-n", "my-ingestion-api-key", "-o", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&outcome.stderr).unwrap(),
        value!({"warning": warning})
    );
    assert!(serde_json::from_str::<Value>(&outcome.stdout).is_ok());
}

const MANY: &str = r#"[
    {"id":3,"lastUpdateTimestamp":1,"name":"zeta","expiration":1590105600000,"description":""},
    {"id":1,"lastUpdateTimestamp":1,"name":"<b>bold</b>","expiration":1590105601000,"description":"it's \"quoted\"; DROP TABLE"},
    {"id":2,"lastUpdateTimestamp":1,"name":"🔑 مفتاح","description":"a\nb\u001b[31m\u202e"},
    {"id":4,"lastUpdateTimestamp":1,"name":"zeta"}]"#;

// Scenario: names and descriptions with markup, emoji, right-to-left text, line ends, terminal
// sequences and quotes; dates of midnight and not. Guarantee: keys are sorted by name, one a line;
// what a terminal would act upon is spelled out; a date is the one that was typed.
#[test]
fn a_list_is_sorted_and_harmless() {
    let mock = Mock::but("GET /api/security", |_| json(200, MANY));
    let expected = "\
ID | NAME        | EXPIRATION           | DESCRIPTION              \n\
1  | <b>bold</b> | 2020-05-22T00:00:01Z | it's \"quoted\"; DROP TABLE\n\
3  | zeta        | 2020-05-22           |                          \n\
4  | zeta        |                      | -                        \n\
2  | 🔑 مفتاح    |                      | a\\nb\\u{1b}[31m\\u{202e}   \n";
    assert_eq!(Sts::of(&mock).key(&["list"]), expected);
    let text = Sts::of(&mock).key(&["list", "-o", "json"]);
    assert!(text.contains(r#""name": "\u003cb\u003ebold\u003c/b\u003e""#), "{text}");
    assert!(text.contains(r#""description": "a\nb\u001b[31m\u202e""#), "{text}");
    let names = serde_json::from_str::<Value>(&text).unwrap()["ingestion-api-keys"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        names.iter().map(|key| key["id"].as_i64().unwrap()).collect::<Vec<_>>(),
        [1, 3, 4, 2]
    );
}

// Scenario: there is no key.
// Guarantee: it is said so, and JSON has an empty list.
#[test]
fn an_empty_list() {
    let mock = Mock::but("GET /api/security", |_| json(200, "[]"));
    assert_eq!(Sts::of(&mock).key(&["list"]), "No ingestion api keys found.\n");
    assert_eq!(Sts::of(&mock).key(&["list", "-o", "json"]), "{\n  \"ingestion-api-keys\": []\n}\n");
}

const FULL: &str = r#"{"id":7,"lastUpdateTimestamp":1590105600001,"name":"edge","expiration":1590105600000,"createdTimestamp":1590105600000,
    "lastUsedTimestamp":1590105660000,"accepted":12,"denied":1,"bytes":3456,"enabled":true,"status":"expiring","keyStart":"Zq3L","successor":8,
    "sources":[{"address":"192.0.2.1","userAgent":"otelcol\u001b/0.1","lastUsedTimestamp":1590105660000}],"unknown":{}}"#;

// Scenario: a list of keys with counters, and without, is asked for wide.
// Guarantee: what is known is shown, what is not is a dash, and no row is wrapped in a pipe.
#[test]
fn a_wide_list() {
    let mock = Mock::but("GET /api/security", |_| json(200, &format!("[{FULL},{}", &LISTED[1..])));
    let expected = "\
ID              | NAME                 | STATUS   | EXPIRATION | LAST USE             | ACCEPTED | DENIED | BYTES | DESCRIPTION\n\
7               | edge                 | expiring | 2020-05-22 | 2020-05-22T00:01:00Z | 12       | 1      | 3456  | -          \n\
250558013078953 | my-ingestion-api-key | -        |            | -                    | -        | -      | -     | -          \n";
    assert_eq!(Sts::of(&mock).key(&["list", "--wide"]), expected);
}

// Scenario: a key is described by a server that knows more than the contract, and by one that knows
// no less. Guarantee: everything that is known is shown; the latter's key is found in its list.
#[test]
fn a_key_is_described() {
    let mock = Mock::but("GET /api/security/ingestion/api_keys/7", |_| json(200, FULL));
    let expected = "\
ID:          7
Name:        edge
Status:      expiring
Starts with: iapikeyok-Zq3L
Expiration:  2020-05-22
Created:     2020-05-22T00:00:00Z
Last update: 2020-05-22T00:00:00Z
Last use:    2020-05-22T00:01:00Z
Accepted:    12
Denied:      1
Bytes:       3456
Replaced by: 8
Used from:   192.0.2.1, otelcol\\u{1b}/0.1, 2020-05-22T00:01:00Z
";
    assert_eq!(Sts::of(&mock).key(&["describe", "--id", "7"]), expected);
    let sparse = "ID:          250558013078953\nName:        my-ingestion-api-key\nExpiration:  never\nLast update: 2020-05-22T00:00:00Z\n";
    assert_eq!(Sts::of(&mock).key(&["describe", "-i", "250558013078953"]), sparse);
    let unknown = Sts::of(&mock).try_key(&["describe", "-i", "9"]);
    assert_eq!(
        (unknown.code, unknown.stderr.as_str()),
        (2, "[ERROR] There is no key with the id 9\n")
    );
    let text = Sts::of(&mock).key(&["describe", "-i", "7", "-o", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["ingestion-api-key"]["sources"][0]["address"],
        "192.0.2.1"
    );
}

// Scenario: each field of a key is changed, and cleared.
// Guarantee: the body has what was given, null for what is cleared, and nothing else.
#[test]
fn what_update_sends() {
    let mock = Mock::but("PATCH", |_| json(200, FULL));
    let sts = Sts::of(&mock);
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
// Guarantee: both are sent in milliseconds if given, and the new key is printed as a created one.
#[test]
fn what_rotate_sends() {
    let mock = Mock::but("POST /api/security/ingestion/api_keys/7/rotate", |_| json(200, CREATED));
    let sts = Sts::of(&mock);
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

// Scenario: servers that are 5.0.0 in each form of a version, newer, older, and without a version.
// Guarantee: 5.0.0 and newer will do; what is older, a pre-release or unreadable ends with 10
// before the call.
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
        let mock = Mock::but("GET /api/server/info", move |_| {
            json(200, &format!("{{\"version\":{version}}}"))
        });
        let outcome = Sts::of(&mock).try_key(&["list"]);
        assert_eq!(outcome.code, code, "{version}: {}", outcome.stderr);
        assert_eq!(mock.lines().len(), if code == 0 { 2 } else { 1 }, "{version}");
        assert!(
            code == 0
                || outcome
                    .stderr
                    .starts_with("[ERROR] This command needs StackState 5.0.0 or newer, and ")
        );
    }
}
