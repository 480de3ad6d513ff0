use std::fs;
use std::path::Path;

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::{BearerTokenAuthConfig, TokenSource};

/// Looks up a variable in an environment with one ingestion key.
fn env(name: &str) -> Option<String> {
    (name == "API_KEY").then(|| "iapikeyok-aaaaa-bbbb-ccccc-ddddd".to_owned())
}

fn read(text: &str) -> Result<BearerTokenAuthConfig, String> {
    BearerTokenAuthConfig::from_yaml(text, &env).map_err(|error| error.to_string())
}

fn scheme(config: &BearerTokenAuthConfig) -> &str {
    config.scheme().unwrap().as_str()
}

fn tokens(text: &str) -> Vec<String> {
    match read(text).unwrap().source() {
        TokenSource::Tokens(tokens) => {
            tokens.iter().map(|token| token.expose_secret().to_owned()).collect()
        }
        TokenSource::File(_) => panic!("not a file"),
    }
}

/// Scenario: the documented block, the shortest block, and a block with every key are read.
/// Guarantee: the result has the values that are given, and the Collector's defaults for the
/// others.
#[test]
fn keys() {
    let config = read("scheme: StackState\ntoken: \"${env:API_KEY}\"").unwrap();
    assert_eq!((config.header().as_str(), scheme(&config)), ("authorization", "StackState"));
    let config = read("token: x").unwrap();
    assert_eq!((config.header().as_str(), scheme(&config)), ("authorization", "Bearer"));
    let config = read("header: X-Api-Key\nscheme: ''\nfilename: /run/secrets/key").unwrap();
    assert_eq!((config.header().as_str(), config.scheme()), ("x-api-key", None));
    assert!(
        matches!(config.source(), TokenSource::File(path) if path == Path::new("/run/secrets/key"))
    );
}

/// Scenario: tokens are given in every form, some with several lines.
/// Guarantee: each line that is not blank is a token. Blanks at both ends of a line are removed.
#[test]
fn token_sources() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    fs::write(&path, "\n  first  \r\n\nsecond\n\n").unwrap();
    let file = format!("${{file:{}}}", path.display());
    assert_eq!(tokens("token: \"${env:API_KEY}\""), ["iapikeyok-aaaaa-bbbb-ccccc-ddddd"]);
    assert_eq!(tokens("token: pre-${env:API_KEY}"), ["pre-iapikeyok-aaaaa-bbbb-ccccc-ddddd"]);
    assert_eq!(tokens("token: a$$b"), ["a$b"]);
    assert_eq!(tokens("token: \" a\\r\\n\""), ["a"]);
    assert_eq!(tokens("tokens: [\"a\\n\", \"\\tb \"]"), ["a", "b"]);
    assert_eq!(tokens(&format!("token: {file}")), ["first", "second"]);
    assert_eq!(tokens(&format!("tokens:\n- '{file}'\n- third")), ["first", "second", "third"]);
    fs::write(&path, "0123\n").unwrap();
    assert_eq!(tokens(&format!("token: {file}")), ["0123"]);
    assert_eq!(tokens(&format!("tokens: ['{file}']")), ["0123"]);
}

/// Scenario: blocks that cannot be used are read.
/// Guarantee: each block has one problem. The problem has the path of the wrong key and says what
/// to do.
#[test]
fn refused() {
    let no_token = "there is no token: give `token`, as in token: \"${env:API_KEY}\", or `tokens`, or `filename` (line 1)";
    let illegal = "the token has a character other than visible ASCII, or a comma or a quote";
    for (text, expected) in [
        ("", no_token),
        ("scheme: X", no_token),
        ("token:", no_token),
        ("token: ''", "token: is empty: set what it is taken from"),
        ("token: '  '", "token: is empty: set what it is taken from"),
        ("token: ${env:API_KEY2}", "token: the environment variable `API_KEY2` is not set"),
        ("token: 0123", "token: expected a string, found an integer: put it in quotes"),
        ("token: [x]", "token: expected a string, found a list"),
        ("token: a b", "token: the token has a blank inside (line 1)"),
        ("token: a,b", "token: the token has a comma (line 1)"),
        ("token: '\"a\"'", "token: the token has a quote (line 1)"),
        (
            "token: StackState a",
            "token: the token begins with a scheme such as `Bearer`: give only",
        ),
        ("token: 'Authorization: bearer a'", "token: the token begins with a scheme"),
        ("token: suseobservability a", "token: the token begins with a scheme"),
        (
            "token: \"a\\nb c\\n\"",
            "token: the token has a blank inside (line 2 of the value) (line 1)",
        ),
        ("token: \"a\\0b\"", &format!("token: {illegal} (line 1)")),
        ("tokens: []", "tokens: is empty: there is no token"),
        ("tokens: x", "tokens: expected a list, found a string"),
        ("tokens: [x, '']", "tokens[1]: is empty"),
        ("tokens: [x, ]\nscheme: 7", "scheme: expected a string, found an integer"),
        ("tokens: [x, null]", "tokens[1]: is empty"),
        ("tokens: [\u{e9}]", &format!("tokens[0]: {illegal}")),
        ("filename: ''", "filename: is empty"),
        ("filename: {}", "filename: expected a string, found a map"),
        (
            "token: a\ntokens: [b]",
            "more than one of `token`, `tokens` and `filename` is given: keep one (line 1)",
        ),
        ("token: a\nfilename: b", "more than one of"),
        ("tokens: [a]\nfilename: b", "more than one of"),
        ("token: a\nscheme: ' Bearer'", "scheme: the scheme has a character"),
        ("token: a\nscheme: SUSE Observability", "scheme: the scheme has a character"),
        ("token: a\nheader: ''", "header: expected the name of an HTTP header"),
        ("token: a\nheader: a b", "header: expected the name of an HTTP header"),
        (
            "token: a\nheader: Content-Type",
            "header: this header belongs to the protocol and cannot be set",
        ),
        ("token: a\nheader: TE", "header: this header belongs to the protocol and cannot be set"),
        (
            "token: a\nheader: grpc-timeout",
            "header: this header belongs to the protocol and cannot be set",
        ),
        ("token: a\nheader: [a]", "header: expected a string, found a list"),
        (
            "token: a\nbearertoken: b",
            "bearertoken: unknown key; known are header, scheme, token, tokens, filename (line 2)",
        ),
        ("- token: a", "expected a map, found a list (line 1)"),
        ("token", "expected a map, found a string (line 1)"),
        ("token: [", "not valid YAML"),
    ] {
        let problems = read(text).unwrap_err();
        assert!(problems.starts_with(expected), "{text}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{text}: {problems}");
    }
}

/// Scenario: the header for the credential is a header that HTTP or gRPC needs for itself.
/// Guarantee: the configuration and the builder report an error for the same headers.
#[cfg(feature = "client")]
#[test]
fn protocol_headers() {
    use http::HeaderName;

    use crate::client::BearerTokenAuth;

    let built = |name: &str| {
        let name = HeaderName::try_from(name).unwrap();
        BearerTokenAuth::builder().token("a").header(name).build_unbound()
    };
    for name in [
        "Accept-Encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "grpc-timeout",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-key-bin",
    ] {
        assert!(read(&format!("token: a\nheader: {name}")).is_err(), "{name}");
        assert!(built(name).is_err(), "{name}");
    }
    for name in ["authorization", "x-grpc-key", "x-bin-key"] {
        assert!(read(&format!("token: a\nheader: {name}")).is_ok(), "{name}");
        assert!(built(name).is_ok(), "{name}");
    }
}

/// Scenario: tokens are empty because the variables or files that the block refers to are empty.
/// Guarantee: the message names exactly the variables and files that the text of the block names.
#[test]
fn empty_by_substitution() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, " \n").unwrap();
    let path = path.display().to_string();
    let (file, of_file) = (
        format!("token: '${{file:{path}}}'"),
        format!("token: is empty: the file `{path}` is empty (line 1)"),
    );
    let env = |name: &str| match name {
        "EMPTY" => Some(String::new()),
        "NAME" => Some("EMPTY".to_owned()),
        "REF" => Some("${env:EMPTY}".to_owned()),
        "LIST" => Some("[]".to_owned()),
        "ITEMS" => Some("[a, '']".to_owned()),
        "BLOCK" => Some("token: ${env:EMPTY}".to_owned()),
        _ => None,
    };
    for (text, expected) in [
        (
            "token: '${env:OTHER_KEY:-}'",
            "token: is empty: the environment variable `OTHER_KEY` is empty or not set (line 1)",
        ),
        (
            "token: '${env:EMPTY}'",
            "token: is empty: the environment variable `EMPTY` is empty or not set (line 1)",
        ),
        (
            "token: ' ${EMPTY} '",
            "token: is empty: the environment variable `EMPTY` is empty or not set (line 1)",
        ),
        (&file, &of_file),
        (
            "token: '${env:EMPTY}${env:X:- }'",
            "token: is empty: the environment variable `EMPTY` is empty or not set, the environment variable `X` is empty or not set \
             (line 1)",
        ),
        (
            "token: '${env:REF}'",
            "token: is empty: the environment variable `REF` refers to something empty (line 1)",
        ),
        (
            "token: '${env:${env:NAME}}'",
            "token: is empty: the environment variable `NAME` refers to something empty (line 1)",
        ),
        (
            "tokens: [a, '${env:EMPTY}']",
            "tokens[1]: is empty: the environment variable `EMPTY` is empty or not set (line 1)",
        ),
        (
            "tokens: '${env:EMPTY}'",
            "tokens: is empty: the environment variable `EMPTY` is empty or not set (line 1)",
        ),
        (
            "tokens: '${env:LIST}'",
            "tokens: is empty: the environment variable `LIST` refers to something empty (line 1)",
        ),
        (
            "tokens: '${env:ITEMS}'",
            "tokens[1]: is empty: the environment variable `ITEMS` refers to something empty (line 1)",
        ),
        (
            "filename: '${env:EMPTY}'",
            "filename: is empty: the environment variable `EMPTY` is empty or not set (line 1)",
        ),
        (
            "${env:BLOCK}",
            "token: is empty: the environment variable `BLOCK` refers to something empty (line 1)",
        ),
    ] {
        let error = BearerTokenAuthConfig::from_yaml(text, &env).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

/// Scenario: a block has a mistake in every key.
/// Guarantee: all mistakes are reported, without any part of a token.
#[test]
fn all_problems() {
    let problems =
        read("header: host\nscheme: a b\ntokens: ['canary canary', ok, [canary]]\nextra: canary")
            .unwrap_err();
    assert_eq!(problems.lines().count(), 5, "{problems}");
    assert!(!problems.contains("canary"), "{problems}");
}

/// Scenario: a valid block contains a secret.
/// Guarantee: `Debug` hides the secret.
#[test]
fn debug() {
    let config = read("tokens: [canary]").unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Scenario: a secret is substituted into any key of the block.
    /// Guarantee: no problem shows the secret, and `Debug` of the block does not show a token.
    #[test]
    fn no_output_holds_a_secret(before in "[a-z:{}\\[\\]$\" \n-]{0,6}", after in "[a-z:{}\\[\\], $\"\n-]{0,6}") {
        let secret = format!("{before}canary{after}");
        let read = |block: &str| {
            BearerTokenAuthConfig::from_yaml(block, &|name| (name == "S").then(|| secret.clone()))
        };
        for block in ["${S}", "token: ${S}", "token: '${S} ${S}'", "tokens: '${S}'", "tokens: ['${S}']"] {
            let output = format!("{:?}", read(block));
            prop_assert!(!output.contains("canary"), "{block}: {output}");
        }
        // `Debug` shows the scheme, the header and the path when they are valid, because valid
        // values of these settings are not secret.
        for block in [
            "{token: a, scheme: '${S}'}",
            "{token: a, header: '${S}'}",
            "{token: a, '${S}': '${S}'}",
            "filename: '${file:${S}}'",
        ] {
            if let Err(error) = read(block) {
                let output = format!("{error} {error:?}");
                prop_assert!(!output.contains("canary"), "{block}: {output}");
            }
        }
    }
}
