use std::time::Duration;

use super::{Node, Report, Value, lines, lookup, read};
use crate::problem::MAX_PROBLEMS;

/// Scenario: settings contain durations that Go reads, and texts that Go does not read.
/// Guarantee: the same durations are read as in Go, except negative ones. A number without a unit
/// is not read.
#[test]
fn durations() {
    let duration = |text: &str| read(text, &[], |node| node.duration());
    for (text, nanos) in [
        ("0", 0),
        ("0s", 0),
        ("\"0\"", 0),
        ("5s", 5_000_000_000),
        ("+5s", 5_000_000_000),
        ("1m30s", 90_000_000_000),
        ("500ms", 500_000_000),
        ("1.5h", 5_400_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("3\u{b5}s", 3_000),
        ("3\u{3bc}s", 3_000),
        ("0.000000001s", 1),
        ("1.00000000000000000000000000000000001s", 1_000_000_000),
        ("2562047h47m16.854775807s", i64::MAX as u64),
    ] {
        assert_eq!(duration(text), Ok(Some(Duration::from_nanos(nanos))), "{text}");
    }
    for text in [
        "5",
        "-5s",
        "5x",
        "s",
        ".s",
        "5 s",
        "5s ",
        "1d",
        "''",
        "+",
        "2562047h47m16.854775808s",
        "99999999999999999999h",
        "true",
        "[5s]",
        "1.5",
        "\u{b5}",
    ] {
        let text = if text.ends_with(' ') { format!("'{text}'") } else { text.to_owned() };
        let problem = duration(&text).unwrap_err();
        assert!(problem.starts_with("v: expected a duration with a unit"), "{text}: {problem}");
    }
}

/// Scenario: a value of every type is read as every type.
/// Guarantee: a value is read as its own type, and an integer also as a finite number. Null is
/// never read, and is no problem. Any other mismatch is a problem that names the expected type and
/// the found type.
#[test]
fn types() {
    let values = ["null", "true", "7", "1.5", "text", "'7'", "[a]", "{a: b}"];
    let found = [
        "nothing",
        "a boolean",
        "an integer",
        "a number with a fraction",
        "a string",
        "a quoted string",
        "a list",
        "a map",
    ];
    type Accepts = fn(&Node<'_>) -> bool;
    let table: [(&str, Accepts, &[usize]); 6] = [
        ("a string", |node| node.string().is_some(), &[4, 5]),
        ("true or false", |node| node.bool().is_some(), &[1]),
        ("an integer from 1 to 9", |node| node.integer(1..=9).is_some(), &[2]),
        ("a finite number", |node| node.f64().is_some(), &[2, 3]),
        ("a list", |node| node.list().is_some(), &[6]),
        ("a map", |node| node.map().is_some(), &[7]),
    ];
    for (expected, reader, accepted) in table {
        for (index, value) in values.iter().enumerate() {
            let result = read(value, &[], |node| Some(reader(node)));
            match index {
                0 => assert_eq!(result, Ok(None), "{expected} of null"),
                _ if accepted.contains(&index) => {
                    assert_eq!(result, Ok(Some(true)), "{expected} of {value}")
                }
                _ => {
                    let problem = result.unwrap_err();
                    assert!(
                        problem.starts_with(&format!(
                            "v: expected {expected}, found {}",
                            found[index]
                        )),
                        "{problem}"
                    );
                }
            }
        }
    }
    for text in ["0", "10", "-1", "18446744073709551616"] {
        assert_eq!(
            read(text, &[], |node| node.integer(1..=9)),
            Err("v: expected an integer from 1 to 9 (line 1)".to_owned())
        );
    }
}

/// Scenario: a map has valid, invalid, missing and unknown keys.
/// Guarantee: all problems are reported in order, each with path and line.
#[test]
fn all_problems() {
    let value = Value::parse("a:\n  good: 1\n  bad: x\n  odd: 2\n  list: [1, [2]]\nb:\n").unwrap();
    let report = Report::new();
    let mut root = Node::root(&value, &report).map().unwrap();
    let mut a = root.get("a").and_then(|node| node.map()).unwrap();
    assert_eq!(a.get("good").and_then(|node| node.integer(0..=9)), Some(1));
    assert_eq!(a.get("bad").and_then(|node| node.integer(0..=9)), None);
    assert!(a.required("missing").is_none());
    for node in a.get("list").and_then(|node| node.list()).unwrap() {
        let _ = node.integer(0..=9);
    }
    a.deny_unknown();
    assert!(root.get("b").is_none());
    root.deny_unknown();
    let expected = "a.bad: expected an integer from 0 to 9, found a string (line 3)\n\
                    a.missing: is required (line 2)\n\
                    a.list[1]: expected an integer from 0 to 9, found a list (line 5)\n\
                    a.odd: unknown key; known are good, bad, missing, list (line 4)";
    assert_eq!(lines(&report.finish().unwrap_err()), expected);
}

/// Scenario: unknown keys are allowed, and the same warning is added twice.
/// Guarantee: the unknown key is a warning, and the warning is reported once.
#[test]
fn warnings() {
    let value = Value::parse("a: 1\nb: 2").unwrap();
    let report = Report::new();
    let mut root = Node::root(&value, &report).map().unwrap();
    root.get("a");
    root.clone().warn_unknown();
    root.warn_unknown();
    assert_eq!(lines(&report.finish().unwrap()), "b: unknown key: it has no effect (line 2)");
}

/// Scenario: the values of unknown keys begin in later lines than their keys: a map, a list, and a
/// map that an alias and a merge key bring in.
/// Guarantee: each unknown key is reported with the line in which it is written.
#[test]
fn the_line_of_an_unknown_key() {
    let text = "a: &a\n\n  x: 1\nb:\n  # a comment\n\n  - 1\nc:\n  *a\nd: ${file}\n<<:\n  e: {}\n";
    let value = Value::parse(text).unwrap().expand(&|_| Some("{x: 1}".to_owned()));
    let report = Report::new();
    Node::root(&value, &report).map().unwrap().warn_unknown();
    let lines = report.finish().unwrap();
    let lines: Vec<_> = lines.iter().map(|problem| (problem.path(), problem.line())).collect();
    let expected = [("a", 1), ("b", 4), ("c", 8), ("d", 10), ("e", 12)];
    assert_eq!(lines, expected.map(|(path, line)| (path, Some(line))));
}

/// Scenario: keys have no value, `null`, `~` and an empty text, directly and through a variable.
/// Guarantee: `get` returns only the substituted values, and `get_nullable` all of them. Only a
/// null that is written with no letters is empty.
#[test]
fn null_and_empty() {
    let text = "a:\nb: null\nc: ~\nd: ''\ne: ${env:EMPTY}\nf: ${env:NULL}";
    let env = lookup(&[("EMPTY", ""), ("NULL", "null")]);
    let value = Value::parse(text).unwrap().expand(&env);
    let report = Report::new();
    let mut root = Node::root(&value, &report).map().unwrap();
    let found = ["a", "b", "c", "d", "e", "f", "g"].map(|key| {
        let node = root.get_nullable(key).map(|node| (node.is_null(), node.is_empty()));
        (root.get(key).is_some(), node)
    });
    let expected = [
        (false, Some((true, true))),
        (false, Some((true, false))),
        (false, Some((true, false))),
        (true, Some((false, false))),
        (true, Some((true, true))),
        (true, Some((true, false))),
        (false, None),
    ];
    assert_eq!(found, expected);
    root.deny_unknown();
    assert!(report.finish().is_ok());
}

/// Scenario: a map has 49,000 keys, of which one is known. The unknown keys are reported twice.
/// Guarantee: the report has the first 100 problems in order, and the number of the others.
#[test]
fn many_problems() {
    let text: String = (0..49_000).map(|number| format!("key{number}: 1\n")).collect();
    let value = Value::parse(&text).unwrap();
    let told = |read: &dyn Fn(super::super::Map<'_>)| {
        let report = Report::new();
        let mut root = Node::root(&value, &report).map().unwrap();
        root.get("key1");
        read(root.clone());
        read(root);
        report.finish().unwrap_or_else(|problems| problems)
    };
    for problems in [told(&|root| root.deny_unknown()), told(&|root| root.warn_unknown())] {
        assert_eq!(problems.len(), MAX_PROBLEMS + 1);
        assert_eq!(problems[1].path(), "key2");
        assert_eq!(problems[MAX_PROBLEMS].to_string(), "and 48899 more");
    }
}
