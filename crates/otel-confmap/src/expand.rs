//! `${..}` and `$$`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::value::{Content, Entry, Kind, Scalar, Value};
use super::{Budget, Env, MAX_DEPTH, file, parse};

/// Most substitutions in one setting, as in the Collector.
const MAX_ROUNDS: usize = 1000;

/// What a substitution costs at least, so that a great many empty ones end as well.
const MIN_COPIED: usize = 64;

pub(super) fn expand(value: Value, env: Env<'_>) -> Value {
    let mut budget = Budget::default();
    budget.nodes = budget.nodes.saturating_sub(value.measure().nodes);
    Expander { env, budget }.value(value, 0)
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
                    .map(|Entry { key, value }| Entry { key, value: self.value(value, depth + 1) })
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
        // What the document itself says may be shown; what came through `${..}` may not.
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
                if text.len() > super::MAX_TEXT_LEN {
                    return failed(format!(
                        "substituted to more than {} bytes",
                        super::MAX_TEXT_LEN
                    ));
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

    /// The value of a whole setting, if it is not a string.
    fn typed(
        &mut self,
        source: &Source,
        line: usize,
        depth: usize,
        origins: &[String],
    ) -> Result<Option<Value>, String> {
        // What is not YAML is text. That includes a tree beyond the limits: secrets may look like
        // anything.
        let Ok(mut value) = parse::document(&source.text, &mut Budget::default()) else {
            return Ok(None);
        };
        let text = source.as_text();
        match &mut value.content {
            Content::Scalar(Scalar { kind: Kind::String, .. }) => return Ok(None),
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

/// `${..}`, and whether the document itself holds it.
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

/// What a reference stands for.
struct Source {
    text: String,
    file: bool,
    /// What it is, if the document itself names it.
    named: Option<String>,
}

impl Source {
    /// The text as a string setting takes it: less the line end that every text file has.
    fn as_text(&self) -> &str {
        match self.text.strip_suffix('\n') {
            Some(text) if self.file => text.strip_suffix('\r').unwrap_or(text),
            _ => &self.text,
        }
    }

    /// How it can be the reason that a setting is empty.
    fn origin(&self) -> Option<String> {
        let why = match (self.text.trim().is_empty(), self.file) {
            (true, false) => "is empty or not set",
            (true, true) => "is empty",
            (false, _) => "refers to something empty",
        };
        self.named.as_ref().map(|named| format!("{named} {why}"))
    }
}

/// The first `}` from `start` on with a `${` before it that is not escaped: the innermost reference
/// of the first one. `start` moves behind every `}` that belongs to none, so that a next round need
/// not look at them again.
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

/// Gives a substituted tree the line of its reference, and what that names.
fn mark(value: &mut Value, line: usize, origin: Option<&Arc<str>>) {
    value.line = line;
    value.substituted = true;
    value.origin = origin.cloned();
    match &mut value.content {
        Content::List(items) => items.iter_mut().for_each(|item| mark(item, line, origin)),
        Content::Map(entries) => {
            entries.iter_mut().for_each(|entry| mark(&mut entry.value, line, origin))
        }
        Content::Scalar(_) | Content::Unresolved(_) => {}
    }
}
