use std::fs::{self, File};
use std::io::Write as _;
#[cfg(unix)]
use std::{os::unix::net::UnixListener, process::Command};

use super::{Value, expand, parse, show};
use crate::budget::{MAX_DEPTH, MAX_NODES, MAX_TEXT_LEN};

/// Scenario: documents contain scalars of every form.
/// Guarantee: each scalar has its type in the YAML 1.2 core schema, and a quoted scalar is a
/// string.
#[test]
fn core_schema() {
    for (text, expected) in [
        ("", "null"),
        ("~", "null"),
        ("Null", "null"),
        ("nULL", "'nULL'"),
        ("true", "true"),
        ("FALSE", "false"),
        ("yes", "'yes'"),
        ("on", "'on'"),
        ("0", "0"),
        ("-12", "-12"),
        ("+12", "12"),
        ("0123", "123"),
        ("0o17", "15"),
        ("0x1F", "31"),
        ("0x-1", "'0x-1'"),
        ("-0x1", "'-0x1'"),
        ("+-5", "'+-5'"),
        ("1_000", "'1_000'"),
        ("99999999999999999999999999999999999999999999", "1e44"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("1.", "1.0"),
        ("1e3", "1000.0"),
        ("-.inf", "-inf"),
        (".nan", "NaN"),
        ("inf", "'inf'"),
        ("nan", "'nan'"),
        ("1e", "'1e'"),
        ("1.2.3", "'1.2.3'"),
        ("2001-01-01", "'2001-01-01'"),
        ("'true'", "'true'"),
        ("\"1\"", "'1'"),
        ("\"a\\tb\"", "'a\tb'"),
        ("!!str 1", "'1'"),
        ("! 1", "'1'"),
        ("!!int '5'", "5"),
        ("!!float 5", "5.0"),
        ("|\n  a\n  b\n", "'a\nb\n'"),
        ("|-\n  a\n  b\n", "'a\nb'"),
        (">\n  a\n  b\n", "'a b\n'"),
    ] {
        assert_eq!(parse(&format!("v: {text}")), format!("{{v: {expected}}}"), "{text}");
    }
}

/// Scenario: documents of every allowed shape are parsed.
/// Guarantee: each document becomes the expected tree.
#[test]
fn documents() {
    for (text, expected) in [
        ("", "{}"),
        ("# nothing\n", "{}"),
        ("---\n", "{}"),
        ("---\na: 1\n...\n", "{a: 1}"),
        ("\u{feff}a: 1", "{a: 1}"),
        ("a: 1\r\nb: 2\r\n", "{a: 1, b: 2}"),
        ("  a:\n    b: [x, {y: z}]\n  c:\n  - 1\n  - 2", "{a: {b: ['x', {y: 'z'}]}, c: [1, 2]}"),
        ("1: a\ntrue: b\n", "{1: 'a', true: 'b'}"),
        ("a: &x {b: 1}\nc: *x", "{a: {b: 1}, c: {b: 1}}"),
        ("d: &x {b: 1, c: 2}\ne: {<<: *x, c: 3}", "{d: {b: 1, c: 2}, e: {c: 3, b: 1}}"),
        (
            "a: &a {k: 1}\nb: &b {k: 2, l: 2}\nc: {<<: [*a, *b]}",
            "{a: {k: 1}, b: {k: 2, l: 2}, c: {k: 1, l: 2}}",
        ),
        ("\"<<\": 1", "{<<: 1}"),
    ] {
        assert_eq!(parse(text), expected, "{text}");
    }
}

/// Scenario: documents of shapes that are not allowed are parsed.
/// Guarantee: each document is an error that names the reason and the line.
#[test]
fn refused() {
    for (text, expected) in [
        ("a: 1\nb: 2\na: 3", "the key `a` stands twice in one map (line 3)"),
        ("a: {b: 1, b: 1}", "the key `b` stands twice in one map (line 1)"),
        ("a: 1\n---\nb: 2", "there is more than one YAML document (line 2)"),
        ("a: [1", "not valid YAML: "),
        ("a: *b", "not valid YAML: "),
        ("a: &a [*a]", "an alias refers to a value that contains it (line 1)"),
        ("? [a]\n: 1", "expected a scalar as a key, found a list (line 1)"),
        ("a: !!int x", "the value is not what its tag `!!int` says (line 1)"),
        ("a: !!binary aGk=", "the tag is not supported"),
        ("a: !mine x", "the tag is not supported"),
        ("a: !!seq {}", "the tag is not supported"),
        ("a: {<<: 1}", "`<<` expected a map or a list of maps, found an integer (line 1)"),
    ] {
        let result = parse(text);
        assert!(result.starts_with(&format!("error: {expected}")), "{text}: {result}");
    }
}

/// Scenario: a document contains a line `...` in place of an omitted part, indented or not.
/// Guarantee: the message says that the line must be removed.
#[test]
fn ellipsis() {
    for text in ["a: 1\n...\nb: 2\n", "  a: 1\n\n  ...\n\n  b: 2\n", "a:\n  b: 1\n  ...\nc: 1\n"] {
        let line = text.lines().position(|line| line.trim() == "...").unwrap() + 1;
        let expected = format!(
            "a line holds nothing but `...`: it stands for something left out of an example; remove it (line {line})"
        );
        assert_eq!(parse(text), format!("error: {expected}"), "{text}");
    }
    // The `...` in this block scalar is not the reason for the error.
    assert!(parse("a: |\n  ...\nb: 1\nc: [").starts_with("error: not valid YAML"));
}

/// Scenario: one document is merged over another.
/// Guarantee: maps are merged at every level, and every other value is replaced.
#[test]
fn merge() {
    for (first, second, expected) in [
        (
            "{a: 1, b: {c: 2, d: [3]}}",
            "{b: {d: [4], e: 5}, f: 6}",
            "{a: 1, b: {c: 2, d: [4], e: 5}, f: 6}",
        ),
        ("{a: {b: 1}}", "{a: 2}", "{a: 2}"),
        ("{a: 1}", "{a: {b: 2}}", "{a: {b: 2}}"),
        ("{a: 1}", "{a: }", "{a: null}"),
        ("{a: 1}", "", "{a: 1}"),
    ] {
        let mut value = Value::parse(first).unwrap();
        value.merge(Value::parse(second).unwrap());
        assert_eq!(show(&value), expected, "{first} {second}");
    }
}

/// Scenario: lists, maps and aliases are nested up to the limit and beyond.
/// Guarantee: the limit is kept, and the stack does not overflow.
#[test]
fn depth() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(Value::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(
        parse(&nested(MAX_DEPTH + 1)),
        format!("error: nested deeper than {MAX_DEPTH} levels (line 1)")
    );
    let blocks: String =
        (0..=MAX_DEPTH).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(parse(&blocks).contains("nested deeper"));
    assert!(
        parse(&format!("a: &a {}\nb: {}*a{}", nested(40), "[".repeat(40), "]".repeat(40)))
            .contains("nested deeper")
    );
    for unclosed in ["[", "{", "- ", "a: [", "? "] {
        assert!(Value::parse(&unclosed.repeat(200_000)).is_err(), "{unclosed}");
    }
}

/// Scenario: a text describes very many nodes, either written out or by aliases of aliases.
/// Guarantee: the text is an error before memory is exhausted.
#[test]
fn billion_laughs() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(parse(&laughs).contains(&format!("more than {MAX_NODES} nodes")));
    let list = |length: usize| format!("[{}]", "1,".repeat(length));
    assert!(Value::parse(&list(MAX_NODES - 1)).is_ok());
    assert!(parse(&list(MAX_NODES)).contains(&format!("more than {MAX_NODES} nodes")));
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a,".repeat(1000));
    assert!(parse(&long).contains("copy more than"));
}

/// Scenario: texts and files are as long as the limit, or longer, and one file is huge.
/// Guarantee: texts beyond the limit are errors, and the huge file is not read.
#[test]
fn length() {
    let text = |length: usize| format!("#{}", "x".repeat(length - 1));
    assert!(Value::parse(&text(MAX_TEXT_LEN)).is_ok());
    assert_eq!(
        parse(&text(MAX_TEXT_LEN + 1)),
        format!("error: the text is longer than {MAX_TEXT_LEN} bytes")
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.yaml");
    File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let expected =
        format!("cannot read `{}`: it is longer than {MAX_TEXT_LEN} bytes", path.display());
    assert_eq!(Value::read_file(&path).unwrap_err().to_string(), expected);
}

/// Scenario: a path leads to a FIFO that nobody writes to, a link to the FIFO, a socket, an endless
/// device or a directory. The path is read as a configuration and used in a reference.
/// Guarantee: each path is an error at once, because it is not a regular file. A link to a regular
/// file is read.
#[cfg(unix)]
#[test]
fn only_regular_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(path("socket")).unwrap();
    fs::write(path("file"), "a: 1").unwrap();
    let link = |name: &str, to: &str| std::os::unix::fs::symlink(path(to), path(name)).unwrap();
    link("to-fifo", "fifo");
    link("to-file", "file");
    for refused in [path("fifo"), path("to-fifo"), path("socket"), "/dev/zero".into(), path("")] {
        let reason = format!("`{}`: it is not a regular file", refused.display());
        assert_eq!(
            Value::read_file(&refused).unwrap_err().to_string(),
            format!("cannot read {reason}")
        );
        let expanded = show(&expand(&format!("${{file:{}}}", refused.display()), &[]));
        assert_eq!(expanded, format!("!cannot read the file {reason}"));
    }
    assert_eq!(show(&Value::read_file(&path("to-file")).unwrap()), "{a: 1}");
    assert_eq!(show(&expand(&format!("${{file:{}}}", path("to-file").display()), &[])), "{a: 1}");
}

/// Scenario: some files can be read, and others cannot.
/// Guarantee: each error names the path.
#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    assert_eq!(
        show(&Value::read_file(&write("good.yaml", b"\xef\xbb\xbfa: 1\n")).unwrap()),
        "{a: 1}"
    );

    let unreadable = write("unreadable.yaml", b"a: 1");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let mut bad = vec![
        (directory.path().to_owned(), "it is not a regular file"),
        (directory.path().join("missing.yaml"), "No such file"),
        (write("latin1.yaml", b"a: \xe9"), "it is not UTF-8 text"),
        (write("utf16.yaml", b"\xff\xfea\0:\0"), "it is not UTF-8 text"),
    ];
    // The user root can read every file.
    if fs::read(&unreadable).is_err() {
        bad.push((unreadable, "ermission denied"));
    }
    for (path, reason) in bad {
        let problem = Value::read_file(&path).unwrap_err().to_string();
        assert!(
            problem.contains(&format!("cannot read `{}`: ", path.display()))
                && problem.contains(reason),
            "{problem}"
        );
    }
}
