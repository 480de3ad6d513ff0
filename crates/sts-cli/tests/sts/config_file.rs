//! Tests of the configuration file: its path, its formats, and broken files.

use std::os::unix::fs::PermissionsExt;

use crate::context::{ORIGINALS, ok};
use crate::mock::Mock;
use crate::sts::Sts;

// Scenario: the path of `--config` is a symbolic link to another symbolic link. The target of the
// second link does not exist.
// Guarantee: the target is created. Both links still exist.
#[test]
fn symbolic_links_are_followed() {
    let (sts, directory) = (Sts::new(), tempfile::TempDir::new().unwrap());
    let path = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink(path("second"), path("first")).unwrap();
    std::os::unix::fs::symlink("below/real.yaml", path("second")).unwrap();
    let first = path("first");
    let args = [
        "context",
        "save",
        "--url",
        "http://x",
        "--api-token",
        "a",
        "--skip-validate",
        "--config",
        first.to_str().unwrap(),
    ];
    assert_eq!(sts.run(&args).code, 0);
    assert!(
        std::fs::read_to_string(path("below/real.yaml"))
            .unwrap()
            .contains("current-context: default")
    );
    assert!(first.is_symlink() && path("second").is_symlink());
}

// Scenario: `sts context` lists, shows and changes the contexts of a file of the original command.
// Guarantee: the output is the same as that of the original command, as text and as JSON. Unknown
// fields of the file are kept.
#[test]
fn the_file_of_the_original_command() {
    let sts = Sts::new();
    sts.write_config(ORIGINALS);
    std::fs::set_permissions(sts.config(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        sts.run(&["context", "list"]),
        ok("NAME    | URL              \ndefault | https://a.example\nother   | \
             https://b.example\n")
    );
    let listed = "{\n  \"contexts\": [\n    {\n      \"name\": \"default\",\n      \"context\": \
         {\n        \"url\": \"https://a.example\",\n        \"api-token\": \"tok\",\n        \
         \"api-path\": \"/api\",\n        \"admin-api-path\": \"/admin\",\n        \"skip-ssl\": \
         false,\n        \"ca-cert-base64-data\": \"abc\"\n      }\n    },\n";
    assert!(sts.run(&["context", "list", "-o", "json"]).stdout.starts_with(listed));
    assert_eq!(sts.run(&["context", "show"]), ok("default\n"));
    assert_eq!(
        sts.run(&["context", "set", "--name", "other"]),
        ok("Current context set to other\n")
    );
    let shown = "{\n  \"current-context\": {\n    \"url\": \"https://b.example\",\n    \
         \"service-token\": \"svctok-x\",\n    \"api-path\": \"/api\",\n    \"admin-api-path\": \
         \"\",\n    \"skip-ssl\": true\n  },\n  \"name\": \"other\"\n}\n";
    assert_eq!(sts.run(&["context", "show", "-o", "json"]), ok(shown));
    assert!(sts.read_config().contains("ca-cert-base64-data: abc"));
    assert_eq!(std::fs::metadata(sts.config()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        sts.run(&["context", "set", "-n", "default", "-o", "json"]),
        ok("{\n  \"current-context\": \"default\"\n}\n")
    );
    assert_eq!(
        sts.run(&["context", "delete", "-n", "other"]),
        ok("[SUCCESS] Deleted context 'other'\n\n")
    );
    let outcome = sts.run(&["context", "delete", "-n", "default"]);
    assert_eq!(
        (outcome.code, outcome.stderr.lines().next().unwrap()),
        (3, "[ERROR] Cannot delete the current context (default)")
    );
}

// Scenario: the configuration file is not valid YAML. In a second case, the path of the file is a
// directory.
// Guarantee: saving a context is an error, and the file is not changed. The message has the
// position of the error in the file, but no part of the content.
#[test]
fn a_broken_file_is_not_overwritten() {
    let sts = Sts::new();
    let broken = "contexts:\n  - name: [canary\n";
    sts.write_config(broken);
    let args = ["context", "save", "--url", "http://x", "--api-token", "a", "--skip-validate"];
    let outcome = sts.run(&args);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains(&format!(
            "{} is not a valid configuration file (line ",
            sts.config().display()
        )),
        "{outcome:?}"
    );
    assert!(!outcome.stderr.contains("canary"), "{outcome:?}");
    assert_eq!(sts.read_config(), broken);
    assert_eq!(sts.run(&["ingestion-api-key", "list"]).code, 1);
    std::fs::remove_file(sts.config()).unwrap();
    std::fs::create_dir(sts.config()).unwrap();
    let outcome = sts.run(&args);
    assert!(outcome.code == 1 && outcome.stderr.contains("\ncannot read "), "{outcome:?}");
}

// Scenario: the directory of the configuration file cannot be created.
// Guarantee: the exit code is 6, and the message has the path of the file.
#[test]
fn a_file_that_cannot_be_written() {
    let args = [
        "context",
        "save",
        "--url",
        "http://x",
        "--api-token",
        "a",
        "--skip-validate",
        "--config",
        "/proc/sts/config.yaml",
    ];
    let outcome = Sts::new().run(&args);
    assert_eq!(outcome.code, 6);
    assert!(
        outcome.stderr.starts_with("[ERROR] Cannot write to file /proc/sts/config.yaml ("),
        "{outcome:?}"
    );
}

// Scenario: the file has the old format with a single context.
// Guarantee: this context has the name `default`, and its settings are used.
#[test]
fn the_old_flat_file() {
    let mock = Mock::contract();
    let sts = Sts::new();
    sts.write_config(&format!("url: {}\napi-token: old\n", mock.url()));
    assert_eq!(sts.run(&["context", "show"]), ok("default\n"));
    sts.key(&["list"]);
    assert_eq!(mock.last().header("x-api-token"), "old");
}

// Scenario: the environment has only the home directory. In a second case, a flag also gives the
// path of the file.
// Guarantee: without the flag, the file is in `.config` of the home directory. With the flag, the
// file is at the path that the flag gives.
#[test]
fn the_path_of_the_file() {
    let (sts, home) = (Sts::new(), tempfile::TempDir::new().unwrap());
    let other = home.path().join("other.yaml");
    for (flags, path) in [
        (vec![], home.path().join(".config/stackstate-cli/config.yaml")),
        (vec!["--config", other.to_str().unwrap()], other.clone()),
    ] {
        let args = ["context", "save", "--url", "http://x", "--api-token", "a", "--skip-validate"];
        let mut command = sts.command(&[&args[..], &flags].concat());
        assert!(
            command
                .env_remove("XDG_CONFIG_HOME")
                .env("HOME", home.path())
                .output()
                .unwrap()
                .status
                .success()
        );
        assert!(std::fs::read_to_string(path).unwrap().contains("current-context: default"));
    }
    assert!(!sts.config().exists());
}

// Scenario: there is no configuration file. In a second case, there is an empty file.
// Guarantee: commands on contexts report that the file is missing, and how to create it. An empty
// file has no contexts.
#[test]
fn a_missing_or_empty_file() {
    let sts = Sts::new();
    let outcome = sts.run(&["context", "list"]);
    let path = sts.config().display().to_string();
    let expected = format!(
        "[ERROR] Could not load StackState CLI config\nthe file {path} does not exist\nYou do not \
         have a config file. To create one try running `sts context save --help`\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (1, expected));
    sts.write_config("");
    assert_eq!(sts.run(&["context", "list"]), ok("No contexts found.\n"));
}
