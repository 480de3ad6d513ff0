//! Why a command failed, and its exit code.

use std::error::Error;
use std::io;

use serde_json::Value;

/// Why a command failed: what is printed, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// What is wrong and what to do, one or more lines. Text from elsewhere in it is escaped.
    pub(crate) message: String,
    /// The body of the server's error response, which is printed after the message.
    pub(crate) body: Option<Value>,
    /// The path of the command whose usage is printed after the message.
    pub(crate) usage: Option<Vec<String>>,
}

/// What kind of failure it is. The numbers are the exit codes; they are those of the original
/// command, except that it uses 3 for `Response`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The configuration is missing, unreadable or incomplete.
    Configuration = 1,
    /// The server responded with an error, or its response cannot be read.
    Response = 2,
    /// The command line is wrong.
    Usage = 3,
    /// The server cannot be reached, or it does not accept the token.
    Connection = 4,
    /// A file or standard output could not be written.
    Write = 6,
    /// There is no context with this name.
    UnknownContext = 8,
    /// The user answered a question with no.
    Declined = 9,
    /// The server is too old.
    ServerTooOld = 10,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
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

/// Results are written to standard output, so an I/O error without more context is one of writing
/// there.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(FailureKind::Write, format!("cannot write to standard output ({error})"))
    }
}

/// The text of an error and of all its causes, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut texts, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    // The text of some errors contains the text of their cause.
    texts.dedup_by(|cause, error| error.contains(cause.as_str()));
    texts.join(": ")
}
