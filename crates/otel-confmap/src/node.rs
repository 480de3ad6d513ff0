//! Reading settings out of a tree.

use std::collections::HashSet;
use std::time::Duration;

use super::value::{Content, Kind};
use super::{Problem, Report, Value, duration};

/// A value of a configuration together with its path, and the report that takes its problems.
///
/// The readers ([`string`](Self::string), [`bool`](Self::bool), ..) give `None` where a value has
/// another type, which is then a problem in the report, and where it is null, which is none: a key
/// without a value leaves the default.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    path: String,
    report: &'a Report,
}

impl<'a> Node<'a> {
    /// The root of a configuration. See [`Value`] for an example.
    #[must_use]
    pub fn root(value: &'a Value, report: &'a Report) -> Self {
        Self { value, path: String::new(), report }
    }

    /// The path, as in `exporters.otlp.tls.ca_file`. A key that came through `${..}` stands in it
    /// as `(key 1)`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the value is null: written so, left out after the colon, or substituted by nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// Whether the value is a list, for settings that have two forms.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.value.content, Content::List(_))
    }

    /// Reports that this value is empty: why, if it was substituted, else with `advice`.
    pub(crate) fn empty(&self, advice: &str) {
        let why = match &self.value.origin {
            Some(origin) => origin,
            None if self.value.substituted => "so is what is substituted for it",
            None => advice,
        };
        self.problem(format!("is empty: {why}"));
    }

    /// Reports a problem of this value. The message must not hold the value.
    pub fn problem(&self, message: impl Into<String>) {
        self.report.problem(Problem::new(&*self.path, Some(self.value.line), message));
    }

    /// Reports a warning about this value. The message must not hold the value.
    pub fn warning(&self, message: impl Into<String>) {
        self.report.warning(Problem::new(&*self.path, Some(self.value.line), message));
    }

    /// A string. A substituted value is one whatever its type is, and keeps its exact text.
    #[must_use]
    pub fn string(&self) -> Option<&'a str> {
        if let Some(text) = &self.value.original {
            return Some(text);
        }
        match &self.value.content {
            Content::Scalar(scalar) if scalar.kind == Kind::String || self.value.substituted => {
                Some(&scalar.text)
            }
            Content::Scalar(scalar) if scalar.kind != Kind::Null => {
                self.problem(format!(
                    "expected a string, found {}: put it in quotes",
                    self.value.describe()
                ));
                None
            }
            _ => self.mismatch("a string"),
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        match self.kind() {
            Some(Kind::Bool(value)) => Some(value),
            _ => self.mismatch("true or false"),
        }
    }

    /// An integer that is not negative.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        match self.kind() {
            Some(Kind::Int(value)) => {
                let value = u64::try_from(value).ok();
                if value.is_none() {
                    self.problem(format!("expected an integer from 0 to {}", u64::MAX));
                }
                value
            }
            _ => self.mismatch("an integer"),
        }
    }

    /// A number, with or without a fraction, and finite.
    #[must_use]
    pub fn f64(&self) -> Option<f64> {
        match self.kind() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "the setting is a fraction, an integer is a short way to write it"
            )]
            Some(Kind::Int(value)) => Some(value as f64),
            Some(Kind::Float(value)) if value.is_finite() => Some(value),
            _ => self.mismatch("a finite number"),
        }
    }

    /// A duration as Go writes it: `500ms`, `5s`, `1m30s`, and `0`; not a negative one.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        const EXPECTED: &str = "a duration with a unit, as in 500ms, 5s or 1m30s";
        match (self.kind(), &self.value.content) {
            (Some(Kind::Int(0)), _) => Some(Duration::ZERO),
            (Some(Kind::String), Content::Scalar(scalar)) => {
                let duration = duration::parse(&scalar.text);
                if duration.is_none() {
                    self.problem(format!(
                        "expected {EXPECTED}, neither negative nor longer than 292 years"
                    ));
                }
                duration
            }
            _ => self.mismatch(EXPECTED),
        }
    }

    /// The nodes of a list.
    #[must_use]
    pub fn list(&self) -> Option<Vec<Self>> {
        let Content::List(items) = &self.value.content else { return self.mismatch("a list") };
        let node = |(index, value)| Self {
            value,
            path: format!("{}[{index}]", self.path),
            report: self.report,
        };
        Some(items.iter().enumerate().map(node).collect())
    }

    /// A map, to be read by key.
    #[must_use]
    pub fn map(&self) -> Option<Map<'a>> {
        match &self.value.content {
            Content::Map(_) => {
                Some(Map { node: self.clone(), asked: Vec::new(), all_known: false })
            }
            _ => self.mismatch("a map"),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match &self.value.content {
            Content::Scalar(scalar) => Some(scalar.kind),
            _ => None,
        }
    }

    /// Reports that something else was expected, unless the value is null.
    fn mismatch<T>(&self, expected: &str) -> Option<T> {
        match &self.value.content {
            Content::Unresolved(message) => self.problem(&**message),
            Content::Scalar(scalar) if scalar.kind == Kind::Null => {}
            Content::Scalar(scalar) if scalar.kind == Kind::String && self.value.substituted => {
                self.problem(format!("expected {expected}, found a string (what is substituted is one if it is not valid YAML)"));
            }
            _ => self.problem(format!("expected {expected}, found {}", self.value.describe())),
        }
        None
    }
}

/// A map of a configuration. It remembers which keys were asked for, so that the others can be
/// reported.
#[derive(Clone, Debug)]
pub struct Map<'a> {
    node: Node<'a>,
    asked: Vec<String>,
    all_known: bool,
}

impl<'a> Map<'a> {
    /// The map as a node, for problems of the whole of it.
    #[must_use]
    pub fn node(&self) -> &Node<'a> {
        &self.node
    }

    /// The value of `key`. A key without a value counts as absent; one that was substituted by
    /// nothing does not.
    pub fn get(&mut self, key: &str) -> Option<Node<'a>> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        let entry = self.values().find(|entry| entry.0 == key)?;
        let node = self.child(key, entry.1);
        (!node.is_null() || node.value.substituted).then_some(node)
    }

    /// As [`get`](Self::get), but it is a problem if there is none.
    pub fn required(&mut self, key: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.child(key, self.node.value).problem("is required");
        }
        node
    }

    /// All entries: for maps whose keys are names. None of them is unknown from then on.
    pub fn entries(&mut self) -> Vec<(&'a str, Node<'a>)> {
        self.all_known = true;
        self.all().collect()
    }

    /// Reports the keys nobody asked for as problems. Called last.
    pub fn deny_unknown(self) {
        for node in self.unknown() {
            node.problem(format!("unknown key; known are {}", self.asked.join(", ")));
        }
    }

    /// Reports the keys nobody asked for as warnings. Called last.
    pub fn warn_unknown(self) {
        for node in self.unknown() {
            node.warning("unknown key: it has no effect");
        }
    }

    fn unknown(&self) -> impl Iterator<Item = Node<'a>> + '_ {
        let asked: HashSet<&str> = self.asked.iter().map(String::as_str).collect();
        let unknown = self.all().filter(move |(key, _)| !self.all_known && !asked.contains(key));
        unknown.map(|(_, node)| node)
    }

    fn all(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> + '_ {
        self.values().enumerate().map(|(index, (key, value))| {
            // What was substituted may be a secret that happens to look like a map.
            let hidden = self.node.value.substituted;
            let shown = if hidden {
                format!("(key {})", index + 1)
            } else {
                key.escape_debug().to_string()
            };
            (key, self.child(&shown, value))
        })
    }

    fn values(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let entries = match &self.node.value.content {
            Content::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|entry| (entry.key.as_str(), &entry.value))
    }

    fn child(&self, key: &str, value: &'a Value) -> Node<'a> {
        let path = if self.node.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.node.path)
        };
        Node { value, path, report: self.node.report }
    }
}
