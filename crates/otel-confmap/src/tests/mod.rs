mod expand;
mod node;
mod parse;
mod property;

use crate::value::{Content, Entry, Scalar};
use crate::{Node, Problem, Report, ScalarKind, Value};

/// Writes the tree in a short form: `{a: 'text', b: [1, null]}`. A failed substitution is
/// `!message`.
fn show(value: &Value) -> String {
    match &value.content {
        Content::Scalar(Scalar { kind: ScalarKind::String, text, .. }) => format!("'{text}'"),
        Content::Scalar(Scalar { kind: ScalarKind::Null, .. }) => "null".to_owned(),
        Content::Scalar(Scalar { kind: ScalarKind::Bool(value), .. }) => value.to_string(),
        Content::Scalar(Scalar { kind: ScalarKind::Int(value), .. }) => value.to_string(),
        Content::Scalar(Scalar { kind: ScalarKind::Float(value), .. }) => format!("{value:?}"),
        Content::List(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        Content::Map(entries) => {
            let entry = |entry: &Entry| format!("{}: {}", entry.key, show(&entry.value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Content::Unresolved(message) => format!("!{message}"),
    }
}

fn parse(text: &str) -> String {
    Value::parse(text).map_or_else(|problem| format!("error: {problem}"), |value| show(&value))
}

/// Expands the document `v: text` with these variables, and returns the value of `v`.
fn expand(text: &str, env: &[(&str, &str)]) -> Value {
    let value = Value::parse(&format!("v: {text}")).unwrap().expand(&lookup(env));
    let Content::Map(mut entries) = value.content else { unreachable!("the text is a map") };
    entries.remove(0).value
}

fn lookup(env: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    |name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

/// Expands the document `v: text`, and reads the setting `v` with `read`. Returns what was read, or
/// the problems.
fn read<T>(
    text: &str,
    env: &[(&str, &str)],
    read: impl Fn(&Node<'_>) -> Option<T>,
) -> Result<Option<T>, String> {
    let value = Value::parse(&format!("v: {text}")).unwrap().expand(&lookup(env));
    let report = Report::new();
    let read = Node::root(&value, &report).map().unwrap().get("v").and_then(|node| read(&node));
    report.finish().map(|_| read).map_err(|problems| lines(&problems))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
