//! Reads settings from a tree.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::value::{Content, Entry};
use crate::{Problem, Report, ScalarKind, Value, duration};

/// A value of a configuration together with its path, and the report to which its problems are
/// added.
///
/// The methods that read a type, such as [`string`](Self::string) and [`bool`](Self::bool), return
/// `None` and report a problem if the value has another type. If the value is null, they return
/// `None` without a problem, because a key without a value leaves the setting at its default.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    path: String,
    report: &'a Report,
}

impl<'a> Node<'a> {
    /// Returns the node of a whole configuration. [`Value`] has an example.
    #[must_use]
    pub fn root(value: &'a Value, report: &'a Report) -> Self {
        Self { value, path: String::new(), report }
    }

    /// Returns the path, as in `exporters.otlp.tls.ca_file`. If a key came through `${..}`, the
    /// path contains `(key 1)` instead of the key, because the key may be secret.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns whether the value is null. A value is null if it is written as `null` or `~`, if
    /// nothing follows the colon, or if the substituted text is empty.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// Returns whether the value is null because nothing is written: nothing follows the colon, or
    /// the substituted text is empty. The words `null` and `~` are not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.value.content, Content::Scalar(scalar)
            if scalar.kind == ScalarKind::Null && scalar.text.is_empty())
    }

    /// Returns whether the value is a list, for settings that can be a list or something else.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.value.content, Content::List(_))
    }

    /// Returns the type of a scalar, together with its value unless it is a string. Returns `None`
    /// if the value is a list, a map or a failed substitution. This method adds nothing to the
    /// report, so a setting that has several forms can use it to choose between them.
    ///
    /// # Examples
    ///
    /// ```
    /// use otel_confmap::{Node, Report, ScalarKind, Value};
    ///
    /// /// A number of bytes, or a text such as `20MiB`.
    /// fn size(node: &Node<'_>) -> Option<String> {
    ///     match node.scalar_kind() {
    ///         Some(ScalarKind::Int(bytes)) => Some(format!("{bytes}B")),
    ///         _ => node.string().map(str::to_owned),
    ///     }
    /// }
    ///
    /// let value = Value::parse("[1024, 20MiB]")?;
    /// let report = Report::new();
    /// let sizes = Node::root(&value, &report).list().expect("a list");
    /// assert_eq!(sizes.iter().filter_map(size).collect::<Vec<_>>(), ["1024B", "20MiB"]);
    /// assert!(report.finish().is_ok());
    /// # Ok::<(), otel_confmap::Problem>(())
    /// ```
    #[must_use]
    pub fn scalar_kind(&self) -> Option<ScalarKind> {
        match &self.value.content {
            Content::Scalar(scalar) => Some(scalar.kind),
            _ => None,
        }
    }

    /// Reports that this value is empty. If the value was substituted, the message names the
    /// variables and files that the value came from. Otherwise the message ends with `advice`,
    /// which must not contain a value.
    pub fn report_empty(&self, advice: &str) {
        let why = match &self.value.origin {
            Some(origin) => origin,
            None if self.value.substituted => "so is what is substituted for it",
            None => advice,
        };
        self.problem(format!("is empty: {why}"));
    }

    /// Reports a problem of this value. The message must not contain the value.
    pub fn problem(&self, message: impl Into<String>) {
        self.report.problem(Problem::new(&*self.path, Some(self.value.line), message));
    }

    /// Reports a warning about this value. The message must not contain the value.
    pub fn warning(&self, message: impl Into<String>) {
        self.report.warning(Problem::new(&*self.path, Some(self.value.line), message));
    }

    /// Reads a string. A substituted value of any type, even null, is read as its exact text.
    #[must_use]
    pub fn string(&self) -> Option<&'a str> {
        if let Some(text) = &self.value.original {
            return Some(text);
        }
        match &self.value.content {
            Content::Scalar(scalar)
                if scalar.kind == ScalarKind::String || self.value.substituted =>
            {
                Some(&scalar.text)
            }
            Content::Scalar(scalar) if scalar.kind != ScalarKind::Null => {
                self.problem(format!(
                    "expected a string, found {}: put it in quotes",
                    self.value.describe()
                ));
                None
            }
            _ => self.mismatch("a string"),
        }
    }

    /// Reads `true` or `false`.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        match self.scalar_kind() {
            Some(ScalarKind::Bool(value)) => Some(value),
            _ => self.mismatch("true or false"),
        }
    }

    /// Reads an integer within `range`. Every problem names the range.
    ///
    /// # Examples
    ///
    /// ```
    /// use otel_confmap::{Node, Report, Value};
    ///
    /// let value = Value::parse("[7, 70]")?;
    /// let report = Report::new();
    /// let items = Node::root(&value, &report).list().expect("a list");
    /// assert_eq!(items[0].integer(1..=9), Some(7));
    /// assert_eq!(items[1].integer(1..=9), None);
    /// assert_eq!(report.finish().unwrap_err()[0].message(), "expected an integer from 1 to 9");
    /// # Ok::<(), otel_confmap::Problem>(())
    /// ```
    #[must_use]
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        let Some(ScalarKind::Int(value)) = self.scalar_kind() else {
            return self.mismatch(&expected);
        };
        let value = u64::try_from(value).ok().filter(|value| range.contains(value));
        if value.is_none() {
            self.problem(format!("expected {expected}"));
        }
        value
    }

    /// Reads a finite number, with or without a fraction.
    #[must_use]
    pub fn f64(&self) -> Option<f64> {
        match self.scalar_kind() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "the setting is a fraction, and an integer is a short way to write it"
            )]
            Some(ScalarKind::Int(value)) => Some(value as f64),
            Some(ScalarKind::Float(value)) if value.is_finite() => Some(value),
            _ => self.mismatch("a finite number"),
        }
    }

    /// Reads a duration as Go writes it, such as `500ms`, `5s`, `1m30s` or `0`. A negative duration
    /// is a problem.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        const EXPECTED: &str = "a duration with a unit, as in 500ms, 5s or 1m30s";
        match (self.scalar_kind(), &self.value.content) {
            (Some(ScalarKind::Int(0)), _) => Some(Duration::ZERO),
            (Some(ScalarKind::String), Content::Scalar(scalar)) => {
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

    /// Reads a list, and returns the nodes of its items.
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

    /// Reads a map, whose settings are then read by key.
    #[must_use]
    pub fn map(&self) -> Option<Map<'a>> {
        match &self.value.content {
            Content::Map(_) => {
                Some(Map { node: self.clone(), asked: Vec::new(), all_known: false })
            }
            _ => self.mismatch("a map"),
        }
    }

    /// Reports that a value of another type was expected, unless the value is null.
    fn mismatch<T>(&self, expected: &str) -> Option<T> {
        match &self.value.content {
            Content::Unresolved(message) => self.problem(&**message),
            Content::Scalar(scalar) if scalar.kind == ScalarKind::Null => {}
            Content::Scalar(scalar)
                if scalar.kind == ScalarKind::String && self.value.substituted =>
            {
                self.problem(format!("expected {expected}, found a string (what is substituted is one if it is not valid YAML)"));
            }
            _ => self.problem(format!("expected {expected}, found {}", self.value.describe())),
        }
        None
    }
}

/// A map of a configuration. It remembers which keys were read, so that it can report the unknown
/// keys.
#[derive(Clone, Debug)]
pub struct Map<'a> {
    node: Node<'a>,
    asked: Vec<String>,
    all_known: bool,
}

impl<'a> Map<'a> {
    /// Returns the map as a node, for problems that concern the map as a whole.
    #[must_use]
    pub fn node(&self) -> &Node<'a> {
        &self.node
    }

    /// Returns the value of `key`. A key without a value counts as absent. A key whose value was
    /// substituted by an empty text does not count as absent.
    pub fn get(&mut self, key: &str) -> Option<Node<'a>> {
        self.get_nullable(key).filter(|node| !node.is_null() || node.value.substituted)
    }

    /// Returns the value of `key` even if it is null, for settings to which null means something.
    pub fn get_nullable(&mut self, key: &str) -> Option<Node<'a>> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        let entry = self.entries_of_value().iter().find(|entry| entry.key == key)?;
        Some(self.child(key, &entry.value))
    }

    /// Returns the value of `key` as [`get`](Self::get) does, and reports a problem if the key is
    /// absent.
    pub fn required(&mut self, key: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.child(key, self.node.value).problem("is required");
        }
        node
    }

    /// Returns all entries, for maps whose keys are names. After this call, no key of the map
    /// counts as unknown.
    pub fn entries(&mut self) -> Vec<(&'a str, Node<'a>)> {
        self.all_known = true;
        self.all().map(|(entry, node)| (entry.key.as_str(), node)).collect()
    }

    /// Reports a problem for each key that was not read. Call this method last.
    pub fn deny_unknown(self) {
        let message = format!("unknown key; known are {}", self.asked.join(", "));
        for (line, path) in self.unknown() {
            self.node.report.problem(Problem::new(path, Some(line), &*message));
        }
    }

    /// Reports a warning for each key that was not read. Call this method last.
    pub fn warn_unknown(self) {
        for (line, path) in self.unknown() {
            let message = "unknown key: it has no effect";
            self.node.report.warning(Problem::new(path, Some(line), message));
        }
    }

    /// Returns the line and the path of each key that was not read.
    fn unknown(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        let asked: HashSet<&str> = self.asked.iter().map(String::as_str).collect();
        let is_unknown = move |entry: &Entry| !self.all_known && !asked.contains(&*entry.key);
        let unknown = self.all().filter(move |(entry, _)| is_unknown(entry));
        unknown.map(|(entry, node)| (entry.line, node.path))
    }

    fn all(&self) -> impl Iterator<Item = (&'a Entry, Node<'a>)> + '_ {
        self.entries_of_value().iter().enumerate().map(|(index, entry)| {
            // A substituted text may be a secret that happens to look like a map, so its keys are
            // hidden.
            let hidden = self.node.value.substituted;
            let name = if hidden {
                format!("(key {})", index + 1)
            } else {
                entry.key.escape_debug().to_string()
            };
            (entry, self.child(&name, &entry.value))
        })
    }

    fn entries_of_value(&self) -> &'a [Entry] {
        match &self.node.value.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
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
