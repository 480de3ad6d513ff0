//! Why a command failed, and the exit code that says so.

use std::error::Error;
use std::io;

use serde_json::Value;

/// A command that failed: what it prints, and its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// What is wrong and what to do, in lines. Everything from outside in it is escaped.
    pub(crate) message: String,
    /// What the server said in detail.
    pub(crate) body: Option<Value>,
    /// The command whose help is shown.
    pub(crate) usage: Option<Vec<String>>,
}

/// What went wrong. The numbers are exit codes, those of the original but for `Answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The configuration is missing, unreadable or incomplete.
    Configuration = 1,
    /// The server answered with an error, or with nothing that can be read.
    Answer = 2,
    /// The command line is wrong.
    Usage = 3,
    /// There is no connection, or the server does not take the credential.
    Connection = 4,
    /// A file or standard output could not be written.
    Write = 6,
    /// There is no context of this name.
    UnknownContext = 8,
    /// A person said no.
    Declined = 9,
    /// The server is too old.
    ServerTooOld = 10,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), body: None, usage: None }
    }

    pub(crate) fn with_body(self, body: Option<Value>) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn with_usage(self, command: Vec<String>) -> Self {
        Self { usage: Some(command), ..self }
    }

    /// Adds a line that says what to do.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.message.push('\n');
        self.message.push_str(hint);
        self
    }
}

/// Standard output could not be written: that is where results go.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Kind::Write, format!("cannot write to standard output ({error})"))
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut texts, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    // Some repeat their cause.
    texts.dedup_by(|cause, error| error.contains(cause.as_str()));
    texts.join(": ")
}
