use std::fs;

use super::{Node, Report, Value, expand, lookup, read, show};

/// Scenario: a setting is one reference and nothing else. Each form of a reference occurs.
/// Guarantee: the setting has the value and the type of the substituted text.
#[test]
fn whole_values() {
    let env = [
        ("X", "x"),
        ("EMPTY", ""),
        ("N", "5s"),
        ("NAME", "X"),
        ("LIST", "[1, two]"),
        ("MAP", "{a: 1}"),
        ("BROKEN", "[1"),
    ];
    for (text, expected) in [
        ("${env:X}", "'x'"),
        ("\"${env:X}\"", "'x'"),
        ("${X}", "'x'"),
        ("${env:EMPTY}", "null"),
        ("${env:EMPTY:-d}", "null"),
        ("${env:UNSET:-d}", "'d'"),
        ("${env:UNSET:-12}", "12"),
        ("${env:UNSET:-a:-b}", "'a:-b'"),
        ("${env:UNSET:-}", "null"),
        ("${env:N}", "'5s'"),
        ("${env:${env:NAME}}", "'x'"),
        ("${${NAME}}", "'x'"),
        ("${env:UNSET:-${env:X}}", "'x'"),
        ("${env:LIST}", "[1, 'two']"),
        ("${env:MAP}", "{a: 1}"),
        ("${env:BROKEN}", "'[1'"),
    ] {
        assert_eq!(show(&expand(text, &env)), expected, "{text}");
    }
}

/// Scenario: variables have values that YAML reads as another type than a string.
/// Guarantee: a setting that is read as a string has the exact text of the variable.
#[test]
fn exact_text() {
    for text in [
        "0123", "1e3", "true", "null", "~", "", "[1]", "{a: b}", "'quoted'", "\"q\"", "#x", "*x",
        "!x", "a: b", "- a", " x ", "%", "@",
    ] {
        assert_eq!(
            read("${env:X}", &[("X", text)], |node| node.string().map(str::to_owned)),
            Ok(Some(text.to_owned())),
            "{text}"
        );
    }
    assert_eq!(read("${env:X}", &[("X", "0123")], |node| node.integer(0..=999)), Ok(Some(123)));
    assert_eq!(read("${env:X}", &[("X", "true")], |node| node.bool()), Ok(Some(true)));
}

/// Scenario: references are parts of a longer text.
/// Guarantee: the result is a string, even if it looks like a number.
#[test]
fn inline() {
    let env = [
        ("X", "x"),
        ("ONE", "1"),
        ("EMPTY", ""),
        ("REF", "${env:X}"),
        ("OPEN", "${env"),
        ("MAP", "{a: 1}"),
    ];
    for (text, expected) in [
        ("a-${env:X}-b", "'a-x-b'"),
        ("${env:ONE}${env:ONE}", "'11'"),
        ("${env:X}${EMPTY}", "'x'"),
        ("http://${X}:${ONE}/", "'http://x:1/'"),
        ("<${env:REF}>", "'<x>'"),
        ("<${env:MAP}>", "'<{a: 1}>'"),
        ("'${OPEN}:X}'", "'x'"),
    ] {
        assert_eq!(show(&expand(text, &env)), expected, "{text}");
    }
}

/// Scenario: texts contain `$`, `$$` and references, alone and next to each other.
/// Guarantee: as in the Collector, `$$` becomes one `$`, an escaped reference is not substituted,
/// and a name without braces is text.
#[test]
fn dollars() {
    let env = [("X", "x"), ("DOLLARS", "a$$b$c"), ("ESCAPED", "$${env:X}"), ("PAIR", "[a$$b]")];
    for (text, expected) in [
        ("$$", "'$'"),
        ("$$$", "'$$'"),
        ("$$$$", "'$$'"),
        ("a$b", "'a$b'"),
        ("$X", "'$X'"),
        ("$$X", "'$X'"),
        ("$${env:X}", "'${env:X}'"),
        ("$$${env:X}", "'$x'"),
        ("$$$${env:X}", "'$${env:X}'"),
        ("$${env:X} ${env:X}", "'${env:X} x'"),
        ("${env:DOLLARS}", "'a$b$c'"),
        ("-${env:DOLLARS}", "'-a$b$c'"),
        ("${env:ESCAPED}", "'${env:X}'"),
        ("${env:PAIR}", "['a$b']"),
        ("'${'", "'${'"),
        ("'${env:X'", "'${env:X'"),
        ("'}${'", "'}${'"),
    ] {
        assert_eq!(show(&expand(text, &env)), expected, "{text}");
    }
    assert_eq!(
        read("${env:PAIR}", &env, |node| node.string().map(str::to_owned)),
        Ok(Some("[a$b]".to_owned()))
    );
}

/// Scenario: references occur in lists, maps and keys, and in maps that were substituted.
/// Guarantee: references in values are substituted, and references in keys are not.
#[test]
fn where_it_applies() {
    let env = lookup(&[("X", "x"), ("MORE", "{b: \"${env:X}\", \"${env:X}\": 1}")]);
    let value =
        Value::parse("a: [\"${env:X}\", {c: \"${X}\"}]\n\"${env:X}\": 1\nmore: ${env:MORE}")
            .unwrap()
            .expand(&env);
    assert_eq!(show(&value), "{a: ['x', {c: 'x'}], ${env:X}: 1, more: {b: 'x', ${env:X}: 1}}");
}

/// Scenario: files with different contents are substituted: text, numbers, references and YAML
/// maps.
/// Guarantee: if the content is text, one line end at its end is dropped. If the content is a YAML
/// map, the setting is that map.
#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let path = path.to_str().unwrap();
    for (content, expected) in [
        ("token\n", "'token'"),
        ("token\r\n", "'token'"),
        ("token\n\n", "'token\n'"),
        ("one\ntwo\n", "'one\ntwo'"),
        ("${env:X}\n", "'x'"),
        ("a: 1\nb:\n- ${env:X}\n", "{a: 1, b: ['x']}"),
        ("", "null"),
        ("5\n", "5"),
    ] {
        fs::write(path, content).unwrap();
        assert_eq!(
            show(&expand(&format!("${{file:{path}}}"), &[("X", "x")])),
            expected,
            "{content:?}"
        );
    }
    fs::write(path, "0123\n").unwrap();
    let text = format!("${{file:{path}}}");
    assert_eq!(
        read(&text, &[], |node| node.string().map(str::to_owned)),
        Ok(Some("0123".to_owned()))
    );
    assert_eq!(show(&expand(&format!("<{text}>"), &[])), "'<0123>'");
    // Unlike a file, a variable keeps its line end.
    assert_eq!(show(&expand("${env:X}", &[("X", "x\n")])), "'x\n'");
}

/// Scenario: settings have references that cannot be resolved.
/// Guarantee: each such setting has one problem, with path and line. The message shows only what
/// the document itself contains.
#[test]
fn failures() {
    let directory = tempfile::tempdir().unwrap();
    let huge = directory.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(100 << 20).unwrap();
    let latin1 = directory.path().join("latin1");
    fs::write(&latin1, b"\xe9").unwrap();
    let (directory, huge, latin1) = (directory.path().display(), huge.display(), latin1.display());
    for (text, expected) in [
        ("${env:UNSET}".to_owned(), "the environment variable `UNSET` is not set".to_owned()),
        ("a${UNSET}b".to_owned(), "the environment variable `UNSET` is not set".to_owned()),
        ("${env:}".to_owned(), "the reference `` is not the name of an environment variable".to_owned()),
        ("${1X}".to_owned(), "the reference `1X` is not the name of an environment variable".to_owned()),
        ("${env:A-B}".to_owned(), "the reference `A-B` is not the name".to_owned()),
        (
            "${yaml:x}".to_owned(),
            "the reference `${yaml:x}` is not supported; there are ${env:NAME}, ${env:NAME:-default}, ${NAME} and ${file:path}"
                .to_owned(),
        ),
        ("${https://x/y}".to_owned(), "the reference `${https://x/y}` is not supported".to_owned()),
        ("${X:-d}".to_owned(), "the reference `${X:-d}` is not supported".to_owned()),
        ("${env:UNSET:-a$b}".to_owned(), "a `$` within `${..}` is not supported".to_owned()),
        (format!("${{file:{directory}/missing}}"), format!("cannot read the file `{directory}/missing`: No such file")),
        (format!("${{file:{directory}}}"), format!("cannot read the file `{directory}`: it is not a regular file")),
        (format!("${{file:{huge}}}"), format!("cannot read the file `{huge}`: it is longer")),
        (format!("${{file:{latin1}}}"), format!("cannot read the file `{latin1}`: it is not UTF-8")),
    ] {
        let problems = read(&format!("\n  \"{text}\""), &[("X", "x")], |node| node.string().map(str::to_owned)).unwrap_err();
        assert!(problems.starts_with(&format!("v: {expected}")) && problems.ends_with(" (line 2)"), "{text}: {problems}");
    }
}

/// Scenario: a value refers to itself: directly, through another variable, in a longer text, in a
/// map, or twice in a list.
/// Guarantee: expansion ends, and the setting has a problem.
#[test]
fn circles() {
    for (env, expected) in [
        (
            [("A", "${env:A}"), ("B", "")],
            "v: more than 1000 substitutions: does a value refer to itself? (line 1)",
        ),
        (
            [("A", "${env:B}"), ("B", "${env:A}")],
            "v: more than 1000 substitutions: does a value refer to itself? (line 1)",
        ),
        (
            [("A", "x${env:A}"), ("B", "")],
            "v: more than 1000 substitutions: does a value refer to itself? (line 1)",
        ),
    ] {
        assert_eq!(
            read("${env:A}", &env, |node| node.string().map(str::to_owned)),
            Err(expected.to_owned()),
            "{env:?}"
        );
    }
    assert!(
        show(&expand("${A}", &[("A", "{a: \"${A}\"}")]))
            .contains("!nested deeper than 64 levels: does a value refer to itself?")
    );
    assert!(
        show(&expand("${A}", &[("A", "[\"${A}\", \"${A}\"]")])).contains("!more than 100000 nodes")
    );
    let long = "x".repeat(1000) + "${A}${A}";
    assert!(show(&expand("${A}", &[("A", &long)])).contains('!'));
}

/// Scenario: nobody reads a setting whose reference cannot be resolved.
/// Guarantee: the reference is not a problem.
#[test]
fn unread_failures() {
    let value = Value::parse("a: ${env:UNSET}\nb: 1").unwrap().expand(&|_| None);
    let report = Report::new();
    assert_eq!(
        Node::root(&value, &report).map().unwrap().get("b").and_then(|node| node.integer(0..=999)),
        Some(1)
    );
    assert_eq!(report.finish(), Ok(Vec::new()));
}

/// Scenario: a secret is substituted where a map, a list, a name or a reference is expected.
/// Guarantee: no message and no path shows the secret.
#[test]
fn secrets_stay_hidden() {
    let canary = "iapikeyok-canary";
    for secret in [
        canary.to_owned(),
        format!("{canary}: x"),
        format!("{{{canary}}}"),
        format!("[{canary}]"),
        format!("${{{canary}}}"),
    ] {
        for text in [
            "${env:S}",
            "[\"${env:S}\"]",
            "{a: \"${env:S}\"}",
            "${env:${env:S}}",
            "${file:${env:S}}",
            "${${env:S}:x}",
            "a${env:S}",
        ] {
            let value =
                Value::parse(&format!("v: {text}")).unwrap().expand(&lookup(&[("S", &secret)]));
            let report = Report::new();
            let mut map = Node::root(&value, &report).map().unwrap();
            let node = map.get("v").unwrap();
            let _ = (
                node.bool(),
                node.integer(0..=999),
                node.f64(),
                node.duration(),
                node.map().is_none(),
            );
            for map in [Some(map.clone()), node.map()].into_iter().flatten() {
                for (_, node) in map.clone().entries() {
                    let _ = (node.bool(), node.map(), node.list());
                }
                map.deny_unknown();
            }
            let problems = format!("{:?} {value:?}", report.finish().unwrap_err());
            assert!(!problems.contains("canary"), "{text}: {problems}");
        }
    }
}
