//! Merges files and `--set` options into one tree of settings.

use std::path::PathBuf;

use otel_confmap::{Problem, Value};

/// The files and `--set` options of the command line. Later files override earlier files, and
/// `--set` overrides all files.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// YAML files.
    pub files: Vec<PathBuf>,
    /// Settings in the form `path.to.key=value`, where the value is YAML.
    pub sets: Vec<String>,
}

impl Sources {
    /// Merges the sources that can be read. Also returns the problems of the sources that cannot be
    /// read. References to the environment are not replaced yet.
    pub(super) fn read(&self) -> Result<(Value, Vec<Problem>), Problem> {
        let files = self.files.iter().map(|path| {
            Value::read_file(path).map_err(|problem| {
                let shown = path.display().to_string();
                let known = problem.message().contains(&shown);
                let message = if known {
                    problem.message().to_owned()
                } else {
                    format!("{shown}: {}", problem.message())
                };
                Problem::new(problem.path(), problem.line(), message)
            })
        });
        let sets = self.sets.iter().map(|set| parse_set(set));
        let mut merged = Value::parse("")?;
        let mut problems = Vec::new();
        for source in files.chain(sets) {
            match source {
                Ok(value) => merged.merge(value),
                Err(problem) => problems.push(problem),
            }
        }
        Ok((merged, problems))
    }

    pub(super) fn is_one_file(&self) -> bool {
        self.files.len() == 1 && self.sets.is_empty()
    }
}

/// Parses `a.b=c` as the tree `a: {b: c}`.
fn parse_set(text: &str) -> Result<Value, Problem> {
    const EXPECTED: &str = "--set: expected path.to.key=value";
    let Some((path, value)) = text.split_once('=') else {
        return Err(Problem::new("", None, EXPECTED));
    };
    let is_key = |key: &str| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !path.split('.').all(is_key) {
        return Err(Problem::new(
            "",
            None,
            format!("{EXPECTED}; the keys of a path are letters, digits and `_`"),
        ));
    }
    if value.contains(['\n', '\r']) {
        return Err(Problem::new(path, None, "--set: the value has more than one line"));
    }
    if has_comment(value) {
        return Err(Problem::new(
            path,
            None,
            "--set: ` #` begins a comment; quote the value, as in '\"a #b\"'",
        ));
    }
    let mut yaml = String::new();
    for (depth, key) in path.split('.').enumerate() {
        yaml.push_str(&format!(
            "{}{}{key}: ",
            if depth == 0 { "" } else { "\n" },
            " ".repeat(depth)
        ));
    }
    yaml.push_str(value);
    Value::parse(&yaml)
        .map_err(|problem| Problem::new(path, None, format!("--set: {}", problem.message())))
}

/// Returns whether YAML would silently drop the end of the value as a comment. That happens if the
/// text before a `#` is valid YAML by itself. If the `#` is inside quotes, that text is not valid,
/// because its quote is not closed.
fn has_comment(value: &str) -> bool {
    let starts = value.match_indices('#').map(|(start, _)| &value[..start]);
    starts
        .filter(|before| before.is_empty() || before.ends_with([' ', '\t']))
        .any(|before| Value::parse(&format!("a: {before}")).is_ok())
}
