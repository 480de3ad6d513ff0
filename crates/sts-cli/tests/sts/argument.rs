//! Tests of the help, and of the messages about wrong arguments.

use serde_json::{Value, json};

use crate::mock::{KEY, Mock};
use crate::sts::Sts;

// Scenario: the help of commands is requested with `-h`, with `--help`, with `sts help`, and by a
// command without the required subcommand.
// Guarantee: the output has the documented sections and lines. The output is the same as the text
// in the directory `help`.
#[test]
fn the_help_is_as_documented() {
    let sts = Sts::new();
    for (args, expected) in [
        (&["--help"][..], include_str!("help/sts.txt")),
        (&["ingestion-api-key", "--help"], include_str!("help/ingestion-api-key.txt")),
        (&["ingestion-api-key", "create", "--help"], include_str!("help/create.txt")),
        (&["ingestion-api-key", "list", "-h"], include_str!("help/list.txt")),
        (&["ingestion-api-key", "delete", "-h"], include_str!("help/delete.txt")),
        (&["ingestion-api-key", "describe", "-h"], include_str!("help/describe.txt")),
        (&["ingestion-api-key", "update", "-h"], include_str!("help/update.txt")),
        (&["ingestion-api-key", "rotate", "-h"], include_str!("help/rotate.txt")),
        (&["ingestion-api-key", "check", "-h"], include_str!("help/check.txt")),
        (&["follower", "-h"], include_str!("help/follower.txt")),
        (&["follower", "create", "-h"], include_str!("help/follower-create.txt")),
        (&["follower", "list", "-h"], include_str!("help/follower-list.txt")),
        (&["context", "-h"], include_str!("help/context.txt")),
        (&["context", "save", "-h"], include_str!("help/save.txt")),
    ] {
        let outcome = sts.run(args);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()),
            (0, expected, ""),
            "{args:?}"
        );
    }
    let help = sts.run(&["ingestion-api-key", "--help"]).stdout;
    for documented in [
        "\n\nUsage:\n  sts ingestion-api-key [command]\n\nAvailable Commands:\n",
        "\n  create      Create a new Ingestion Api Key\n  delete      Delete an Ingestion Api \
         Key\n",
        "\n  list        List Ingestion Api Keys\n",
        "\n\nUse \"sts ingestion-api-key [command] --help\" for more information about a \
         command.\n",
    ] {
        assert!(help.contains(documented), "{documented}");
    }
    assert_eq!(sts.run(&["ingestion-api-key"]), sts.run(&["help", "ingestion-api-key"]));
    assert_eq!(sts.run(&["ingestion-api-key"]).stdout, help);
    assert_eq!(sts.run(&[]).stdout, include_str!("help/sts.txt"));
}

/// Wrong command lines, each with the message about it.
const WRONG: [(&[&str], &str); 24] = [
    (&["completion"], "required argument <shell> not given"),
    (&["ingestion-api-key", "update"], "required flag(s) \"id\" not set"),
    (&["ingestion-api-key", "create"], "required flag(s) \"name\" not set"),
    (&["ingestion-api-key", "delete"], "required flag(s) \"id\" not set"),
    (&["ingestion-api-key", "create", "--name"], "flag needs an argument: --name"),
    (
        &["ingestion-api-key", "create", "--name", "a", "--name", "b"],
        "--name is given more than once: give it once",
    ),
    (&["ingestion-api-key", "create", "--bogus"], "unknown flag: --bogus"),
    (&["ingestion-api-key", "create", "-x"], "unknown flag: -x"),
    (&["ingestion-api-key", "bogus"], "unknown command \"bogus\" for \"sts ingestion-api-key\""),
    (
        &["ingestion-api-key", "list", "bogus"],
        "unknown command \"bogus\" for \"sts ingestion-api-key list\"",
    ),
    (&["bogus"], "unknown command \"bogus\" for \"sts\""),
    (
        &["ingestion-api-key", "list", "--output", "yaml"],
        "invalid argument \"yaml\" for \"-o, --output\" flag: invalid enum value \"yaml\", allowed \
         values are [json, text]",
    ),
    (
        &["ingestion-api-key", "delete", "--id", "foo"],
        "invalid argument \"foo\" for \"-i, --id\" flag: expected a decimal number from 1 to \
         9223372036854775807",
    ),
    (
        &["ingestion-api-key", "delete", "-i", "0"],
        "invalid argument \"0\" for \"-i, --id\" flag: expected a decimal number from 1 to \
         9223372036854775807",
    ),
    (
        &["ingestion-api-key", "delete", "-i", "-1"],
        "invalid argument \"-1\" for \"-i, --id\" flag: expected a decimal number from 1 to \
         9223372036854775807",
    ),
    (
        &["ingestion-api-key", "delete", "-i", "0x10"],
        "invalid argument \"0x10\" for \"-i, --id\" flag: expected a decimal number from 1 to \
         9223372036854775807",
    ),
    (
        &["ingestion-api-key", "delete", "-i", "9223372036854775808"],
        "invalid argument \"9223372036854775808\" for \"-i, --id\" flag: expected a decimal number \
         from 1 to 9223372036854775807",
    ),
    (
        &["ingestion-api-key", "create", "-n", "a", "--expiration", "tomorrow"],
        "invalid argument \"tomorrow\" for \"--expiration\" flag: expected a date such as \
         2030-12-31 (yyyy-MM-dd)",
    ),
    (
        &["ingestion-api-key", "create", "-n", "a", "--expiration", "2026-02-30"],
        "invalid argument \"2026-02-30\" for \"--expiration\" flag: this day does not exist",
    ),
    (
        &["ingestion-api-key", "create", "-n", "a", "--expiration", "10000-01-01"],
        "invalid argument \"10000-01-01\" for \"--expiration\" flag: expected a date such as \
         2030-12-31 (yyyy-MM-dd)",
    ),
    (
        &["ingestion-api-key", "rotate", "-i", "7", "--overlap", "soon"],
        "invalid argument \"soon\" for \"--overlap\" flag: expected a duration such as 24h, 30m or \
         0s",
    ),
    (
        &["ingestion-api-key", "update", "-i", "7"],
        "nothing to change: give at least one of the flags --name, --description, --expiration, \
         --no-expiration, --enable, --disable",
    ),
    (
        &["ingestion-api-key", "update", "-i", "7", "--enable", "--disable"],
        "--enable and --disable cannot be used together: give one of them",
    ),
    (
        &["ingestion-api-key", "check", "--agent", "receiver:7077"],
        "invalid argument \"receiver:7077\" for \"--agent\" flag: expected a URL with http:// or \
         https://",
    ),
];

// Scenario: commands run with wrong arguments. Each command line is wrong in another way.
// Guarantee: the exit code is 3, and no request is sent. stderr says what is wrong, and stdout has
// the usage of the command.
#[test]
fn wrong_arguments_are_reported() {
    let mock = Mock::contract();
    for (args, message) in WRONG {
        let outcome = Sts::connected_to(&mock).with("API_KEY", "k").run(args);
        let mut expected = message.to_owned();
        expected[..1].make_ascii_uppercase();
        assert_eq!(
            (outcome.code, outcome.stderr),
            (3, format!("[ERROR] {expected}\n")),
            "{args:?}"
        );
        let command = args
            .iter()
            .take_while(|arg| !arg.starts_with('-') && **arg != "bogus")
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(
            outcome.stdout.starts_with(format!("Usage:\n  sts {command}").trim_end()),
            "{args:?}: {}",
            outcome.stdout
        );
    }
    assert!(mock.request_lines().is_empty());
}

// Scenario: help is requested about commands that do not exist. In one case, the name of the
// command is a key.
// Guarantee: the exit code is 3. The message has the unknown name, unless the name is a key.
#[test]
fn help_about_an_unknown_command_is_an_error() {
    for (args, message) in [
        (&["help", "nope"][..], "Unknown command \"nope\" for \"sts\""),
        (&["help", "context", "nope"], "Unknown command \"nope\" for \"sts context\""),
        (
            &["help", KEY],
            "A key must not be an argument, because other users can read arguments: give it in the \
             environment variable API_KEY or on standard input",
        ),
    ] {
        let outcome = Sts::new().run(args);
        assert_eq!((outcome.code, outcome.stderr), (3, format!("[ERROR] {message}\n")), "{args:?}");
        assert!(
            outcome.stdout.starts_with("Usage:\n  sts ") && !outcome.stdout.contains(KEY),
            "{args:?}"
        );
    }
}

// Scenario: arguments are wrong, and `-o json` is given.
// Guarantee: stderr is the error as JSON, and stdout is empty.
#[test]
fn wrong_arguments_are_reported_as_json() {
    for (args, message) in WRONG.into_iter().filter(|(args, _)| !args.contains(&"yaml")) {
        let outcome = Sts::new().with("API_KEY", "k").run(&[&["-o", "json"], args].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{args:?}");
        let error = serde_json::from_str::<Value>(&outcome.stderr).unwrap();
        assert_eq!(error, json!({"error": true, "error-message": message}), "{args:?}");
    }
}

// Scenario: `-o json` follows the wrong argument. The flag is joined with other short flags, comes
// after an unknown command, or comes after `--`.
// Guarantee: the error is JSON, except after `--`, because no flags follow `--`.
#[test]
fn json_is_found_in_wrong_arguments() {
    for (args, is_json) in [
        (&["-qo", "json"][..], true),
        (&["-qvojson"], true),
        (&["-qo=json"], true),
        (&["help", "nope", "-o", "json"], true),
        (&["--", "-ojson"], false),
    ] {
        let outcome = Sts::new().run(&[&["--bogus"], args].concat());
        assert_eq!(
            (outcome.code, outcome.stderr.starts_with("{\n")),
            (3, is_json),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}

// Scenario: the version, the oldest supported server, and the completion script of each shell are
// requested.
// Guarantee: no server is needed. `--version` prints the version of the oldest supported server,
// even if required flags are missing. Each completion script has the names of the commands.
#[test]
fn versions_and_completions_need_no_server() {
    let sts = Sts::new();
    for args in [
        &["--version"][..],
        &["ingestion-api-key", "create", "--version"],
        &["version", "--version"],
    ] {
        assert_eq!(
            sts.run(args).stdout,
            "minimum supported StackState version: 5.0.0\n",
            "{args:?}"
        );
    }
    assert!(sts.run(&["version"]).stdout.starts_with("VERSION"));
    let text = sts.run(&["version", "-o", "json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let outcome = sts.run(&["completion", shell]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{shell}");
        assert!(
            outcome.stdout.contains("rotate") && outcome.stdout.contains("validate"),
            "{shell}"
        );
    }
    let outcome = sts.run(&["completion", "cmd"]);
    let message = "[ERROR] Invalid argument \"cmd\" for <shell>: invalid enum value \"cmd\", \
         allowed values are [bash, elvish, fish, powershell, zsh]\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (3, message));
    assert!(
        outcome.stdout.starts_with(
            "Usage:\n  sts completion <shell> [flags]\n\nArguments:\n  shell   One of bash, "
        ),
        "{outcome:?}"
    );
}
