//! The output of `sts`, for people and for scripts.

mod escape;
mod flags;
mod json;
mod table;

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::error::Failure;
use escape::escape_lines;

pub(crate) use escape::escape;
pub(crate) use flags::{Output, OutputFlags};
pub(crate) use json::sorted;
pub(crate) use table::Table;

/// The width of a table if stdout is not a terminal, in characters. The original command uses the
/// same width.
const DEFAULT_WIDTH: usize = 80;

const CYAN: &str = "\u{1b}[36m";
const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const WHITE: &str = "\u{1b}[37m";
const RESET: &str = "\u{1b}[0m";

/// Prints results to stdout, and errors, warnings and questions to stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    verbosity: u8,
    /// Whether colors and symbols are printed to stdout.
    stdout_color: bool,
    /// Whether colors and symbols are printed to stderr.
    stderr_color: bool,
}

impl Printer {
    /// Makes a printer from the flags and the environment.
    pub(crate) fn new(flags: &OutputFlags, environment: &Environment) -> Self {
        let json = flags.output == Output::Json;
        let dumb = environment.get("TERM").is_some_and(|term| term.eq_ignore_ascii_case("dumb"));
        let color = !(flags.no_color || json || dumb || environment.has("NO_COLOR"));
        Self {
            json,
            quiet: flags.quiet,
            verbosity: flags.verbose,
            stdout_color: color && io::stdout().is_terminal(),
            stderr_color: color && io::stderr().is_terminal(),
        }
    }

    /// Returns whether only JSON may be printed to stdout.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns whether only the result may be printed to stdout.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether hints are useful. Hints are useful if stderr is a terminal, and the user
    /// asked neither for JSON nor for the result alone.
    pub(crate) fn shows_hints(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Returns whether a person can be asked a question.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Prints that the command succeeded, unless only the result may be printed.
    pub(crate) fn success(&self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.result(true, text)
    }

    /// Prints the result of one of several checks.
    pub(crate) fn result(&self, ok: bool, text: &str) -> io::Result<()> {
        write_stdout(&format!("{} {text}\n", symbol(ok, self.stdout_color)))
    }

    /// Highlights a part of a line, if colors are printed.
    pub(crate) fn highlight(&self, text: &str) -> String {
        if self.stdout_color { format!("{WHITE}{text}{RESET}") } else { text.to_owned() }
    }

    /// Escapes a text and prints it as a line.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        write_stdout(&format!("{}\n", escape(text)))
    }

    /// Prints a text of several lines. The text must be escaped already.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        ignore_broken_pipe(write_stdout(text))
    }

    /// Prints a table, or the text `empty` if the table has no rows. The cells of a `wide` table
    /// are not wrapped, so the table may be wider than the terminal. This makes it possible to copy
    /// ids from the cells.
    pub(crate) fn table<const N: usize>(
        &self,
        table: &Table<N>,
        empty: &str,
        wide: bool,
    ) -> io::Result<()> {
        if table.rows.is_empty() {
            return self.line(empty);
        }
        let width =
            terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        let width = if wide { None } else { width.or(Some(DEFAULT_WIDTH)) };
        let color = self.stdout_color;
        let text =
            table.render(width, |cell| if color { format!("{CYAN}{cell}{RESET}") } else { cell });
        ignore_broken_pipe(write_stdout(&format!("{text}\n")))
    }

    /// Prints a value as a JSON document. Keys keep the order of the value.
    pub(crate) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        write_stdout(&format!("{}\n", json::pretty(value)?))
    }

    /// Prints why a command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            let mut value = json!({"error": true, "error-message": failure.message});
            if let Some(body) = &failure.body {
                value["error-body"] = body.clone();
            }
            self.error_json(&value);
            return;
        }
        let mut message = failure.message.chars();
        let first = message.next().map(char::to_uppercase);
        let message = first.into_iter().flatten().chain(message).collect::<String>();
        let mut text = format!("{} {}\n", symbol(false, self.stderr_color), escape_lines(&message));
        if let Some(body) = failure.body.as_ref().and_then(yaml) {
            text.push_str(&body);
        }
        write_stderr(&text);
    }

    /// Prints a warning.
    pub(crate) fn warning(&self, text: &str) {
        if self.json {
            self.error_json(&json!({"warning": text}));
        } else {
            write_stderr(&format!("[WARNING] {}\n", escape_lines(text)));
        }
    }

    /// Prints a hint for a person.
    pub(crate) fn hint(&self, text: &str) {
        write_stderr(&format!("{}\n", escape_lines(text)));
    }

    /// Prints what the command does, if the verbosity is at least `level`.
    pub(crate) fn trace(&self, level: u8, text: impl FnOnce() -> String) {
        if self.verbosity >= level {
            write_stderr(&format!("{}\n", escape(&text())));
        }
    }

    /// Asks a person a question. Returns true only if the answer is yes.
    pub(crate) fn ask(&self, question: &str) -> bool {
        write_stderr(&format!("{} [y/N] ", escape_lines(question)));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok()
            && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    fn error_json(&self, value: &Value) {
        if let Ok(text) = json::pretty(value) {
            write_stderr(&format!("{text}\n"));
        }
    }
}

fn symbol(ok: bool, color: bool) -> String {
    match (ok, color) {
        (true, true) if cfg!(windows) => format!("{GREEN}[SUCCESS]{RESET}"),
        (false, true) if cfg!(windows) => format!("{RED}[ERROR]{RESET}"),
        (true, true) => "✅".to_owned(),
        (false, true) => "❌".to_owned(),
        (true, false) => "[SUCCESS]".to_owned(),
        (false, false) => "[ERROR]".to_owned(),
    }
}

/// Formats the body of an error response as YAML.
fn yaml(body: &Value) -> Option<String> {
    let options =
        serde_saphyr::ser_options! { compact_list_indent: false, prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&sorted(body).ok()?, options).ok()?;
    Some(format!("{}\n", escape_lines(text.trim_end())))
}

fn write_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Ignores the error of writing to a pipe that the reader has closed. For example, `head` closes
/// its pipe early.
fn ignore_broken_pipe(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// Writes to stderr. An error is ignored, because there is no other place to report it.
fn write_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
