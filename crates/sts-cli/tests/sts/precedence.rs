//! Tests of where settings come from: flags, environment and file.

use crate::mock::Mock;
use crate::sts::Sts;

/// Returns the credential headers of the last request.
fn header(mock: &Mock) -> String {
    let request = mock.last();
    let names = ["x-api-token", "x-api-key", "x-api-servicebearer", "authorization"];
    let found = names
        .into_iter()
        .filter(|name| request.headers.contains_key(*name))
        .map(|name| format!("{name}: {}", request.header(name)));
    found.collect::<Vec<_>>().join(", ")
}

fn file(url: &str, token: &str) -> String {
    format!(
        "contexts:\n- name: a\n  context:\n    url: {url}\n    {token}\n- name: b\n  context:\n    \
         url: {url}\n    api-path: /b\n    service-token: file-b\ncurrent-context: a\n"
    )
}

// Scenario: commands run with each kind of credential. The credential is given as a flag, in the
// environment, or in the file. Some credentials have a line end or blanks around them.
// Guarantee: the credential is sent in the header of its kind, without what is around it. No other
// credential is sent.
#[test]
fn each_credential_has_its_header() {
    let mock = Mock::contract();
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "jwt\n").unwrap();
    let path = token.path().to_str().unwrap();
    let sts = || Sts::new().with("STS_CLI_URL", &mock.url());
    for (args, expected) in [
        (["--api-token", "t"], "x-api-token: t"),
        (["--api-token", "t\n"], "x-api-token: t"),
        (["--service-token", " t\r\n"], "x-api-key: t"),
        (["--k8s-sa-token", "t\n"], "x-api-servicebearer: t"),
        (["--k8s-sa-token-path", path], "x-api-servicebearer: jwt"),
    ] {
        sts().key(&[&["list"], &args[..]].concat());
        assert_eq!(header(&mock), expected);
    }
    for (name, value, expected) in [
        ("STS_CLI_API_TOKEN", "t\n", "x-api-token: t"),
        ("STS_CLI_SERVICE_TOKEN", "t\t", "x-api-key: t"),
        ("STS_CLI_K8S_SA_TOKEN", "t\r\n", "x-api-servicebearer: t"),
        ("STS_CLI_K8S_SA_TOKEN_PATH", path, "x-api-servicebearer: jwt"),
    ] {
        sts().with(name, value).key(&["list"]);
        assert_eq!(header(&mock), expected);
    }
    let sts = Sts::new();
    sts.write_config(&file(&mock.url(), "api-token: file-a"));
    sts.key(&["list"]);
    assert_eq!(header(&mock), "x-api-token: file-a");
}

// Scenario: the URL, the path, the token and the context are each set in several sources.
// Guarantee: each setting comes from its flag, or else from the environment, or else from the file.
// A token from a flag or from the environment replaces every kind of token in the file.
#[test]
fn flag_over_environment_over_file() {
    let (mock, other) = (Mock::contract(), Mock::contract());
    let sts = |variables: &[(&str, &str)]| {
        let sts = variables.iter().fold(Sts::new(), |sts, (name, value)| sts.with(name, value));
        sts.write_config(&file(&other.url(), "api-token: file-a"));
        sts
    };
    sts(&[("STS_CLI_URL", "http://127.0.0.1:1")]).key(&["list", "--url", &other.url()]);
    assert_eq!(header(&other), "x-api-token: file-a");
    sts(&[("STS_CLI_SERVICE_TOKEN", "env"), ("STS_CLI_URL", &mock.url())]).key(&["list"]);
    assert_eq!(header(&mock), "x-api-key: env");
    sts(&[("STS_CLI_API_TOKEN", "env"), ("STS_CLI_URL", &mock.url())]).key(&[
        "list",
        "--api-token",
        "flag",
    ]);
    assert_eq!(header(&mock), "x-api-token: flag");
    sts(&[("STS_CLI_URL", ""), ("STS_CLI_API_TOKEN", "")]).key(&["list"]);
    assert_eq!(header(&other), "x-api-token: file-a");
    let outcome = sts(&[("STS_CLI_CONTEXT", "b")]).try_key(&["list"]);
    assert_eq!(
        (outcome.code, other.last().line.as_str(), header(&other).as_str()),
        (4, "GET /b/server/info", "x-api-key: file-b")
    );
    sts(&[("STS_CLI_CONTEXT", "b"), ("STS_CLI_API_PATH", "api/")]).key(&["list"]);
    assert_eq!(other.last().line, "GET /api/security/ingestion/api_keys");
    sts(&[("STS_CLI_CONTEXT", "b")]).key(&["list", "-c", "a"]);
    assert_eq!(header(&other), "x-api-token: file-a");
}

// Scenario: a context is saved for one server. A flag or the environment gives the URL of another
// server, with and without a token. There is no terminal.
// Guarantee: the token of the context is not sent to the other server. The message says how to give
// a token for it. A token beside the URL is sent, and so is the token of the context if the URL
// only has another spelling.
#[test]
fn a_saved_token_stays_with_its_server() {
    let (mock, other) = (Mock::contract(), Mock::contract());
    let saved = |token: &str| {
        let sts = Sts::new();
        sts.write_config(&file(&mock.url(), token));
        sts
    };
    let url = other.url();
    let expected = format!(
        "the token of the context 'a' is for {}, not for {url}\nGive a token for {url} with \
         --api-token, --service-token or STS_CLI_API_TOKEN, or save a context for it with `sts \
         context save --name NAME --url {url}`",
        mock.url()
    );
    for token in ["api-token: file-a", "service-token: file-a"] {
        let in_text = format!("[ERROR] T{}\n", &expected[1..]);
        let by_flag = saved(token).try_key(&["list", "--url", &url]);
        assert_eq!((by_flag.code, by_flag.stderr.as_str()), (1, in_text.as_str()));
        let by_variable = saved(token).with("STS_CLI_URL", &url).try_key(&["create", "-n", "k"]);
        assert_eq!((by_variable.code, by_variable.stderr), (1, in_text));
        let json = saved(token).try_key(&["list", "--url", &url, "-o", "json"]);
        let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!(error["error-message"], expected.as_str());
    }
    assert!(other.request_lines().is_empty() && mock.request_lines().is_empty());
    let sts = || saved("api-token: file-a");
    sts().key(&["list", "--url", &url, "--api-token", "flag"]);
    assert_eq!(header(&other), "x-api-token: flag");
    sts().with("STS_CLI_URL", &url).with("STS_CLI_SERVICE_TOKEN", "env").key(&["list"]);
    assert_eq!(header(&other), "x-api-key: env");
    let spelling = format!("http://127.1:{}/", mock.address.port());
    sts().key(&["list", "--url", &spelling]);
    assert_eq!(header(&mock), "x-api-token: file-a");
    for (saved, shown) in
        [("https://user:canary@sts.example", "https://sts.example"), ("canary", "another server")]
    {
        let sts = Sts::new();
        sts.write_config(&file(saved, "api-token: file-a"));
        let outcome = sts.try_key(&["list", "--url", &url]);
        assert!(outcome.stderr.contains(&format!(" is for {shown}, not for ")), "{outcome:?}");
        assert!(!outcome.stderr.contains("canary"), "{outcome:?}");
    }
}

// Scenario: in one case, a flag and the environment give two kinds of token. In another case, there
// is no token and no URL. In the last case, a context has two kinds of token and a URL without a
// scheme.
// Guarantee: the exit code is 1. The message lists everything that is wrong.
#[test]
fn exactly_one_token_is_required() {
    let two = "Could not load StackState CLI config\nFailed to validate the context:\n* Can only \
         specify one of {api-token | service-token | k8s-sa-token}\n";
    let outcome = Sts::new().with("STS_CLI_API_TOKEN", "a").try_key(&[
        "list",
        "--service-token",
        "b",
        "--url",
        "http://x",
    ]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.starts_with(&format!("[ERROR] {two}")), "{}", outcome.stderr);
    let outcome = Sts::new().try_key(&["list"]);
    assert!(
        outcome.stderr.contains(
            "\n* Missing field: url\n* Missing field: {api-token | service-token | k8s-sa-token}\n"
        ),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.ends_with("To create one try running `sts context save --help`\n"),
        "{}",
        outcome.stderr
    );
    let sts = Sts::new();
    sts.write_config(&file("sts.example", "api-token: a\n    service-token: b"));
    let expected = "[ERROR] Could not load StackState CLI config\nFailed to validate the 'a' \
         context:\n* URL sts.example must start with \"https://\" or \"http://\"\n* Can only \
         specify one of {api-token | service-token | k8s-sa-token}\n";
    let outcome = sts.try_key(&["list"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, expected));
    let json = sts.try_key(&["list", "-o", "json"]).stderr;
    assert!(
        json.starts_with(
            "{\n  \"error\": true,\n  \"error-message\": \"could not load StackState CLI config\\n"
        ),
        "{json}"
    );
}

// Scenario: the environment and the file give empty tokens, and tokens of blanks. In the last case,
// a flag gives an empty token.
// Guarantee: empty tokens are ignored, and a token from another source is used. If no source has a
// token, the command reports that the token is missing. An empty flag is an error, because its user
// expects that no other token is used.
#[test]
fn an_empty_token_is_ignored() {
    let mock = Mock::contract();
    let sts = Sts::new().with("STS_CLI_API_TOKEN", "\n");
    sts.write_config(&file(&mock.url(), "api-token: \" \"\n    service-token: s"));
    sts.key(&["list"]);
    assert_eq!(header(&mock), "x-api-key: s");
    let sts = Sts::new();
    sts.write_config(&file(&mock.url(), "api-token: \"\"\n    service-token: s"));
    sts.key(&["list"]);
    assert_eq!(header(&mock), "x-api-key: s");
    for flag in ["--api-token", "--service-token", "--k8s-sa-token"] {
        let outcome = sts.try_key(&["list", flag, ""]);
        let expected = format!(
            "[ERROR] The flag {flag} is empty\nGive a token, and check the shell variable or the \
             file that it comes from\n"
        );
        assert_eq!((outcome.code, outcome.stdout, outcome.stderr), (3, String::new(), expected));
    }
    sts.write_config(&file(&mock.url(), "api-token: \"\""));
    let missing = "\n* Missing field: {api-token | service-token | k8s-sa-token}\n";
    for args in [&["ingestion-api-key", "list"][..], &["context", "validate"]] {
        let outcome = sts.run(args);
        assert!(outcome.code == 1 && outcome.stderr.ends_with(missing), "{outcome:?}");
    }
}

// Scenario: the URL has a password, a query or a fragment, or is invalid.
// Guarantee: the exit code is 1. The message says where the URL comes from. It does not contain the
// password, the query, the fragment, or the invalid URL. It does not blame the configuration file,
// which does not exist.
#[test]
fn a_url_has_no_secret_parts() {
    for (url, part) in [
        ("http://user:canary@sts.example", "a user name or a password"),
        ("ftp://user:canary@sts.example", "URL must start with"),
        ("http://sts.example?canary", "query or a fragment"),
        (
            "http://[canary",
            "\n* the URL is invalid (invalid IPv6 address): give one such as \
             https://stackstate.example\n",
        ),
        ("http://sts.example/#canary", "query or a fragment"),
    ] {
        let outcome = Sts::new().try_key(&["list", "--url", url, "--api-token", "t"]);
        assert_eq!(outcome.code, 1);
        assert!(outcome.stderr.contains(part) && !outcome.stderr.contains("canary"), "{outcome:?}");
        assert!(outcome.stderr.ends_with("\nThe URL comes from --url\n"), "{outcome:?}");
    }
    let outcome = Sts::new().with("STS_CLI_URL", "sts.example").try_key(&["list"]);
    assert!(outcome.stderr.contains("\nThe URL comes from the variable STS_CLI_URL\n"));
    assert!(outcome.stderr.ends_with("try running `sts context save --help`\n"), "{outcome:?}");
}

// Scenario: the configuration file is broken, but flags and environment give every setting.
// Guarantee: the file is ignored with a warning.
#[test]
fn a_broken_file_is_ignored_if_it_is_not_needed() {
    let mock = Mock::contract();
    let sts = Sts::connected_to(&mock);
    sts.write_config("contexts: [");
    let outcome = sts.try_key(&["list"]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stderr.starts_with("[WARNING] ")
            && outcome
                .stderr
                .ends_with("the file is ignored, because the flags and the environment suffice\n")
    );
}

// Scenario: an environment variable has an invalid value: a wrong boolean, the path of a missing
// file, or a token with a line end.
// Guarantee: the command fails. The message says which setting is wrong, but does not contain the
// token.
#[test]
fn invalid_variables_are_reported() {
    for (name, value, expected) in [
        ("STS_SKIP_SSL", "no", "The environment variable STS_SKIP_SSL must be true or false"),
        (
            "STS_CLI_K8S_SA_TOKEN_PATH",
            "/nowhere/token",
            "Cannot read the Kubernetes token file /nowhere/token (No such file or directory (os \
             error 2))",
        ),
        (
            "STS_CLI_CA_CERT",
            "/nowhere/ca",
            "Cannot use the certificates in /nowhere/ca (No such file or directory (os error 2))",
        ),
        (
            "STS_CLI_API_TOKEN",
            "canary\nx",
            "The api-token has a line end in it: give it as one line",
        ),
    ] {
        let token = if name.ends_with("_PATH") || name.ends_with("_TOKEN") {
            &[][..]
        } else {
            &["--api-token", "t"]
        };
        let outcome = Sts::new()
            .with(name, value)
            .try_key(&[&["list", "--url", "http://127.0.0.1:1"], token].concat());
        assert_eq!((outcome.code, outcome.stderr), (1, format!("[ERROR] {expected}\n")), "{name}");
    }
}

// Scenario: the environment has a proxy. The server is on another host, and then on this host.
// Guarantee: requests to the other host are sent through the proxy, with a warning that the
// connection is not encrypted. Requests to this host are sent without the proxy and without a
// warning.
#[test]
fn proxies_of_the_environment() {
    let proxy = Mock::start(|_| crate::mock::json(200, crate::mock::INFO));
    let sts = || Sts::new().with("http_proxy", &proxy.url()).with("STS_CLI_API_TOKEN", "t");
    let outcome = sts().try_key(&["list", "--url", "http://sts.example"]);
    assert_eq!(proxy.request_lines()[0], "GET http://sts.example/api/server/info");
    assert!(outcome.stderr.starts_with(
        "[WARNING] the connection to http://sts.example/ is not encrypted, so \
                 others can read the credential: use https\n"
    ));
    let mock = Mock::contract();
    sts().key(&["list", "--url", &mock.url()]);
    assert_eq!((mock.request_lines().len(), proxy.request_lines().len()), (2, 2));
}
