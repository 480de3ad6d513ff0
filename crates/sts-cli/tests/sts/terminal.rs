//! Tests of the output on a terminal.

use jiff::{SignedDuration, Timestamp};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

use crate::mock::{KEY, Mock, json};
use crate::sts::Sts;

/// The time limit for the output of a command, in milliseconds. Commands are far faster.
const TIMEOUT_MS: u64 = 30_000;

/// Starts a command on keys. Its input and output are a terminal.
fn session(sts: &Sts, args: &[&str]) -> PtySession {
    let mut command = sts.command(&[&["ingestion-api-key"], args].concat());
    command.env("TERM", "xterm");
    spawn_command(command, Some(TIMEOUT_MS)).unwrap()
}

fn end(mut session: PtySession) -> (String, i32) {
    // rexpect returns one character for each byte.
    let bytes =
        session.exp_eof().unwrap().chars().map(|byte| u8::try_from(byte).unwrap()).collect();
    let text = String::from_utf8(bytes).unwrap();
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => (text, code),
        status => panic!("{status:?}"),
    }
}

/// Runs a command on a terminal. Returns the complete output and the exit code.
fn terminal_output(sts: &Sts, args: &[&str]) -> (String, i32) {
    end(session(sts, args))
}

// Scenario: the documented commands run on a terminal.
// Guarantee: the output has the documented symbols. The key and the header of the table have
// colors.
#[test]
fn the_documented_symbols() {
    let mock = Mock::contract();
    let sts = Sts::connected_to(&mock);
    let created = format!("✅ Ingestion API Key generated: \u{1b}[37m{KEY}\u{1b}[0m\r\n\r\n");
    assert_eq!(terminal_output(&sts, &["create", "-n", "my-ingestion-api-key"]), (created, 0));
    let header = "\u{1b}[36mID             \u{1b}[0m | \u{1b}[36mNAME                \u{1b}[0m | \
         \u{1b}[36mEXPIRATION\u{1b}[0m | \u{1b}[36mDESCRIPTION\u{1b}[0m\r\n";
    assert!(terminal_output(&sts, &["list"]).0.starts_with(header));
    assert_eq!(
        terminal_output(&sts, &["delete", "-i", "7"]),
        ("✅ Ingestion Api Key deleted: 7\r\n".to_owned(), 0)
    );
    let (text, code) = terminal_output(&sts, &["describe", "-i", "7"]);
    assert_eq!(
        (text.as_str(), code),
        (
            "❌ There is no key with the id 7\r\nTo see the ids run `sts ingestion-api-key \
             list`\r\n",
            2
        )
    );
    assert!(terminal_output(&sts, &["describe"]).0.starts_with("❌ Required flag(s) "));
    assert!(
        terminal_output(&sts, &["describe", "--no-color"])
            .0
            .starts_with("[ERROR] Required flag(s) ")
    );
}

// Scenario: a command runs on a terminal several times. In each run, another setting turns colors
// off.
// Guarantee: the output is the same as when stdout is a pipe.
#[test]
fn colors_can_be_turned_off() {
    let mock = Mock::contract();
    let plain = ("[SUCCESS] Ingestion Api Key deleted: 7\r\n".to_owned(), 0);
    assert_eq!(
        terminal_output(&Sts::connected_to(&mock), &["delete", "-i", "7", "--no-color"]),
        plain
    );
    assert_eq!(
        terminal_output(&Sts::connected_to(&mock).with("NO_COLOR", ""), &["delete", "-i", "7"]),
        plain
    );
    let mut dumb = Sts::connected_to(&mock).command(&["ingestion-api-key", "delete", "-i", "7"]);
    dumb.env("TERM", "Dumb");
    assert_eq!(end(spawn_command(dumb, Some(TIMEOUT_MS)).unwrap()), plain);
    assert_eq!(
        terminal_output(&Sts::connected_to(&mock), &["delete", "-i", "7", "-o", "json"]).0,
        "{\r\n  \"deleted-ingestion-api-key\": 7\r\n}\r\n"
    );
}

/// Starts a server that has one key. The key was last used `ago` before now, and expires in a week.
fn used(ago: SignedDuration) -> Mock {
    let now = Timestamp::now();
    let last = now.checked_sub(ago).unwrap().as_millisecond();
    let end = now.checked_add(SignedDuration::from_hours(7 * 24)).unwrap().as_millisecond();
    let key = format!(
        r#"{{"id":7,"lastUpdateTimestamp":1,"name":"edge\u001b","lastUsedTimestamp":{last},"expiration":{end}}}"#
    );
    Mock::with_override("GET /api/security", move |request| {
        if request.line.ends_with("/7") { json(200, &key) } else { json(200, &format!("[{key}]")) }
    })
}

fn was_deleted(mock: &Mock) -> bool {
    mock.request_lines().iter().any(|line| line.starts_with("DELETE"))
}

// Scenario: a user deletes a key that was used half an hour ago. The user answers the question with
// no, with nothing, or with yes.
// Guarantee: the key is deleted only if the answer is yes. Otherwise the exit code is 9.
#[test]
fn deleting_a_key_in_use_needs_a_confirmation() {
    for (answer, code) in [("n", 9), ("", 9), ("y", 0), ("Yes", 0)] {
        let mock = used(SignedDuration::from_mins(30));
        let mut session = session(&Sts::connected_to(&mock), &["delete", "-i", "7"]);
        session
            .exp_string(
                "The key edge\\u{1b} (7) was used 30 min ago. Requests with it will be \
                 refused. Delete it? [y/N] ",
            )
            .unwrap();
        session.send_line(answer).unwrap();
        assert_eq!(end(session).1, code, "{answer}");
        assert_eq!(was_deleted(&mock), code == 0, "{answer}");
    }
}

// Scenario: on a terminal, a flag gives the URL of another server than that of the context. The
// user answers the question with no, with nothing, or with yes.
// Guarantee: the token of the context is sent to the other server only if the answer is yes.
// Otherwise the exit code is 9.
#[test]
fn a_saved_token_is_sent_elsewhere_after_a_confirmation() {
    for (answer, code) in [("n", 9), ("", 9), ("y", 0)] {
        let mock = Mock::contract();
        let sts = Sts::new();
        sts.write_config("url: https://sts.example\napi-token: saved\n");
        let url = mock.url();
        let mut session = session(&sts, &["list", "--url", &url]);
        let question = format!(
            "The token of the context 'default' is for https://sts.example, not for {url}. Send it \
             to {url}? [y/N] "
        );
        session.exp_string(&question).unwrap();
        session.send_line(answer).unwrap();
        assert_eq!(end(session).1, code, "{answer}");
        let sent = mock.requests().iter().any(|request| request.header("x-api-token") == "saved");
        assert_eq!(sent, code == 0, "{answer}");
    }
}

// Scenario: a key is deleted. It was used two hours ago, or the flag `--yes` or `-o json` is given,
// or there is no terminal.
// Guarantee: the command deletes the key without a question.
#[test]
fn no_question_without_need() {
    for (ago, args) in [
        (121, &["delete", "-i", "7"][..]),
        (1, &["delete", "-i", "7", "--yes"]),
        (1, &["delete", "-i", "7", "-o", "json"]),
    ] {
        let mock = used(SignedDuration::from_mins(ago));
        let (text, code) = terminal_output(&Sts::connected_to(&mock), args);
        assert!(code == 0 && was_deleted(&mock) && !text.contains("[y/N]"), "{args:?}: {text}");
    }
    let mock = used(SignedDuration::from_mins(1));
    Sts::connected_to(&mock).key(&["delete", "-i", "7"]);
    assert!(was_deleted(&mock));
}

/// Runs a command on keys on a terminal with this number of columns. Returns the output.
fn output_of_width(sts: &Sts, columns: u16, args: &[&str]) -> String {
    let sts = sts.command(&[&["ingestion-api-key"], args].concat());
    let mut narrow = std::process::Command::new("/bin/sh");
    narrow
        .args(["-c", &format!("stty cols {columns} rows 24; exec \"$0\" \"$@\"")])
        .arg(sts.get_program())
        .args(sts.get_args());
    narrow
        .env_clear()
        .envs(sts.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", "/usr/bin:/bin");
    let (text, code) = end(spawn_command(narrow, Some(TIMEOUT_MS)).unwrap());
    assert_eq!(code, 0, "{text}");
    text
}

// Scenario: a list is printed with `--wide` on a terminal that is narrower than the list.
// Guarantee: no cell is wrapped.
#[test]
fn a_wide_list_is_never_wrapped() {
    let mock = Mock::contract();
    let text = output_of_width(&Sts::connected_to(&mock), 60, &["list", "--wide"]);
    assert!(text.contains("\r\n250558013078953 | my-ingestion-api-key | -"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

// Scenario: a list is printed on terminals that are narrower than its header, down to one column.
// In the last case, the terminal does not know its width.
// Guarantee: the header is wrapped like the other cells, so the columns stay below each other. If
// there is no room for columns, or no known width, no cell is wrapped.
#[test]
fn a_list_on_a_narrow_terminal() {
    let mock = Mock::contract();
    let sts = Sts::connected_to(&mock);
    let narrow = "\
ID    | NAME  | EXPIR | DESCR\r
      |       | ATION | IPTIO\r
      |       |       | N    \r
25055 | my-in |       | -    \r
80130 | gesti |       |      \r
78953 | on-ap |       |      \r
      | i-key |       |      \r
";
    let whole = "ID              | NAME                 | EXPIRATION | DESCRIPTION\r\n\
                 250558013078953 | my-ingestion-api-key |            | -          \r\n";
    for (columns, expected) in [(30, narrow), (16, whole), (1, whole), (0, whole)] {
        assert_eq!(output_of_width(&sts, columns, &["list", "--no-color"]), expected, "{columns}");
    }
}

// Scenario: keys are listed. One key expires within a week.
// Guarantee: on a terminal, a hint is printed below the table. In a pipe, with JSON, and with
// `--quiet`, no hint is printed.
#[test]
fn a_hint_names_keys_that_expire_soon() {
    let mock = used(SignedDuration::ZERO);
    let sts = Sts::connected_to(&mock);
    let (text, _) = terminal_output(&sts, &["list"]);
    assert!(
        text.contains("\r\nThese keys expire within 14 days: edge\\u{1b} (")
            && text.contains("--id 7`\r\n"),
        "{text}"
    );
    for quiet in ["--quiet", "-ojson"] {
        assert!(!terminal_output(&sts, &["list", quiet]).0.contains("within 14 days"));
    }
    sts.key(&["list"]);
}
