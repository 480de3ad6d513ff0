//! What is wrong with a configuration, and where.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use super::MAX_PROBLEMS;

/// One thing that is wrong with a configuration, or worth a warning.
///
/// It names the path of the setting, its line, and what was expected; it never holds a value, since
/// values may be secrets.
///
/// # Examples
///
/// ```
/// use otlp_auth::confmap::{Node, Report, Value};
///
/// let value = Value::parse("endpoint: localhost:4317\ntimeout: soon")?;
/// let report = Report::new();
/// let mut root = Node::root(&value, &report).map().expect("a map");
/// assert_eq!(root.get("timeout").and_then(|node| node.duration()), None);
/// let problems = report.finish().unwrap_err();
/// assert_eq!((problems[0].path(), problems[0].line()), ("timeout", Some(2)));
/// assert!(problems[0].to_string().starts_with("timeout: expected a duration"));
/// # Ok::<(), otlp_auth::confmap::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    path: String,
    line: Option<usize>,
    message: String,
}

impl Problem {
    /// A problem of the setting at `path` (empty for the whole text) in `line`. The message must
    /// not hold a value.
    pub fn new(path: impl Into<String>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }

    /// Where the setting is, as in `exporters.otlp/backend.tls.ca_file`; empty if it is the text as
    /// a whole.
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

/// Collects the problems and warnings of a configuration while it is read, so that all of them are
/// told at once.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Entries>,
    warnings: RefCell<Entries>,
}

impl Report {
    /// A report without an entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem: the configuration cannot be used. The same problem is kept once.
    pub fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().add(problem);
    }

    /// Adds a warning: the configuration can be used. The same warning is kept once.
    pub fn warning(&self, warning: Problem) {
        self.warnings.borrow_mut().add(warning);
    }

    /// The warnings, if there is no problem: at most [`MAX_PROBLEMS`], then one that tells how many
    /// more there are.
    ///
    /// # Errors
    ///
    /// The problems, in the order in which they were found, with the same limit.
    pub fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let problems = self.problems.into_inner().told();
        if problems.is_empty() { Ok(self.warnings.into_inner().told()) } else { Err(problems) }
    }
}

/// Problems, each of them once: a node may be read more than once, as an extension is that two
/// exporters use.
#[derive(Debug, Default)]
struct Entries {
    first: Vec<Problem>,
    /// Fingerprints of all, those that are not told included.
    seen: HashSet<u64>,
    fingerprints: RandomState,
}

impl Entries {
    fn add(&mut self, entry: Problem) {
        if self.seen.insert(self.fingerprints.hash_one(&entry)) && self.first.len() < MAX_PROBLEMS {
            self.first.push(entry);
        }
    }

    fn told(mut self) -> Vec<Problem> {
        let more = self.seen.len() - self.first.len();
        if more > 0 {
            self.first.push(Problem::new("", None, format!("and {more} more")));
        }
        self.first
    }
}
