//! What is wrong with a configuration, and where.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

/// How many problems a report keeps. The same limit holds for warnings.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// One thing that is wrong with a configuration, or worth a warning.
///
/// A problem names the path of the setting, its line, and what was expected. It never contains a
/// value, because values may be secrets.
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
    /// Makes a problem of the setting at `path` in `line`. For a problem of the whole text, the
    /// path is empty. The message must not contain a value.
    pub fn new(path: impl Into<String>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }

    /// Returns the path of the setting, as in `exporters.otlp/backend.tls.ca_file`. The path is
    /// empty if the problem concerns the whole text.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the line in the configuration, counted from 1, if the problem has a line. A problem
    /// of a substituted value has the line of the `${..}`.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// Returns what is wrong, without path and line.
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
    /// Makes an empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem, which means that the configuration cannot be used. A problem that was
    /// already added is not added again.
    pub fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().add(problem);
    }

    /// Adds a warning, which means that the configuration can still be used. A warning that was
    /// already added is not added again.
    pub fn warning(&self, warning: Problem) {
        self.warnings.borrow_mut().add(warning);
    }

    /// Returns the warnings, if there is no problem. At most 100 warnings are returned, followed by
    /// one that says how many more there are.
    ///
    /// # Errors
    ///
    /// Returns the problems, in the order in which they were found, with the same limit.
    pub fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let problems = self.problems.into_inner().into_list();
        if problems.is_empty() { Ok(self.warnings.into_inner().into_list()) } else { Err(problems) }
    }
}

/// A list of problems in which each problem occurs once. This prevents repeated problems if a node
/// is read more than once, for example because two exporters use the same extension.
#[derive(Debug, Default)]
struct Entries {
    first: Vec<Problem>,
    /// The hashes of all problems that were added, including those beyond the limit.
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
