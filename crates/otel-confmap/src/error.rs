//! Several problems as one error.

use std::fmt;

use crate::Problem;

/// The problems of a configuration that cannot be used. `Display` writes one problem per line.
///
/// # Examples
///
/// ```
/// use otel_confmap::{ConfigError, Problem};
///
/// let error = ConfigError::from(vec![
///     Problem::new("endpoint", Some(2), "is required"),
///     Problem::new("timeout", None, "is empty"),
/// ]);
/// assert_eq!(error.to_string(), "endpoint: is required (line 2)\ntimeout: is empty");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// Returns the problems in the order in which they were found. A [`Report`](crate::Report)
    /// gives at most 100 problems, followed by one that says how many more there are.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl From<Vec<Problem>> for ConfigError {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
