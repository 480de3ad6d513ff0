//! Keys in the commands of the README, and keys that our exporter uses.

use std::process::Command;

use otlp_auth_tests::{Discarded, Gateway, Home, PATIENCE, Totals, path};
use rexpect::process::WaitStatus;
use rexpect::session::spawn_command;

use crate::TestFile;
use crate::exporter::start_exporter;

const README: &str = include_str!("../../README.md");

/// The default address of the management API of the gateway.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7070";

const PREFIX: &str = "iapikeyok-";

/// A command of the session in the README, and the output that the README shows for it.
#[derive(Debug)]
struct Recorded {
    command: &'static str,
    output: Vec<&'static str>,
}

/// Reads the session of the README: the code block with commands of `sts`.
fn session() -> Vec<Recorded> {
    let mut blocks = README.split("\n```");
    let block =
        blocks.find(|block| block.starts_with("console\n$ sts ")).expect("a session in the README");
    let mut session: Vec<Recorded> = Vec::new();
    for line in block.lines().skip(1) {
        match line.strip_prefix("$ ") {
            Some(command) => session.push(Recorded { command, output: Vec::new() }),
            None => session.last_mut().expect("a command before its output").output.push(line),
        }
    }
    session
}

/// Runs a command in a shell on a terminal, and returns its output without colors.
fn run_on_terminal(home: &Home, command: &str) -> String {
    let programs = path("sts").parent().expect("a directory").display().to_string();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env_clear().env("HOME", home.path()).env("TERM", "xterm");
    shell.env("PATH", format!("{programs}:/usr/bin:/bin"));
    let mut terminal =
        spawn_command(shell, u64::try_from(PATIENCE.as_millis()).ok()).expect("a terminal");
    // rexpect returns one `char` for each byte.
    let bytes = terminal
        .exp_eof()
        .expect("an end")
        .chars()
        .map(|byte| u8::try_from(byte).expect("a byte"))
        .collect();
    let text = String::from_utf8(bytes).expect("text");
    assert!(matches!(terminal.process().wait(), Ok(WaitStatus::Exited(_, 0))), "{command}: {text}");
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').expect("a colour").1)
}

/// Replaces keys, ids and the width of columns, which differ between two runs.
fn normalized<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let is_id = |word: &str| word.len() >= 6 && word.bytes().all(|byte| byte.is_ascii_digit());
    let word = |word: &str| match word.strip_prefix(PREFIX) {
        Some(rest) if rest.split('-').map(str::len).eq([8, 8, 8, 6]) => "KEY".to_owned(),
        _ if is_id(word) => "ID".to_owned(),
        _ => word.to_owned(),
    };
    lines
        .into_iter()
        .map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Returns the id in the first row, if the lines are a table.
fn id<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let id =
        lines.into_iter().skip_while(|line| !line.starts_with("ID ")).nth(1)?.split(' ').next();
    id.filter(|id| id.parse::<u64>().is_ok())
}

// Scenario: the commands of the README run on a terminal. The gateway has default settings except
// for its ports.
// Guarantee: each command prints what the README shows, except for keys and ids. The README
// contains the three documented commands.
#[test]
fn the_session_of_the_readme() {
    let session = session();
    for command in ["create", "list", "delete"] {
        let documented = format!("sts ingestion-api-key {command}");
        assert!(
            session.iter().any(|recorded| recorded.command.starts_with(&documented)),
            "{command} is not in the README"
        );
    }
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let address = gateway.address("management");
    let (mut recorded_id, mut actual_id) = (None, String::new());
    for Recorded { command, output } in session {
        let mut actual_command = command.replace(DEFAULT_ADDRESS, address);
        if let Some(id) = recorded_id {
            actual_command = actual_command.replace(id, &actual_id);
        }
        let text = run_on_terminal(&home, &actual_command).replace(address, DEFAULT_ADDRESS);
        assert_eq!(normalized(text.lines()), normalized(output.iter().copied()), "{command}");
        if let (Some(recorded), Some(actual)) = (id(output), id(text.lines())) {
            (recorded_id, actual_id) = (Some(recorded), actual.to_owned());
        }
    }
    gateway.program.stop();
}

// Scenario: our exporter uses a key of `sts` over both transports. Then `sts` deletes the key.
// Guarantee: the key is accepted at once, and every item is counted once for the key. After the
// deletion the key is refused on both transports.
#[test]
fn our_exporter_is_accepted_until_the_key_is_deleted() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    home.save_context(&gateway);
    let key = home.create_key("exporter");
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
    let export = |exporter| {
        let (code, lines) =
            start_exporter(&yaml.path(), &["--exporter", exporter], &key.secret).end();
        assert!(!lines.iter().any(|line| line.contains(&key.secret)), "{exporter} prints the key");
        (code, Totals::of(&lines))
    };
    let mut sent = 0;
    for exporter in ["otlp", "otlphttp"] {
        let (code, totals) = export(exporter);
        assert!(code == Some(0) && totals.sent > 0 && totals.failed == 0, "{exporter}: {totals:?}");
        sent += totals.sent;
    }
    home.delete_key(&key);
    for exporter in ["otlp", "otlphttp"] {
        let (code, totals) = export(exporter);
        assert!(code == Some(1) && totals.sent == 0 && totals.failed > 0, "{exporter}: {totals:?}");
    }
    let discarded = Discarded::of(&gateway.program.stop());
    assert_eq!(discarded.items, sent);
    assert_eq!(discarded.keys, [format!("\"exporter\"({})", key.id)]);
}
