#[cfg(unix)]
use std::{os::unix::net::UnixListener, process::Command};

use super::*;

/// Returns the names and tokens of a file with this content, or the first error and its source.
fn lines(content: &[u8]) -> Result<Vec<(Option<String>, String)>, String> {
    let content = TokenFileContent::from(content.to_vec());
    let line = |line: Line<'_>| (line.name.map(str::to_owned), line.token.to_owned());
    content.tokens().map(|lines| lines.into_iter().map(line).collect()).map_err(|error| {
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    })
}

fn bare(tokens: &[&str]) -> Result<Vec<(Option<String>, String)>, String> {
    Ok(tokens.iter().map(|token| (None, (*token).to_owned())).collect())
}

// Scenario: a file has CRLF, a byte order mark, blank lines, blanks around tokens or no final
// newline. Editors write such files.
// Guarantee: the tokens are read, blank lines are skipped, and a file of blank lines has no token.
#[test]
fn every_way_to_end_a_line_is_read() {
    for content in [
        b"one\ntwo".as_slice(),
        b"one\ntwo\n",
        b"one\r\ntwo\r\n",
        b"one\r\ntwo",
        b"\xef\xbb\xbfone\ntwo\n",
        b"\xef\xbb\xbf\r\none\r\n\r\n  \t\r\ntwo\r\n\r\n",
        b"\n\n\none\n\n \ntwo\n\n",
        b"  one\t\n\ttwo  ",
    ] {
        assert_eq!(lines(content), bare(&["one", "two"]), "{content:?}");
    }
    for nothing in
        [b"".as_slice(), b"\n", b"\r\n", b" \t\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"]
    {
        let error = lines(nothing).unwrap_err();
        assert!(error.starts_with("the token file has no token"), "{nothing:?}: {error}");
    }
}

// Scenario: lines have an equals sign at every position.
// Guarantee: the sign separates a name from a token only after a letter followed by letters,
// digits, `.`, `_` or `-`, and before a character other than `=`.
#[test]
fn a_name_is_distinguished_from_padding() {
    for (line, name, token) in [
        ("team=token", "team", "token"),
        ("t=token", "t", "token"),
        ("Team-a.b_c9=token", "Team-a.b_c9", "token"),
        ("team=token=", "team", "token="),
        ("team=token==", "team", "token=="),
        ("team=a=b", "team", "a=b"),
    ] {
        assert_eq!(
            lines(line.as_bytes()),
            Ok(vec![(Some(name.to_owned()), token.to_owned())]),
            "{line}"
        );
    }
    for line in [
        "token",
        "abc=",
        "abc==",
        "abc===",
        "abc==token",
        "=tok",
        "==",
        "1x=tok",
        "-x=tok",
        "_x=tok",
        ".x=tok",
        "a/b=tok",
        "a+b=tok",
        "a:b=tok",
    ] {
        assert_eq!(lines(line.as_bytes()), bare(&[line]), "{line}");
    }
}

// Scenario: a line has a name and a token of the maximum length.
// Guarantee: the token is legal, because the name does not count towards the length.
#[test]
fn a_name_takes_nothing_from_the_token() {
    let token = "t".repeat(credential::MAX_TOKEN_LEN);
    assert_eq!(lines(token.as_bytes()), bare(&[&token]));
    assert_eq!(
        lines(format!("name={token}").as_bytes()),
        Ok(vec![(Some("name".to_owned()), token.clone())])
    );
    assert_eq!(
        lines(format!("name={token}t").as_bytes()).unwrap_err(),
        "line 1 of the token file is not a token: the token is longer than 4096 bytes"
    );
}

// Scenario: a line has a space, a tab, a scheme, a comma, a quote, NUL, a lone carriage return, or
// a character other than ASCII.
// Guarantee: the error gives the number of the line, where blank lines count too, and says what is
// wrong. It shows nothing of the content of the line.
#[test]
fn an_illegal_line_is_named_by_its_number() {
    let other = "the token has a character other than visible ASCII, or a comma or a quote";
    for (line, reason) in [
        ("canary token", "the token has a blank inside"),
        ("name=canary token", "the token has a blank inside"),
        ("canary\ttoken", "the token has a blank inside"),
        ("canary\rx", "the token has a blank inside"),
        (
            "Bearer canary",
            "the token begins with a scheme such as `Bearer`: give only what follows the scheme",
        ),
        ("canary,x", "the token has a comma"),
        ("\"canary\"", "the token has a quote"),
        ("canary\0", other),
        ("canäry", other),
        ("n=canary\u{feff}", other),
        ("näme=canary", other),
    ] {
        let content = format!("\r\ngood\r\n\r\n{line}\r\ngood\r\n");
        let error = lines(content.as_bytes()).unwrap_err();
        assert_eq!(error, format!("line 4 of the token file is not a token: {reason}"));
    }
    assert!(lines(b"canary\xff").is_err(), "not UTF-8");
    assert!(lines("good\n\u{feff}canary".as_bytes()).is_err(), "a byte order mark in the middle");
    assert!(lines(b"c\0a\0n\0a\0r\0y\0").is_err(), "UTF-16");
}

// Scenario: the path leads to a FIFO that nobody writes to, a link to such a FIFO, a socket, an
// endless device, or a directory.
// Guarantee: each of these paths gives an error at once, because it does not lead to a regular
// file. A link to a regular file is read.
#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(path("socket")).unwrap();
    fs::write(path("file"), "token").unwrap();
    let link = |name: &str, to: &str| std::os::unix::fs::symlink(path(to), path(name)).unwrap();
    link("to-fifo", "fifo");
    link("to-file", "file");
    for refused in [
        path("fifo"),
        path("to-fifo"),
        path("socket"),
        "/dev/zero".into(),
        "/dev/null".into(),
        path(""),
    ] {
        assert!(
            matches!(TokenFileContent::read(&refused), Err(TokenFileError::NotAFile)),
            "{}",
            refused.display()
        );
    }
    assert!(matches!(TokenFileContent::read(&path("absent")), Err(TokenFileError::Read(_))));
    assert_eq!(TokenFileContent::read(&path("to-file")).unwrap().0.expose_secret(), b"token");
}
