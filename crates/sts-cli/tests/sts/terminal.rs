//! What only people see.

use jiff::{SignedDuration, Timestamp};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

use crate::mock::{KEY, Mock, json};
use crate::sts::Sts;

/// Far above what it takes.
const TIMEOUT_MS: u64 = 30_000;

/// A command with a terminal for everything.
fn session(sts: &Sts, args: &[&str]) -> PtySession {
    let mut command = sts.command(&[&["ingestion-api-key"], args].concat());
    command.env("TERM", "xterm");
    spawn_command(command, Some(TIMEOUT_MS)).unwrap()
}

fn end(mut session: PtySession) -> (String, i32) {
    // It reads a character for each byte.
    let bytes =
        session.exp_eof().unwrap().chars().map(|byte| u8::try_from(byte).unwrap()).collect();
    let text = String::from_utf8(bytes).unwrap();
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => (text, code),
        status => panic!("{status:?}"),
    }
}

/// All that a terminal got, and the exit code.
fn seen(sts: &Sts, args: &[&str]) -> (String, i32) {
    end(session(sts, args))
}

// Scenario: the documentation's commands on a terminal.
// Guarantee: the symbols are the documented ones; the key and the header are coloured.
#[test]
fn the_documented_symbols() {
    let mock = Mock::contract();
    let sts = Sts::of(&mock);
    let created = format!("✅ Ingestion API Key generated: \u{1b}[37m{KEY}\u{1b}[0m\r\n\r\n");
    assert_eq!(seen(&sts, &["create", "-n", "my-ingestion-api-key"]), (created, 0));
    let header = "\u{1b}[36mID             \u{1b}[0m | \u{1b}[36mNAME                \u{1b}[0m | \u{1b}[36mEXPIRATION\u{1b}[0m | \u{1b}[36mDESCRIPTION\u{1b}[0m\r\n";
    assert!(seen(&sts, &["list"]).0.starts_with(header));
    assert_eq!(
        seen(&sts, &["delete", "-i", "7"]),
        ("✅ Ingestion Api Key deleted: 7\r\n".to_owned(), 0)
    );
    let (text, code) = seen(&sts, &["describe", "-i", "7"]);
    assert_eq!((text.as_str(), code), ("❌ There is no key with the id 7\r\n", 2));
    assert!(seen(&sts, &["describe"]).0.starts_with("❌ Required flag(s) "));
    assert!(seen(&sts, &["describe", "--no-color"]).0.starts_with("[ERROR] Required flag(s) "));
}

// Scenario: the same with everything that takes colours away.
// Guarantee: it is as in a pipe.
#[test]
fn colours_are_taken_away() {
    let mock = Mock::contract();
    let plain = ("[SUCCESS] Ingestion Api Key deleted: 7\r\n".to_owned(), 0);
    assert_eq!(seen(&Sts::of(&mock), &["delete", "-i", "7", "--no-color"]), plain);
    assert_eq!(seen(&Sts::of(&mock).with("NO_COLOR", ""), &["delete", "-i", "7"]), plain);
    let mut dumb = Sts::of(&mock).command(&["ingestion-api-key", "delete", "-i", "7"]);
    dumb.env("TERM", "Dumb");
    assert_eq!(end(spawn_command(dumb, Some(TIMEOUT_MS)).unwrap()), plain);
    assert_eq!(
        seen(&Sts::of(&mock), &["delete", "-i", "7", "-o", "json"]).0,
        "{\r\n  \"deleted-ingestion-api-key\": 7\r\n}\r\n"
    );
}

/// A server whose key was last used that long ago, and expires in a week.
fn used(ago: SignedDuration) -> Mock {
    let now = Timestamp::now();
    let last = now.checked_sub(ago).unwrap().as_millisecond();
    let end = now.checked_add(SignedDuration::from_hours(7 * 24)).unwrap().as_millisecond();
    let key = format!(
        r#"{{"id":7,"lastUpdateTimestamp":1,"name":"edge\u001b","lastUsedTimestamp":{last},"expiration":{end}}}"#
    );
    Mock::but("GET /api/security", move |asked| {
        if asked.line.ends_with("/7") { json(200, &key) } else { json(200, &format!("[{key}]")) }
    })
}

fn was_deleted(mock: &Mock) -> bool {
    mock.lines().iter().any(|line| line.starts_with("DELETE"))
}

// Scenario: a key that was used half an hour ago is deleted, and the question is answered with no,
// with nothing, and with yes. Guarantee: only yes deletes it; otherwise the exit code is 9.
#[test]
fn a_key_in_use_is_asked_about() {
    for (answer, code) in [("n", 9), ("", 9), ("y", 0), ("Yes", 0)] {
        let mock = used(SignedDuration::from_mins(30));
        let mut session = session(&Sts::of(&mock), &["delete", "-i", "7"]);
        session
            .exp_string("The key edge\\u{1b} (7) was used 30 min ago. Whoever uses it will be refused. Delete it? [y/N] ")
            .unwrap();
        session.send_line(answer).unwrap();
        assert_eq!(end(session).1, code, "{answer}");
        assert_eq!(was_deleted(&mock), code == 0, "{answer}");
    }
}

// Scenario: a key was used two hours ago, or `--yes` or `-o json` is given, or there is no
// terminal. Guarantee: it is deleted without a question.
#[test]
fn no_question_without_need() {
    for (ago, args) in [
        (121, &["delete", "-i", "7"][..]),
        (1, &["delete", "-i", "7", "--yes"]),
        (1, &["delete", "-i", "7", "-o", "json"]),
    ] {
        let mock = used(SignedDuration::from_mins(ago));
        let (text, code) = seen(&Sts::of(&mock), args);
        assert!(code == 0 && was_deleted(&mock) && !text.contains("[y/N]"), "{args:?}: {text}");
    }
    let mock = used(SignedDuration::from_mins(1));
    Sts::of(&mock).key(&["delete", "-i", "7"]);
    assert!(was_deleted(&mock));
}

// Scenario: a wide list on a terminal that is narrower.
// Guarantee: no cell is cut in two.
#[test]
fn a_wide_list_is_never_wrapped() {
    let mock = Mock::contract();
    let sts = Sts::of(&mock).command(&["ingestion-api-key", "list", "--wide"]);
    let mut narrow = std::process::Command::new("/bin/sh");
    narrow
        .args(["-c", "stty cols 60 rows 24; exec \"$0\" \"$@\""])
        .arg(sts.get_program())
        .args(sts.get_args());
    narrow
        .env_clear()
        .envs(sts.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", "/usr/bin:/bin");
    let (text, _) = end(spawn_command(narrow, Some(TIMEOUT_MS)).unwrap());
    assert!(text.contains("\r\n250558013078953 | my-ingestion-api-key | -"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

// Scenario: keys are listed of which one expires within a week.
// Guarantee: a terminal gets a hint below the table; a pipe, JSON and `--quiet` do not.
#[test]
fn keys_that_expire_are_hinted_at() {
    let mock = used(SignedDuration::ZERO);
    let sts = Sts::of(&mock);
    let (text, _) = seen(&sts, &["list"]);
    assert!(
        text.contains("\r\nWithin 14 days these keys expire: edge\\u{1b} (")
            && text.contains("--id 7\r\n"),
        "{text}"
    );
    for quiet in ["--quiet", "-ojson"] {
        assert!(!seen(&sts, &["list", quiet]).0.contains("Within 14 days"));
    }
    sts.key(&["list"]);
}
