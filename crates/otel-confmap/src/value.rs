//! The tree of a configuration.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{Budget, Env, Problem, expand, file, parse};

/// A configuration as a tree of maps, lists and scalars, read with a [`Node`](super::Node).
///
/// Every node knows its line. A scalar keeps its text, its type by the YAML 1.2 core schema, and
/// whether it was quoted. `Debug` tells kinds and lines, not values.
///
/// # Examples
///
/// ```
/// use otlp_auth::confmap::{Node, Report, Value};
///
/// let env = |name: &str| (name == "API_KEY").then(|| "0123".to_owned());
/// let value = Value::parse("token: ${env:API_KEY}\ntimeout: 1m30s")?.expand(&env);
///
/// let report = Report::new();
/// let mut root = Node::root(&value, &report).map().expect("a map");
/// assert_eq!(root.get("token").and_then(|node| node.string()), Some("0123"));
/// assert_eq!(root.get("timeout").and_then(|node| node.duration()).map(|timeout| timeout.as_secs()), Some(90));
/// root.deny_unknown();
/// assert!(report.finish().is_ok());
/// # Ok::<(), otlp_auth::confmap::Problem>(())
/// ```
#[derive(Clone)]
pub struct Value {
    pub(super) content: Content,
    pub(super) line: usize,
    /// The text behind a whole-value substitution that parsed as a list or map; a string field
    /// takes it.
    pub(super) original: Option<String>,
    /// Whether this came through `${..}`: then even its keys may be secret.
    pub(super) substituted: bool,
    /// What of that the document itself names, and how it can be the reason that this is empty. It
    /// holds no value.
    pub(super) origin: Option<Arc<str>>,
}

#[derive(Clone)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Value>),
    Map(Vec<Entry>),
    /// A substitution that failed, and why. It is a problem only if somebody reads it.
    Unresolved(String),
}

#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) kind: Kind,
    pub(super) quoted: bool,
}

/// What a scalar is by the core schema of YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    String,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Value,
}

impl Value {
    /// Reads one YAML document. An empty one is an empty map. Nothing is substituted yet; see
    /// [`expand`](Self::expand).
    ///
    /// # Errors
    ///
    /// When the text is not one YAML document, has a duplicate key, or is beyond one of the
    /// [limits](super#limits).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > super::MAX_TEXT_LEN {
            return Err(Problem::new(
                "",
                None,
                format!("the text is longer than {} bytes", super::MAX_TEXT_LEN),
            ));
        }
        let mut value = parse::document(text, &mut Budget::default())?;
        if value.is_null() {
            value.content = Content::Map(Vec::new());
        }
        Ok(value)
    }

    /// Reads a file; see [`parse`](Self::parse).
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is none (but a directory, FIFO, socket or device), is not
    /// UTF-8 or is too long, which is found without reading all of it; and as for `parse`.
    pub fn read_file(path: &Path) -> Result<Self, Problem> {
        let text = file::read_text(path).map_err(|error| {
            Problem::new("", None, format!("cannot read `{}`: {error}", path.display()))
        })?;
        Self::parse(&text)
    }

    /// Substitutes every `${..}` in values, and `$$` by `$`; `env` looks up environment variables.
    ///
    /// A substitution that fails becomes a problem when its node is read, so that those in settings
    /// nobody reads do no harm.
    #[must_use]
    pub fn expand(self, env: Env<'_>) -> Self {
        expand::expand(self, env)
    }

    /// Puts `later` over this: maps are merged key by key, anything else is replaced. That is how a
    /// Collector reads several files.
    ///
    /// ```
    /// use otlp_auth::confmap::{Node, Report, Value};
    ///
    /// let mut value = Value::parse("limits: {streams: 100, connections: 10}")?;
    /// value.merge(Value::parse("limits: {streams: 5}")?);
    /// let report = Report::new();
    /// let mut limits = Node::root(&value, &report).map().and_then(|mut root| root.get("limits")?.map()).expect("a map");
    /// assert_eq!(limits.get("streams").and_then(|node| node.u64()), Some(5));
    /// assert_eq!(limits.get("connections").and_then(|node| node.u64()), Some(10));
    /// # Ok::<(), otlp_auth::confmap::Problem>(())
    /// ```
    pub fn merge(&mut self, later: Self) {
        match (&mut self.content, later) {
            (Content::Map(entries), Self { content: Content::Map(more), .. }) => {
                let known: HashMap<_, _> =
                    entries.iter().map(|entry| entry.key.clone()).zip(0..).collect();
                for Entry { key, value } in more {
                    match known.get(&key) {
                        Some(&index) => entries[index].value.merge(value),
                        None => entries.push(Entry { key, value }),
                    }
                }
            }
            (_, later) => *self = later,
        }
    }

    /// The line where the value starts, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    pub(super) fn new(content: Content, line: usize) -> Self {
        Self { content, line, original: None, substituted: false, origin: None }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.kind == Kind::Null)
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match &self.content {
            Content::Scalar(Scalar { kind: Kind::Null, .. }) => "nothing",
            Content::Scalar(Scalar { kind: Kind::Bool(_), .. }) => "a boolean",
            Content::Scalar(Scalar { kind: Kind::Int(_), .. }) => "an integer",
            Content::Scalar(Scalar { kind: Kind::Float(_), .. }) => "a number with a fraction",
            Content::Scalar(Scalar { kind: Kind::String, quoted: true, .. })
                if !self.substituted =>
            {
                "a quoted string"
            }
            Content::Scalar(Scalar { kind: Kind::String, .. }) => "a string",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
            Content::Unresolved(_) => "a value that could not be substituted",
        }
    }

    /// Nodes, bytes of text and levels of this subtree.
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
