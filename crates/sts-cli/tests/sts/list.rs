//! Tests of how keys are listed and described.

use serde_json::Value;

use crate::mock::{LISTED, Mock, json};
use crate::sts::Sts;

const MANY: &str = r#"[
    {"id":3,"lastUpdateTimestamp":1,"name":"zeta","expiration":1590105600000,"description":""},
    {"id":1,"lastUpdateTimestamp":1,"name":"<b>bold</b>","expiration":1590105601000,"description":"it's \"quoted\"; DROP TABLE"},
    {"id":2,"lastUpdateTimestamp":1,"name":"🔑 مفتاح","description":"a\nb\u001b[31m\u202e"},
    {"id":4,"lastUpdateTimestamp":1,"name":"zeta"}]"#;

/// A key with every field.
pub(crate) const FULL: &str = r#"{"id":7,"lastUpdateTimestamp":1590105600001,"name":"edge","expiration":1590105600000,"createdTimestamp":1590105600000,
    "lastUsedTimestamp":1590105660000,"accepted":12,"failed":2,"denied":1,"bytes":3456,"enabled":true,"status":"expiring","keyStart":"Zq3L","successor":8,
    "sources":[{"address":"192.0.2.1","userAgent":"otelcol\u001b/0.1","lastUsedTimestamp":1590105660000}],"unknown":{}}"#;

// Scenario: names and descriptions have markup, emoji, right-to-left text, line ends, terminal
// sequences and quotes. Expirations are at midnight and at other times.
// Guarantee: keys are sorted by name, and each key has one line. Harmful characters are escaped. A
// date is the same as the user typed it.
#[test]
fn a_list_is_sorted_and_escaped() {
    let mock = Mock::with_override("GET /api/security", |_| json(200, MANY));
    let expected = "\
ID | NAME        | EXPIRATION           | DESCRIPTION              \n\
1  | <b>bold</b> | 2020-05-22T00:00:01Z | it's \"quoted\"; DROP TABLE\n\
3  | zeta        | 2020-05-22           |                          \n\
4  | zeta        |                      | -                        \n\
2  | 🔑 مفتاح    |                      | a\\nb\\u{1b}[31m\\u{202e}   \n";
    assert_eq!(Sts::connected_to(&mock).key(&["list"]), expected);
    let text = Sts::connected_to(&mock).key(&["list", "-o", "json"]);
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

// Scenario: there is no key. The server says so with an empty list, with null, or with an empty
// body.
// Guarantee: the text says that there are no keys. The JSON has an empty list.
#[test]
fn an_empty_list() {
    for body in ["[]", "null", ""] {
        let mock = Mock::with_override("GET /api/security", move |_| json(200, body));
        assert_eq!(Sts::connected_to(&mock).key(&["list"]), "No ingestion api keys found.\n");
        assert_eq!(
            Sts::connected_to(&mock).key(&["list", "-o", "json"]),
            "{\n  \"ingestion-api-keys\": []\n}\n"
        );
    }
}

// Scenario: keys lack the fields that the original server always sends, or the fields are null, or
// the whole key is null. A name has bytes that are not UTF-8.
// Guarantee: as in the original command, an absent field is zero or empty. A description of the key
// does not have a time that the server did not send.
#[test]
fn a_key_without_the_usual_fields() {
    let mock = Mock::with_override("GET /api/security", |_| {
        let mut body =
            br#"[{"id":7,"name":"a"},{"id":8,"lastUpdateTimestamp":null,"name":null},null,
            {"id":9,"name":"b?"}]"#
                .to_vec();
        let at = body.iter().rposition(|byte| *byte == b'?').unwrap();
        body[at] = 0xff;
        let mut response = json(200, "");
        *response.body_mut() = body.into();
        response
    });
    let sts = Sts::connected_to(&mock);
    let expected = "\
ID | NAME | EXPIRATION | DESCRIPTION
8  |      |            | -          
0  |      |            | -          
7  | a    |            | -          
9  | b\u{fffd}   |            | -          
";
    assert_eq!(sts.key(&["list"]), expected);
    let keys = serde_json::from_str::<Value>(&sts.key(&["list", "-o", "json"])).unwrap();
    let key = serde_json::json!({"id": 7, "lastUpdateTimestamp": 0, "name": "a"});
    assert_eq!(keys["ingestion-api-keys"][2], key);
    let mock = Mock::with_override("GET /api/security", |_| json(200, r#"{"id":7,"name":"a"}"#));
    let described = Sts::connected_to(&mock).key(&["describe", "-i", "7"]);
    assert_eq!(described, "ID:          7\nName:        a\nExpiration:  never\n");
}

// Scenario: keys with and without counters are listed with `--wide`.
// Guarantee: a field that the server did not send is printed as a dash. No row is wrapped if stdout
// is a pipe.
#[test]
fn a_wide_list() {
    let mock = Mock::with_override("GET /api/security", |_| {
        json(200, &format!("[{FULL},{}", &LISTED[1..]))
    });
    let expected = "\
ID              | NAME                 | STATUS   | EXPIRATION | LAST USE             | ACCEPTED | FAILED | DENIED | BYTES | DESCRIPTION\n\
7               | edge                 | expiring | 2020-05-22 | 2020-05-22T00:01:00Z | 12       | 2      | 1      | 3456  | -          \n\
250558013078953 | my-ingestion-api-key | -        |            | -                    | -        | -      | -      | -     | -          \n";
    assert_eq!(Sts::connected_to(&mock).key(&["list", "--wide"]), expected);
}

// Scenario: a key is described with two servers. The first server sends all fields. The second
// server has only the documented operations and fields.
// Guarantee: every field that the server sends is printed. With the second server, the command
// finds the key in the list of keys.
#[test]
fn a_key_is_described() {
    let mock = Mock::with_override("GET /api/security/ingestion/api_keys/7", |_| json(200, FULL));
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
Failed:      2
Denied:      1
Bytes:       3456
Replaced by: 8
Used from:   192.0.2.1, otelcol\\u{1b}/0.1, 2020-05-22T00:01:00Z
";
    assert_eq!(Sts::connected_to(&mock).key(&["describe", "--id", "7"]), expected);
    let sparse = "ID:          250558013078953\nName:        my-ingestion-api-key\nExpiration:  \
         never\nLast update: 2020-05-22T00:00:00Z\n";
    assert_eq!(Sts::connected_to(&mock).key(&["describe", "-i", "250558013078953"]), sparse);
    let unknown = Sts::connected_to(&mock).try_key(&["describe", "-i", "9"]);
    assert_eq!(
        (unknown.code, unknown.stderr.as_str()),
        (
            2,
            "[ERROR] There is no key with the id 9\nTo see the ids run `sts ingestion-api-key \
             list`\n"
        )
    );
    let text = Sts::connected_to(&mock).key(&["describe", "-i", "7", "-o", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["ingestion-api-key"]["sources"][0]["address"],
        "192.0.2.1"
    );
}
