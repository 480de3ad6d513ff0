//! Everything that is printed, for people and for scripts.

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

/// The width of a table where there is no terminal to ask, as in the original.
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
    /// Colours and symbols: only for people.
    stdout_color: bool,
    stderr_color: bool,
}

impl Printer {
    /// A printer as the flags and the environment say.
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

    /// Whether stdout is for JSON alone.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether stdout is for what was asked for alone.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person sees what goes to stderr, and wants more than an answer.
    pub(crate) fn has_reader(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Says that something was done.
    pub(crate) fn success(&self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.result(true, text)
    }

    /// Says what a check found. Several of them are what was asked for.
    pub(crate) fn result(&self, ok: bool, text: &str) -> io::Result<()> {
        out(&format!("{} {text}\n", symbol(ok, self.stdout_color)))
    }

    /// A part of a line that stands out.
    pub(crate) fn highlight(&self, text: &str) -> String {
        if self.stdout_color { format!("{WHITE}{text}{RESET}") } else { text.to_owned() }
    }

    /// A line, escaped.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        out(&format!("{}\n", escape(text)))
    }

    /// A text of our own, as it is.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        unless_closed(out(text))
    }

    /// A table, or what to say when it has no rows. It may be wider than the screen only where
    /// `wide`: ids that are cut in two cannot be copied.
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
        unless_closed(out(&format!("{text}\n")))
    }

    /// A JSON document; its keys are in the order of the value.
    pub(crate) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        out(&format!("{}\n", json::pretty(value)?))
    }

    /// Why a command failed.
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
        error(&text);
    }

    /// Something that a person should know, and a script may.
    pub(crate) fn warning(&self, text: &str) {
        if self.json {
            self.error_json(&json!({"warning": text}));
        } else {
            error(&format!("[WARNING] {}\n", escape_lines(text)));
        }
    }

    /// Something that helps a person on.
    pub(crate) fn hint(&self, text: &str) {
        error(&format!("{}\n", escape_lines(text)));
    }

    /// What happens on the way, if asked for at this level of verbosity.
    pub(crate) fn trace(&self, level: u8, text: impl FnOnce() -> String) {
        if self.verbosity >= level {
            error(&format!("{}\n", escape(&text())));
        }
    }

    /// Asks a person, who has to say yes.
    pub(crate) fn ask(&self, question: &str) -> bool {
        error(&format!("{} [y/N] ", escape_lines(question)));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok()
            && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    fn error_json(&self, value: &Value) {
        if let Ok(text) = json::pretty(value) {
            error(&format!("{text}\n"));
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

/// A server's answer as YAML.
fn yaml(body: &Value) -> Option<String> {
    let options =
        serde_saphyr::ser_options! { compact_list_indent: false, prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&sorted(body).ok()?, options).ok()?;
    Some(format!("{}\n", escape_lines(text.trim_end())))
}

fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Whoever reads may have read enough.
fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// There is nowhere to report that stderr is closed.
fn error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
