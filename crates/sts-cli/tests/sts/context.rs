//! Tests of the commands on contexts.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json as value};

use crate::mock::{INFO, Mock, json};
use crate::sts::{Outcome, Sts};

/// Returns the expected result of a command that succeeds with this output.
pub(crate) fn ok(stdout: &str) -> Outcome {
    Outcome { code: 0, stdout: stdout.to_owned(), stderr: String::new() }
}

// Scenario: a context is saved while no configuration file exists. Then a second context is saved.
// Guarantee: the server receives the token of the first context. The file has the format of the
// original command, and only its owner can read it. The second context is the current context.
#[test]
fn a_context_is_saved() {
    let mock = Mock::contract();
    let (sts, url) = (Sts::new(), format!("{}/", mock.url()));
    let outcome = sts.run(&["context", "save", "--url", &url, "--api-token", "tok"]);
    assert_eq!(
        outcome,
        ok(&format!(
            "[SUCCESS] Connection verified to {url} (Platform version: 6.0.0)\n[SUCCESS] Saved \
             context: 'default'\n"
        ))
    );
    assert_eq!(
        (mock.last().line.as_str(), mock.last().header("x-api-token")),
        ("GET /api/server/info", "tok")
    );
    let args = [
        "context",
        "save",
        "-n",
        "other",
        "--url",
        "https://sts.example",
        "--service-token",
        "true",
        "--api-path",
        "/x",
        "--skip-validate",
    ];
    assert_eq!(sts.run(&args), ok("[SUCCESS] Saved context: 'other'\n"));
    let expected = format!(
        "\
contexts:
    - name: default
      context:
        url: {url}
        api-token: tok
        api-path: /api
        admin-api-path: \"\"
        skip-ssl: false
    - name: other
      context:
        url: https://sts.example
        service-token: \"true\"
        api-path: /x
        admin-api-path: \"\"
        skip-ssl: false
current-context: other
"
    );
    assert_eq!(sts.read_config(), expected);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&sts.config()), 0o600);
    let names = std::fs::read_dir(sts.config().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names = names.collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["config.yaml", "config.yaml.lock"]);
    assert_eq!(mock.request_lines().len(), 1);
}

// Scenario: eight processes save one context each. The server responds only after all processes
// have sent their requests.
// Guarantee: the file has all eight contexts.
#[test]
fn contexts_are_saved_at_the_same_time() {
    const N: usize = 8;
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(N));
    let mock = Mock::start(move |_| {
        tokio::task::block_in_place(|| barrier.wait());
        json(200, INFO)
    });
    let (sts, url) = (Sts::new(), mock.url());
    std::thread::scope(|scope| {
        for at in 0..N {
            let (sts, url) = (&sts, &url);
            scope.spawn(move || {
                let name = format!("c{at}");
                let outcome =
                    sts.run(&["context", "save", "-n", &name, "--url", url, "--api-token", "a"]);
                assert_eq!(outcome.code, 0, "{outcome:?}");
            });
        }
    });
    let file = sts.read_config();
    for at in 0..N {
        assert!(file.contains(&format!("- name: c{at}\n")), "{file}");
    }
}

/// A file of the original command. It has a field that this command does not know.
pub(crate) const ORIGINALS: &str = "contexts:
    - name: default
      context:
        url: https://a.example
        api-token: tok
        api-path: /api
        admin-api-path: /admin
        skip-ssl: false
        ca-cert-base64-data: abc
    - name: other
      context:
        url: https://b.example
        service-token: svctok-x
        api-path: /api
        admin-api-path: \"\"
        skip-ssl: true
current-context: default
";

// Scenario: commands name a context that does not exist.
// Guarantee: the exit code is 8, and the file is not changed.
#[test]
fn unknown_contexts_are_reported() {
    let sts = Sts::new();
    sts.write_config(ORIGINALS);
    for args in [
        &["context", "set", "-n", "no"][..],
        &["context", "delete", "-n", "no"],
        &["context", "validate", "-n", "no"],
        &["ingestion-api-key", "list", "-c", "no"],
    ] {
        let outcome = sts.run(args);
        assert_eq!(
            (outcome.code, outcome.stderr.lines().next().unwrap()),
            (8, "[ERROR] Context with name 'no' not found"),
            "{args:?}"
        );
    }
    let outcome = sts.run(&["context", "set", "-n", "no", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&outcome.stderr).unwrap()["error"], true);
    assert_eq!(sts.read_config(), ORIGINALS);
}

// Scenario: a context is validated with two servers. One server reports its platform version, and
// an old server does not.
// Guarantee: only the settings of the file are used, and the version of the server does not matter.
#[test]
fn a_context_is_validated() {
    let mock = Mock::contract();
    let sts = Sts::new().with("STS_CLI_API_TOKEN", "env").with("STS_CLI_URL", "http://127.0.0.1:1");
    assert_eq!(
        sts.run(&["context", "save", "-n", "a", "--url", &mock.url(), "--api-token", "file"]).code,
        0
    );
    let expected = format!(
        "[SUCCESS] Connection verified to {} (Platform version: 6.0.0)\n[SUCCESS] Context a is \
         valid.\n\n",
        mock.url()
    );
    assert_eq!(sts.run(&["context", "validate"]), ok(&expected));
    assert_eq!(mock.last().header("x-api-token"), "file");
    let text = sts.run(&["context", "validate", "--name", "a", "-o", "json"]).stdout;
    let info = serde_json::from_str::<Value>(INFO).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        value!({"connected": true, "context": "a", "server-info": info})
    );
    let old = Mock::start(|_| json(200, r#"{"version":{"major":4}}"#));
    let outcome = sts.run(&["context", "save", "--url", &old.url(), "--api-token", "file"]);
    assert!(outcome.stdout.contains("(StackState version: 4.0.0)\n"), "{outcome:?}");
}

// Scenario: `context save` runs with wrong flags. The URL is missing or has an unsupported scheme,
// or the name is empty. In other cases, the token is wrong: there is no token, an empty token, two
// tokens, a Kubernetes token, or a token with something in it that was pasted by mistake.
// Guarantee: each case is an error. No request is sent, and the file is not written. Environment
// variables do not replace the missing flags.
#[test]
fn invalid_contexts_are_not_saved() {
    let sts = Sts::new().with("STS_CLI_URL", "http://127.0.0.1:1").with("STS_CLI_API_TOKEN", "env");
    for (args, code, message) in [
        (&["--api-token", "a"][..], 3, "Required flag(s) \"url\" not set"),
        (
            &["--url", "http://x", "--api-token", "a", "-n", ""],
            3,
            "The name of a context must not be empty: give another one with --name",
        ),
        (
            &["--url", "http://x", "--api-token", ""],
            3,
            "The flag --api-token is empty\nGive a token, and check the shell variable or the file \
             that it comes from",
        ),
        (
            &["--url", "http://x", "--service-token", "a\nb"],
            3,
            "The token has a line end in it: give it as one line",
        ),
        (
            &["--url", "http://x", "--service-token", "ApiKey a"],
            3,
            "The token begins with an authentication scheme: give only the text after it",
        ),
        (
            &["--url", "http://x"],
            3,
            "Exactly one of the flags \"api-token\" and \"service-token\" is required",
        ),
        (
            &["--url", "http://x", "--api-token", "a", "--service-token", "b"],
            3,
            "Exactly one of the flags \"api-token\" and \"service-token\" is required",
        ),
        (
            &["--url", "http://x", "--k8s-sa-token", "a"],
            3,
            "A Kubernetes service account token cannot be saved, because it is short-lived: give \
             --api-token or --service-token",
        ),
        (
            &["--url", "ftp://x", "--api-token", "a"],
            1,
            "Failed to validate the 'default' context:\n* URL ftp://x must start with \"https://\" \
             or \"http://\"",
        ),
    ] {
        let outcome = sts.run(&[&["context", "save"], args].concat());
        assert_eq!(
            (outcome.code, outcome.stderr),
            (code, format!("[ERROR] {message}\n")),
            "{args:?}"
        );
    }
    assert!(!sts.config().exists());
}

// Scenario: a context is saved with a token that has a line end after it. Then the file is changed
// so that the token has the line end in the file.
// Guarantee: the line end is neither saved nor sent.
#[test]
fn a_line_end_after_a_token_is_not_saved() {
    let mock = Mock::contract();
    let sts = Sts::new();
    for flag in ["--api-token", "--service-token"] {
        let args = ["context", "save", "--url", &mock.url(), flag, "tok\r\n"];
        assert_eq!(sts.run(&args).code, 0);
        assert!(sts.read_config().contains("-token: tok\n"), "{}", sts.read_config());
    }
    sts.write_config(&sts.read_config().replace("-token: tok\n", "-token: \"tok\\n\"\n"));
    sts.key(&["list"]);
    assert_eq!(mock.last().header("x-api-key"), "tok");
}

// Scenario: the file has contexts, but no current context.
// Guarantee: the message says that there is no current context, and how to set a current context.
#[test]
fn no_current_context() {
    let sts = Sts::new();
    sts.write_config(&ORIGINALS.replace("current-context: default\n", ""));
    let outcome = sts.run(&["context", "show"]);
    let expected =
        "[ERROR] There is no current context\nSet one with `sts context set --name NAME`\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (8, expected));
}
