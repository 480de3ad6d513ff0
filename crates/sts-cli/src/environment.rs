//! The environment of the process. `main` reads the environment once and passes it to the other
//! modules.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use jiff::Timestamp;

/// Environment variables and the time.
pub(crate) struct Environment {
    variables: HashMap<OsString, OsString>,
    /// The time at which the process started.
    pub(crate) now: Timestamp,
}

impl Environment {
    pub(crate) fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        now: Timestamp,
    ) -> Self {
        Self { variables: variables.into_iter().collect(), now }
    }

    /// Returns the value of a variable. A variable with an empty value counts as unset.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.get_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// Returns the value of a variable as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get_os(name).map(PathBuf::from)
    }

    /// Returns whether a variable is set. An empty value counts as set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.variables.contains_key(OsStr::new(name))
    }

    fn get_os(&self, name: &str) -> Option<&OsString> {
        self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty())
    }
}
