//! Checks the files of the repository: their length, the width of prose, and which files may import
//! from which.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{output, root};

/// The largest number of lines in a Rust file.
const MAX_LINES: usize = 500;

/// The largest number of columns in a line of prose, which is a comment or a paragraph of Markdown.
/// rustfmt has the same limit for code, and does not change comments.
const MAX_COLUMNS: usize = 100;

/// A Rust or Markdown file of the repository.
struct File {
    /// The path from the root of the workspace.
    path: String,
    text: String,
}

/// Checks the rules below. Fails with a list of all lines and files that break a rule.
pub(super) fn check() -> Result<()> {
    println!("$ git ls-files: lines, columns and imports");
    let mut list = Command::new("git");
    list.current_dir(root()).args(["ls-files", "-z", "--cached", "--others"]);
    let list = output(list.args(["--exclude-standard", "*.rs", "*.md"]))?;
    let files = list.split_terminator('\0').filter_map(|path| read(path).transpose());
    let files = files.collect::<Result<Vec<_>>>()?;
    ensure!(!files.is_empty(), "git lists no file");
    let problems = problems(&files);
    ensure!(problems.is_empty(), "structure:\n{}", problems.join("\n"));
    Ok(())
}

/// Reads a file that git lists. Returns `None` if the file does not exist, because git also lists a
/// file that was deleted without a commit.
fn read(path: &str) -> Result<Option<File>> {
    match fs::read_to_string(root().join(path)) {
        Ok(text) => Ok(Some(File { path: path.to_owned(), text })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.to_owned()),
    }
}

fn problems(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        problems.extend(too_long(file));
        problems.extend(wide_prose(file));
        problems.extend(import_across(file));
    }
    problems.extend(import_from_main(files));
    problems
}

fn too_long(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    (file.is_rust() && lines > MAX_LINES)
        .then(|| format!("{}: {lines} lines; at most {MAX_LINES}", file.path))
}

/// Finds prose that is too wide. Ignores code blocks, tables and URLs in prose, because these
/// cannot be wrapped.
fn wide_prose(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    let mut in_code = false;
    for (number, line) in file.text.lines().enumerate() {
        let mut prose = line.trim_start();
        if file.is_rust() {
            let Some(comment) = prose.strip_prefix("//") else {
                in_code = false;
                continue;
            };
            prose = comment.trim_start_matches(['/', '!']).trim_start();
        }
        let fence = prose.starts_with("```");
        in_code ^= fence;
        let columns = line.chars().count();
        let breakable = !(in_code || fence || prose.starts_with('|') || prose.contains("://"));
        if breakable && columns > MAX_COLUMNS {
            let number = number + 1;
            problems.push(format!("{}:{number}: {columns} columns of prose", file.path));
        }
    }
    problems
}

/// Finds an import from `client` to `server` of the library, or the reverse. Each of the two
/// modules must be usable without the other.
fn import_across(file: &File) -> Option<String> {
    let ends = ["client", "server"];
    let end = ends.iter().find(|end| {
        let source = format!("crates/otlp-auth/src/{end}");
        file.path.starts_with(&format!("{source}/")) || file.path == format!("{source}.rs")
    })?;
    let other = ends.iter().find(|other| *other != end)?;
    let imports = file.crate_paths().iter().any(|path| first_name(path) == *other);
    imports.then(|| format!("{}: {end} imports from {other}", file.path))
}

/// Finds imports from `main.rs`. Items that several files of a program need belong in another file.
fn import_from_main(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for main in files {
        let Some(source) = main.path.strip_suffix("main.rs") else { continue };
        if !source.ends_with("src/") {
            continue;
        }
        let items: Vec<_> = main.code().filter_map(item).collect();
        for file in files.iter().filter(|file| file.path.starts_with(source)) {
            let paths = file.crate_paths();
            let imported = |name: &&&str| paths.iter().any(|path| names(path, name));
            for name in items.iter().filter(imported) {
                problems.push(format!("{}: imports {name} from {}", file.path, main.path));
            }
        }
    }
    problems
}

/// Returns the name of the item that starts on this line, if other files can import it.
fn item(line: &str) -> Option<&str> {
    let line =
        line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let kinds = ["const ", "static ", "fn ", "struct ", "enum ", "type ", "trait "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    Some(first_name(rest))
}

/// Returns whether `path` names the item itself. The path is relative to the crate root. A path
/// through a module with the name of the item does not name the item.
fn names(path: &str, item: &str) -> bool {
    path.strip_prefix(item)
        .is_some_and(|rest| !rest.starts_with(|c: char| is_of_a_name(c) || c == ':'))
}

/// Returns the name at the start of a path.
fn first_name(path: &str) -> &str {
    path.split(|c| !is_of_a_name(c)).next().unwrap_or(path)
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the elements of a group of imports, whose text starts after its opening brace. The
/// elements of a nested group are part of the element that contains the nested group.
fn elements_of_group(text: &str) -> Vec<&str> {
    let (mut elements, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                elements.push(text[start..at].trim());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    elements
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns the lines that are not comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        let is_code = |line: &&str| self.is_rust() && !line.trim_start().starts_with("//");
        self.text.lines().filter(is_code)
    }

    /// Returns the text after each `crate::`. A group such as `crate::{a::B, c}` counts as one path
    /// for each of its elements.
    fn crate_paths(&self) -> Vec<String> {
        let code = self.code().collect::<Vec<_>>().join("\n");
        let mut paths = Vec::new();
        for path in code.split("crate::").skip(1) {
            match path.strip_prefix('{') {
                Some(group) => {
                    paths.extend(elements_of_group(group).into_iter().map(str::to_owned))
                }
                None => paths.push(path.to_owned()),
            }
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(path: &str, text: &str) -> Vec<String> {
        problems(&[File { path: path.to_owned(), text: text.to_owned() }])
    }

    // Scenario: one file has 500 lines and another has 501.
    // Guarantee: only the longer file is a problem.
    #[test]
    fn a_long_file_is_a_problem() {
        assert_eq!(problems_of("a.rs", &"\n".repeat(500)), [""; 0]);
        assert_eq!(problems_of("a.rs", &"\n".repeat(501)), ["a.rs: 501 lines; at most 500"]);
        assert_eq!(problems_of("a.md", &"\n".repeat(501)), [""; 0]);
    }

    // Scenario: lines of 101 columns are in prose, in code blocks, in tables and in URLs.
    // Guarantee: only the lines of prose are problems. Each problem names the file and the line.
    #[test]
    fn wide_prose_is_a_problem() {
        let wide = "ä".repeat(97);
        let text =
            format!("/// {wide}\n/// ```\n/// {wide}\n/// ```\n//! |{wide}\ncode({wide});\n");
        assert_eq!(problems_of("a.rs", &text), ["a.rs:1: 101 columns of prose"]);
        let text = format!("\n```\nlet {wide}\n```\n| {wide} |\n{wide} ://\n{wide}1234");
        assert_eq!(problems_of("a.md", &text), ["a.md:7: 101 columns of prose"]);
    }

    // Scenario: files of one end of the library import from the other end, or only mention it.
    // Guarantee: only the imports are problems, including the imports in a group.
    #[test]
    fn the_ends_of_the_library_are_apart() {
        let client = "crates/otlp-auth/src/client/token.rs";
        let server = "crates/otlp-auth/src/server/mod.rs";
        assert_eq!(
            problems_of(client, "use crate::server::FixedTokens;"),
            [format!("{client}: client imports from server")]
        );
        assert_eq!(
            problems_of(server, "fn f(_: crate::client::Token) {}"),
            [format!("{server}: server imports from client")]
        );
        let grouped =
            "use crate::{\n    Credential,\n    decision::{Decision, Verdict},\n    client::A,\n};";
        assert_eq!(problems_of(server, grouped), [format!("{server}: server imports from client")]);
        assert_eq!(problems_of(client, grouped), [""; 0]);
        assert_eq!(
            problems_of(client, "use crate::{a::{server}, b}; use hyper::{server};"),
            [""; 0]
        );
        assert_eq!(problems_of(client, "/// crate::server\nuse hyper::server;"), [""; 0]);
        assert_eq!(problems_of("crates/otlp-auth/src/lib.rs", "use crate::client::A;"), [""; 0]);
    }

    // Scenario: the `main.rs` of a program has an item and a module. Another file of the program
    // and a file of another program name both the item and the module.
    // Guarantee: only the files of the same program that name the item are problems. This includes
    // names in a group.
    #[test]
    fn nobody_imports_from_main() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let others = "use crate::LIMITS;\nuse crate::cli::LIMIT;\nuse crate::{cli::LIMIT, LIMITS};";
        let code = format!("use crate::LIMIT;\n{others}");
        let files = [
            file("a/src/main.rs", "mod cli;\npub(crate) const LIMIT: u8 = 1;\nfn main() {}"),
            file("a/src/cli/mod.rs", &code),
            file("a/src/cli/grouped.rs", "use crate::{\n    cli::Cli,\n    LIMIT,\n};"),
            file("a/src/cli/others.rs", others),
            file("b/src/cli.rs", &code),
        ];
        assert_eq!(
            problems(&files),
            [
                "a/src/cli/mod.rs: imports LIMIT from a/src/main.rs",
                "a/src/cli/grouped.rs: imports LIMIT from a/src/main.rs",
            ]
        );
    }
}
