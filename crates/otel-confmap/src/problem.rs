//! What is wrong with a configuration, and where.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

/// How many problems a report keeps, and how many warnings.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// One thing that is wrong with a configuration, or worth a warning.
///
/// It names the path of the setting, its line, and what was expected. It never holds a value,
/// because values may be secrets.
///
/// # Examples
///
/// ```
/// use otel_confmap::{Node, Report, Value};
///
/// let value = Value::parse("endpoint: localhost:4317\ntimeout: soon")?;
/// let report = Report::new();
/// let mut root = Node::root(&value, &report).map().expect("a map");
/// assert_eq!(root.get("timeout").and_then(|node| node.duration()), None);
/// let problems = report.finish().unwrap_err();
/// assert_eq!((problems[0].path(), problems[0].line()), ("timeout", Some(2)));
/// assert!(problems[0].to_string().starts_with("timeout: expected a duration"));
/// # Ok::<(), otel_confmap::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    path: String,
    line: Option<usize>,
    message: String,
}

impl Problem {
    /// A problem of the setting at `path` in `line`; the path is empty for a problem of the whole
    /// text. The message must not hold a value.
    pub fn new(path: impl Into<String>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }

    /// The path of the setting, as in `exporters.otlp/backend.tls.ca_file`; empty if the problem
    /// concerns the whole text.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The line in the configuration, from 1, if the problem has one. For a substituted value it is
    /// the line of its `${..}`.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// What is wrong, without path and line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Collects the problems and warnings of a configuration while it is read, so that the user sees
/// all of them at once.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Entries>,
    warnings: RefCell<Entries>,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem, with which the configuration cannot be used. An equal problem is kept once.
    pub fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().add(problem);
    }

    /// Adds a warning, with which the configuration can be used. An equal warning is kept once.
    pub fn warning(&self, warning: Problem) {
        self.warnings.borrow_mut().add(warning);
    }

    /// The warnings, if there is no problem: at most 100, and then one that says how many more
    /// there are.
    ///
    /// # Errors
    ///
    /// The problems, in the order in which they were found, with the same limit.
    pub fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let problems = self.problems.into_inner().into_list();
        if problems.is_empty() { Ok(self.warnings.into_inner().into_list()) } else { Err(problems) }
    }
}

/// Problems without repetition: a node may be read more than once, as the node of an extension that
/// two exporters use.
#[derive(Debug, Default)]
struct Entries {
    first: Vec<Problem>,
    /// Fingerprints of all problems, also of those that are not kept.
    seen: HashSet<u64>,
    fingerprints: RandomState,
}

impl Entries {
    fn add(&mut self, entry: Problem) {
        if self.seen.insert(self.fingerprints.hash_one(&entry)) && self.first.len() < MAX_PROBLEMS {
            self.first.push(entry);
        }
    }

    fn into_list(mut self) -> Vec<Problem> {
        let more = self.seen.len() - self.first.len();
        if more > 0 {
            self.first.push(Problem::new("", None, format!("and {more} more")));
        }
        self.first
    }
}
