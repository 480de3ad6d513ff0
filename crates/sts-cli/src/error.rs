//! The failure of a command, and the exit code.

use std::error::Error;
use std::io;

use serde_json::Value;

/// The failure of a command: what is printed, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// One or more lines that say what is wrong, and what the user can do. Text from elsewhere,
    /// such as from a server, is escaped.
    pub(crate) message: String,
    /// The body of the server's error response, which is printed after the message.
    pub(crate) body: Option<Value>,
    /// The path of the command whose usage is printed after the message.
    pub(crate) usage: Option<Vec<String>>,
}

/// The kind of a failure. The number of a kind is the exit code. The exit codes are those of the
/// original command, except that the original command exits with 3 for `Response`.
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

    /// Adds a line that says what the user can do.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.message.push('\n');
        self.message.push_str(hint);
        self
    }
}

/// Converts an I/O error to a failure to write to standard output. Other I/O errors are not
/// converted here, because their failures need more context, such as a path.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(FailureKind::Write, format!("cannot write to standard output ({error})"))
    }
}

/// Joins the texts of an error and of all its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut texts, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    // The text of some errors already includes the text of the cause, so the cause is omitted.
    texts.dedup_by(|cause, error| error.contains(cause.as_str()));
    texts.join(": ")
}
