//! The tree of a configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::ScalarKind;

/// A configuration as a tree of maps, lists and scalars, read with a [`Node`](crate::Node).
///
/// Every value knows the line in which it starts. A scalar keeps its text, its type by the YAML 1.2
/// core schema, and whether it was quoted. `Debug` shows types and lines, but no values.
///
/// # Examples
///
/// ```
/// use otel_confmap::{Node, Report, Value};
///
/// let env = |name: &str| (name == "API_KEY").then(|| "0123".to_owned());
/// let value = Value::parse("token: ${env:API_KEY}\ntimeout: 1m30s")?.expand(&env);
///
/// let report = Report::new();
/// let mut root = Node::root(&value, &report).map().expect("a map");
/// assert_eq!(root.get("token").and_then(|node| node.string()), Some("0123"));
/// let timeout = root.get("timeout").and_then(|node| node.duration());
/// assert_eq!(timeout, Some(std::time::Duration::from_secs(90)));
/// root.deny_unknown();
/// assert!(report.finish().is_ok());
/// # Ok::<(), otel_confmap::Problem>(())
/// ```
#[derive(Clone)]
pub struct Value {
    pub(super) content: Content,
    pub(super) line: usize,
    /// The substituted text, if the whole setting is one reference and the text is a YAML list or
    /// map. A string setting takes this text.
    pub(super) original: Option<String>,
    /// Whether the value came through `${..}`. If so, even its keys may be secret.
    pub(super) substituted: bool,
    /// Names the variables and files that this value was substituted from. For each of them, says
    /// why it can leave the value empty. Only variables and files that the document itself names
    /// are listed. The text contains no value.
    pub(super) origin: Option<Arc<str>>,
}

#[derive(Clone)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Value>),
    Map(Vec<Entry>),
    /// Why a substitution failed. It is a problem only if the setting is read.
    Unresolved(String),
}

#[derive(Clone)]
/// A scalar as it was written.
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) kind: ScalarKind,
    pub(super) quoted: bool,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The line of the key. The value may start in a later line.
    pub(super) line: usize,
    pub(super) value: Value,
}

impl Value {
    /// Merges `later` into this value, as a Collector merges several files: maps are merged key by
    /// key, and any other value is replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// use otel_confmap::{Node, Report, Value};
    ///
    /// let mut value = Value::parse("limits: {streams: 100, connections: 10}")?;
    /// value.merge(Value::parse("limits: {streams: 5}")?);
    /// let report = Report::new();
    /// let mut root = Node::root(&value, &report).map().expect("a map");
    /// let mut limits = root.get("limits").and_then(|node| node.map()).expect("a map");
    /// assert_eq!(limits.get("streams").and_then(|node| node.integer(1..=9)), Some(5));
    /// assert_eq!(limits.get("connections").and_then(|node| node.integer(1..=99)), Some(10));
    /// # Ok::<(), otel_confmap::Problem>(())
    /// ```
    pub fn merge(&mut self, later: Self) {
        match (&mut self.content, later) {
            (Content::Map(entries), Self { content: Content::Map(more), .. }) => {
                let known: HashMap<_, _> =
                    entries.iter().map(|entry| entry.key.clone()).zip(0..).collect();
                for entry in more {
                    match known.get(&entry.key) {
                        Some(&index) => entries[index].value.merge(entry.value),
                        None => entries.push(entry),
                    }
                }
            }
            (_, later) => *self = later,
        }
    }

    /// Returns the line in which the value starts, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    pub(super) fn new(content: Content, line: usize) -> Self {
        Self { content, line, original: None, substituted: false, origin: None }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }

    /// Names the type of the value, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match &self.content {
            Content::Scalar(Scalar { kind: ScalarKind::Null, .. }) => "nothing",
            Content::Scalar(Scalar { kind: ScalarKind::Bool(_), .. }) => "a boolean",
            Content::Scalar(Scalar { kind: ScalarKind::Int(_), .. }) => "an integer",
            Content::Scalar(Scalar { kind: ScalarKind::Float(_), .. }) => {
                "a number with a fraction"
            }
            Content::Scalar(Scalar { kind: ScalarKind::String, quoted: true, .. })
                if !self.substituted =>
            {
                "a quoted string"
            }
            Content::Scalar(Scalar { kind: ScalarKind::String, .. }) => "a string",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
            Content::Unresolved(_) => "a value that could not be substituted",
        }
    }

    /// Counts the nodes, the bytes of text and the levels of this subtree.
    pub(super) fn measure(&self) -> Size {
        let inner = |values: &mut dyn Iterator<Item = (&Self, usize)>| {
            values.fold(Size { nodes: 1, bytes: 0, levels: 1 }, |sum, (value, key)| {
                let size = value.measure();
                Size {
                    nodes: sum.nodes + size.nodes,
                    bytes: sum.bytes + size.bytes + key,
                    levels: sum.levels.max(size.levels + 1),
                }
            })
        };
        match &self.content {
            Content::Scalar(scalar) => Size { nodes: 1, bytes: scalar.text.len(), levels: 0 },
            Content::Unresolved(_) => Size { nodes: 1, bytes: 0, levels: 0 },
            Content::List(items) => inner(&mut items.iter().map(|item| (item, 0))),
            Content::Map(entries) => {
                inner(&mut entries.iter().map(|entry| (&entry.value, entry.key.len())))
            }
        }
    }
}

pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) bytes: usize,
    pub(super) levels: usize,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, line {})", self.describe(), self.line)
    }
}
