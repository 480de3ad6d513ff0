//! Substitutes `${..}` and `$$`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::budget::{Budget, MAX_DEPTH, MAX_TEXT_LEN};
use crate::value::{Content, Entry, Scalar};
use crate::{ScalarKind, Value, file, parse};

/// A function that looks up an environment variable, and returns `None` if the variable is not set.
///
/// A program passes `&|name: &str| std::env::var(name).ok()`.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How many substitutions one setting may have, as in the Collector.
const MAX_ROUNDS: usize = 1000;

/// The minimum number of copied bytes that is charged for each substitution. So a great many empty
/// substitutions use up the budget too.
const MIN_COPIED: usize = 64;

impl Value {
    /// Substitutes every `${..}` in values, and replaces `$$` by `$`. The function `env` looks up
    /// environment variables.
    ///
    /// A substitution that fails becomes a problem only when a [`Node`](crate::Node) reads the
    /// setting. So a failure in a setting that nobody reads has no effect.
    #[must_use]
    pub fn expand(self, env: Env<'_>) -> Self {
        let budget = Budget::after(self.measure().nodes);
        Expander { env, budget }.value(self, 0)
    }
}

struct Expander<'a> {
    env: Env<'a>,
    budget: Budget,
}

impl Expander<'_> {
    fn value(&mut self, value: Value, depth: usize) -> Value {
        let Value { content, line, original, substituted, origin } = value;
        let content = match content {
            Content::Scalar(scalar) if scalar.text.contains('$') => {
                let value = self.scalar(scalar, line, substituted, depth);
                return Value { origin: origin.or(value.origin), ..value };
            }
            Content::List(items) => {
                Content::List(items.into_iter().map(|item| self.value(item, depth + 1)).collect())
            }
            Content::Map(entries) => Content::Map(
                entries
                    .into_iter()
                    .map(|Entry { key, line, value }| {
                        let value = self.value(value, depth + 1);
                        Entry { key, line, value }
                    })
                    .collect(),
            ),
            content => content,
        };
        Value { content, line, original, substituted, origin }
    }

    fn scalar(
        &mut self,
        scalar: Scalar,
        line: usize,
        mut substituted: bool,
        depth: usize,
    ) -> Value {
        // Messages may show text of the document itself, but no text that came through `${..}`.
        let written = if substituted { String::new() } else { scalar.text.clone() };
        let Scalar { mut text, kind, quoted } = scalar;
        let failed =
            |message| Value { substituted: true, ..Value::new(Content::Unresolved(message), line) };
        let mut origins = Vec::new();
        let mut start = 0;
        for _ in 0..MAX_ROUNDS {
            let Some(found) = find(&text, &mut start) else {
                let content =
                    Content::Scalar(Scalar { text: text.replace("$$", "$"), kind, quoted });
                return Value {
                    substituted,
                    origin: origin(&origins),
                    ..Value::new(content, line)
                };
            };
            let whole = found == (0..text.len());
            let reference = Reference {
                text: &text[found.clone()],
                public: written.contains(&text[found.clone()]),
            };
            let source = match self.resolve(&reference) {
                Ok(source) => source,
                Err(message) => return failed(message),
            };
            if let Err(message) = self.budget.charge_copied(source.text.len().max(MIN_COPIED)) {
                return failed(message);
            }
            substituted = true;
            origins.extend(source.origin().filter(|origin| !origins.contains(origin)));
            if !whole {
                text.replace_range(found, source.as_text());
                if text.len() > MAX_TEXT_LEN {
                    return failed(format!("substituted to more than {MAX_TEXT_LEN} bytes"));
                }
                continue;
            }
            match self.typed(&source, line, depth, &origins) {
                Ok(Some(value)) => return value,
                Ok(None) => {
                    source.as_text().clone_into(&mut text);
                    start = 0;
                }
                Err(message) => return failed(message),
            }
        }
        failed(format!("more than {MAX_ROUNDS} substitutions: does a value refer to itself?"))
    }

    /// Reads the text of `source` as YAML, for a setting that is one reference and nothing else.
    /// Returns `None` if the text is a string.
    fn typed(
        &mut self,
        source: &Source,
        line: usize,
        depth: usize,
        origins: &[String],
    ) -> Result<Option<Value>, String> {
        // A text that is not YAML is a string. A text that is beyond the limits of YAML documents
        // is a string too, because a secret may look like anything.
        let Ok(mut value) = parse::document(&source.text, &mut Budget::default()) else {
            return Ok(None);
        };
        let text = source.as_text();
        match &mut value.content {
            Content::Scalar(Scalar { kind: ScalarKind::String, .. }) => return Ok(None),
            Content::Scalar(scalar) => text.replace("$$", "$").clone_into(&mut scalar.text),
            _ => value.original = (!text.contains("${")).then(|| text.replace("$$", "$")),
        }
        let size = value.measure();
        if depth + size.levels > MAX_DEPTH {
            return Err(format!(
                "nested deeper than {MAX_DEPTH} levels: does a value refer to itself?"
            ));
        }
        self.budget.charge_nodes(size.nodes)?;
        mark(&mut value, line, origin(origins).as_ref());
        let original = value.original.take();
        let mut value = match value.content {
            Content::Scalar(_) => value,
            _ => self.value(value, depth),
        };
        value.original = original;
        Ok(Some(value))
    }

    fn resolve(&self, reference: &Reference<'_>) -> Result<Source, String> {
        let inner = &reference.text[2..reference.text.len() - 1];
        if inner.contains('$') {
            return Err("a `$` within `${..}` is not supported".to_owned());
        }
        let (scheme, rest) = inner.split_once(':').unwrap_or(("env", inner));
        match scheme {
            "env" => self.variable(rest, reference),
            "file" => match file::read_text(Path::new(rest)) {
                Ok(text) => Ok(Source {
                    text,
                    file: true,
                    named: reference.public.then(|| reference.show("the file", rest)),
                }),
                Err(error) => {
                    Err(format!("cannot read {}: {error}", reference.show("the file", rest)))
                }
            },
            _ => Err(format!(
                "{} is not supported; there are ${{env:NAME}}, ${{env:NAME:-default}}, ${{NAME}} and ${{file:path}}",
                reference.show("the reference", reference.text)
            )),
        }
    }

    fn variable(&self, rest: &str, reference: &Reference<'_>) -> Result<Source, String> {
        let (name, default) = match rest.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (rest, None),
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty()
            || name.starts_with(|first: char| first.is_ascii_digit())
            || !name.bytes().all(legal)
        {
            return Err(format!(
                "{} is not the name of an environment variable: letters, digits and `_`, not a digit first",
                reference.show("the reference", name)
            ));
        }
        match (self.env)(name).or_else(|| default.map(str::to_owned)) {
            Some(text) => {
                let named =
                    reference.public.then(|| reference.show("the environment variable", name));
                Ok(Source { text, file: false, named })
            }
            None => Err(format!(
                "{} is not set; ${{env:NAME:-default}} would give it a default",
                reference.show("the environment variable", name)
            )),
        }
    }
}

/// A `${..}` that was found, and whether the document itself contains it.
struct Reference<'a> {
    text: &'a str,
    public: bool,
}

impl Reference<'_> {
    fn show(&self, what: &str, name: &str) -> String {
        if self.public {
            format!("{what} `{}`", name.escape_debug())
        } else {
            format!("{what} that a substitution names")
        }
    }
}

/// The text that a reference is replaced by.
struct Source {
    text: String,
    file: bool,
    /// The name of the variable or file for messages, if the document itself contains the name.
    named: Option<String>,
}

impl Source {
    /// Returns the text that a string setting takes. If the source is a file, one line end at the
    /// end of the text is dropped.
    fn as_text(&self) -> &str {
        match self.text.strip_suffix('\n') {
            Some(text) if self.file => text.strip_suffix('\r').unwrap_or(text),
            _ => &self.text,
        }
    }

    /// Says why this source may have left a setting empty. Returns `None` if the source may not be
    /// named.
    fn origin(&self) -> Option<String> {
        let why = match (self.text.trim().is_empty(), self.file) {
            (true, false) => "is empty or not set",
            (true, true) => "is empty",
            (false, _) => "refers to something empty",
        };
        self.named.as_ref().map(|named| format!("{named} {why}"))
    }
}

/// Finds the first `}` from `start` that ends a reference, and returns the range of that reference.
/// If references are nested, this is the range of the innermost reference. An escaped `$${` begins
/// no reference. `start` moves past every `}` that ends no reference, so that the next call does
/// not examine this `}` again.
fn find(text: &str, start: &mut usize) -> Option<Range<usize>> {
    while let Some(length) = text[*start..].find('}') {
        let end = *start + length + 1;
        if let Some(open) = text[*start..end].rfind("${").map(|open| *start + open) {
            let before = &text[*start..open];
            let dollars = before.len() - before.trim_end_matches('$').len();
            if dollars.is_multiple_of(2) {
                return Some(open..end);
            }
        }
        *start = end;
    }
    None
}

fn origin(origins: &[String]) -> Option<Arc<str>> {
    (!origins.is_empty()).then(|| origins.join(", ").into())
}

/// Marks a whole tree as substituted: every value gets the line of the reference, and as its origin
/// the variables and files that were substituted.
fn mark(value: &mut Value, line: usize, origin: Option<&Arc<str>>) {
    value.line = line;
    value.substituted = true;
    value.origin = origin.cloned();
    match &mut value.content {
        Content::List(items) => items.iter_mut().for_each(|item| mark(item, line, origin)),
        Content::Map(entries) => {
            for entry in entries {
                entry.line = line;
                mark(&mut entry.value, line, origin);
            }
        }
        Content::Scalar(_) | Content::Unresolved(_) => {}
    }
}
