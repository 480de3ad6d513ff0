//! Builds a tree from the events of a YAML parser.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::budget::{Budget, MAX_DEPTH, MAX_TEXT_LEN};
use crate::value::{Content, Entry, Scalar};
use crate::{Problem, ScalarKind, Value, scalar};

impl Value {
    /// Reads one YAML document. An empty text becomes an empty map. To substitute references, call
    /// [`expand`](Self::expand) afterwards.
    ///
    /// # Errors
    ///
    /// Returns a problem if the text is not one YAML document, has a duplicate key, or is beyond
    /// one of the [limits](crate#limits).
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_TEXT_LEN {
            return Err(Problem::new(
                "",
                None,
                format!("the text is longer than {MAX_TEXT_LEN} bytes"),
            ));
        }
        let mut value = document(text, &mut Budget::default())?;
        if value.is_null() {
            value.content = Content::Map(Vec::new());
        }
        Ok(value)
    }
}

/// Reads the only document in `text`. An empty text becomes null.
pub(super) fn document(text: &str, budget: &mut Budget) -> Result<Value, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { budget, open: Vec::new(), anchors: HashMap::new(), root: None };
    let mut documents = 0;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax(&error, text))?;
        let line = span.start.line();
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(ellipsis(text, line)
                    .unwrap_or_else(|| problem(line, "there is more than one YAML document")));
            }
        }
        builder.event(event, line)?;
    }
    Ok(builder.root.unwrap_or_else(|| Value::new(plain(String::new()), 1)))
}

/// Builds the tree without recursion, so that a deeply nested text cannot overflow the stack.
struct Builder<'b> {
    budget: &'b mut Budget,
    open: Vec<Collection>,
    anchors: HashMap<usize, Value>,
    root: Option<Value>,
}

struct Collection {
    line: usize,
    anchor: usize,
    kind: CollectionKind,
}

enum CollectionKind {
    List(Vec<Value>),
    Map { entries: Vec<Entry>, keys: HashSet<String>, key: Option<Key>, merged: Vec<Value> },
}

/// A key whose value comes next.
enum Key {
    Name {
        key: String,
        line: usize,
    },
    /// A plain `<<`. It is part of YAML 1.1, and Collector configurations use it.
    Merge,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain;
                let kind = kind(&text, quoted, tag.as_deref(), line)?;
                let scalar = Scalar { text: text.into_owned(), kind, quoted };
                self.complete(Value::new(Content::Scalar(scalar), line), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", line)?;
                self.open(Collection { line, anchor, kind: CollectionKind::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", line)?;
                let kind = CollectionKind::Map {
                    entries: Vec::new(),
                    keys: HashSet::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.open(Collection { line, anchor, kind })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(collection) => {
                    let content = match collection.kind {
                        CollectionKind::List(items) => Content::List(items),
                        CollectionKind::Map { entries, keys, merged, .. } => {
                            Content::Map(merge(entries, keys, merged, line)?)
                        }
                    };
                    self.complete(Value::new(content, collection.line), collection.anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some(value) = self.anchors.get(&anchor) else {
                    return Err(problem(line, "an alias refers to a value that contains it"));
                };
                let size = value.measure();
                self.budget.charge(&size).map_err(|message| problem(line, message))?;
                if self.open.len() + size.levels > MAX_DEPTH {
                    return Err(too_deep(line));
                }
                let mut value = value.clone();
                value.line = line;
                self.place(value)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, collection: Collection) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(collection.line));
        }
        self.open.push(collection);
        Ok(())
    }

    /// Adds a finished value to the tree. If the value has an anchor, a copy is kept for the
    /// aliases of this anchor. The nodes and bytes of the copy count against the budget too.
    fn complete(&mut self, value: Value, anchor: usize) -> Result<(), Problem> {
        self.budget.charge_nodes(1).map_err(|message| problem(value.line, message))?;
        if anchor > 0 {
            self.budget.charge(&value.measure()).map_err(|message| problem(value.line, message))?;
            self.anchors.insert(anchor, value.clone());
        }
        self.place(value)
    }

    fn place(&mut self, value: Value) -> Result<(), Problem> {
        match self.open.last_mut().map(|collection| &mut collection.kind) {
            None => self.root = Some(value),
            Some(CollectionKind::List(items)) => items.push(value),
            Some(CollectionKind::Map { entries, keys, key, merged }) => match key.take() {
                Some(Key::Name { key, line }) => entries.push(Entry { key, line, value }),
                Some(Key::Merge) => merged.push(value),
                None => *key = Some(new_key(value, keys, !merged.is_empty())?),
            },
        }
        Ok(())
    }
}

fn new_key(value: Value, keys: &mut HashSet<String>, merged: bool) -> Result<Key, Problem> {
    let found = value.describe();
    let Content::Scalar(scalar) = value.content else {
        return Err(problem(value.line, format!("expected a scalar as a key, found {found}")));
    };
    let merge = scalar.text == "<<" && !scalar.quoted;
    let duplicate = if merge { merged } else { !keys.insert(scalar.text.clone()) };
    if duplicate {
        return Err(problem(
            value.line,
            format!("the key `{}` stands twice in one map", scalar.text.escape_debug()),
        ));
    }
    Ok(if merge { Key::Merge } else { Key::Name { key: scalar.text, line: value.line } })
}

/// Adds the entries of the maps that the values of `<<` contain. If a key occurs more than once,
/// the entry of the map itself takes precedence, and then the entry of the first merged map with
/// this key.
fn merge(
    mut entries: Vec<Entry>,
    mut keys: HashSet<String>,
    merged: Vec<Value>,
    line: usize,
) -> Result<Vec<Entry>, Problem> {
    let maps = merged.into_iter().flat_map(|value| match value.content {
        Content::List(items) => items,
        content => vec![Value::new(content, value.line)],
    });
    for map in maps {
        let found = map.describe();
        let Content::Map(more) = map.content else {
            return Err(problem(
                line,
                format!("`<<` expected a map or a list of maps, found {found}"),
            ));
        };
        entries.extend(more.into_iter().filter(|entry| keys.insert(entry.key.clone())));
    }
    Ok(entries)
}

fn kind(text: &str, quoted: bool, tag: Option<&Tag>, line: usize) -> Result<ScalarKind, Problem> {
    let Some(tag) = tag else {
        return Ok(if quoted { ScalarKind::String } else { scalar::resolve(text) });
    };
    let kind = scalar::resolve(text);
    let name = if tag.is_yaml_core_schema() { tag.suffix.as_str() } else { "" };
    match (name, kind) {
        ("str", _) => Ok(ScalarKind::String),
        // The tag is `!`, which marks a string ("non-specific tag" in the YAML specification).
        ("", _) if tag.handle.is_empty() && tag.suffix == "!" => Ok(ScalarKind::String),
        ("null", ScalarKind::Null)
        | ("bool", ScalarKind::Bool(_))
        | ("int", ScalarKind::Int(_))
        | ("float", ScalarKind::Float(_)) => Ok(kind),
        #[expect(clippy::cast_precision_loss, reason = "the tag `!!float` asks for the conversion")]
        ("float", ScalarKind::Int(value)) => Ok(ScalarKind::Float(value as f64)),
        ("null" | "bool" | "int" | "float", _) => {
            Err(problem(line, format!("the value is not what its tag `!!{name}` says")))
        }
        _ => Err(unsupported_tag(line)),
    }
}

fn check_tag(tag: Option<&Tag>, expected: &str, line: usize) -> Result<(), Problem> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(unsupported_tag(line))
        }
        _ => Ok(()),
    }
}

fn unsupported_tag(line: usize) -> Problem {
    problem(
        line,
        "the tag is not supported; those of the YAML core schema are: !!null, !!bool, !!int, !!float, !!str, !!seq, !!map",
    )
}

fn too_deep(line: usize) -> Problem {
    problem(line, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn problem(line: usize, message: impl Into<String>) -> Problem {
    Problem::new("", Some(line), message)
}

fn plain(text: String) -> Content {
    Content::Scalar(Scalar { kind: scalar::resolve(&text), text, quoted: false })
}

fn syntax(error: &ScanError, text: &str) -> Problem {
    let line = error.marker().line();
    ellipsis(text, line).unwrap_or_else(|| {
        problem(
            line,
            format!("not valid YAML: {}, at column {}", error.info(), error.marker().col() + 1),
        )
    })
}

/// Returns a problem about a line `...`, if such a line made the parser fail. Examples in
/// documentation mark omitted parts with `...`, but YAML reads this as the end of a document or as
/// a broken key. The parser fails in that line, or in the next line that is neither blank nor a
/// comment.
fn ellipsis(text: &str, until: usize) -> Option<Problem> {
    let lines: Vec<_> = text.lines().map(str::trim).zip(1..=until).collect();
    let mut written =
        lines.into_iter().rev().filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let (_, line) = written.by_ref().take(2).find(|(line, _)| *line == "...")?;
    Some(problem(
        line,
        "a line holds nothing but `...`: it stands for something left out of an example; remove it",
    ))
}
