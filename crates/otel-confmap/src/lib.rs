//! The Collector's configuration language: YAML with `${..}`.
//!
//! [`Value::parse`] makes a tree of a text, [`Value::expand`] substitutes, and a [`Node`] reads
//! settings from it into a [`Report`] that tells every problem at once, each with its path and
//! line. The environment is handed in; nothing here reads the one of the process.
//!
//! # Substitution
//!
//! | written | becomes |
//! |---|---|
//! | `${env:NAME}`, `${NAME}` | the environment variable |
//! | `${env:NAME:-text}` | `text` if the variable is not set; one that is set to nothing is nothing |
//! | `${file:path}` | the text of a file |
//! | `${env:${env:NAME}}` | the inner one first |
//! | `$$` | `$`; so `$${env:NAME}` stays as it is, less one `$` |
//! | `$NAME` | the same: braces are needed |
//!
//! A setting that is nothing but one `${..}` takes the type of what is substituted, read as YAML,
//! and a string setting takes its exact text: `0123` stays `0123`. Text that is not valid YAML is a
//! string. Within a longer text the result is a string. What is substituted is expanded in turn,
//! and its `$$` halved. Keys are never expanded.
//!
//! # Differences from the Collector
//!
//! They are on purpose.
//!
//! | here | there |
//! |---|---|
//! | a variable that is not set and has no default is an error that names it | null, and a warning |
//! | one line end at the end of `${file:path}` is dropped where its text is used | kept, and sent with a token |
//! | a substitution replaces the reference that was found | every equal one in the text, escaped ones too |
//! | `${yaml:..}`, `${http:..}`, `${https:..}` are errors | supported |
//! | a reference in a setting that nobody reads is no error | every one must resolve |
//! | a duration needs its unit, `0` excepted | a bare number is nanoseconds |
//! | scalars have their YAML 1.2 type: `0123` is 123 and `yes` a string | some forms of YAML 1.1 too: `0123` is 83 |
//! | no message holds a value, or a key of a substituted map | errors quote values |
//!
//! # Limits
//!
//! Only regular files are read, no FIFO, socket or device. A text or file has at most 1 MiB
//! ([`MAX_TEXT_LEN`]), 64 levels ([`MAX_DEPTH`]) and 100,000 nodes ([`MAX_NODES`]), keys, each
//! expansion of an alias and the copy behind each anchor included. Aliases and substitutions copy
//! at most 8 MiB, and a setting has at most 1000 substitutions. Duplicate keys and several
//! documents are errors. Of many problems 100 ([`MAX_PROBLEMS`]) are told, and how many more there
//! are.

mod duration;
mod expand;
mod file;
mod node;
mod parse;
mod problem;
mod scalar;
#[cfg(test)]
mod tests;
mod value;

pub use node::{Map, Node};
pub use problem::{Problem, Report};
pub use value::Value;

/// Longest text or file, in bytes.
pub const MAX_TEXT_LEN: usize = 1 << 20;

/// Most maps and lists inside one another.
pub const MAX_DEPTH: usize = 64;

/// Most nodes of a tree.
pub const MAX_NODES: usize = 100_000;

/// Most problems of a configuration that are told, and most warnings.
pub const MAX_PROBLEMS: usize = 100;

/// How environment variables are looked up: `None` if one is not set.
///
/// In a program it is `&|name: &str| std::env::var(name).ok()`.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Most bytes that aliases and substitutions copy.
const MAX_COPIED: usize = 8 << 20;

/// What a tree may still use up; a small text can ask for a very large tree.
struct Budget {
    nodes: usize,
    copied: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: MAX_NODES, copied: MAX_COPIED }
    }
}

impl Budget {
    fn charge(&mut self, size: &value::Size) -> Result<(), String> {
        self.charge_nodes(size.nodes)?;
        self.charge_copied(size.bytes)
    }

    fn charge_nodes(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes =
            self.nodes.checked_sub(nodes).ok_or_else(|| format!("more than {MAX_NODES} nodes"))?;
        Ok(())
    }

    fn charge_copied(&mut self, bytes: usize) -> Result<(), String> {
        self.copied = self.copied.checked_sub(bytes).ok_or_else(|| {
            format!("aliases and substitutions copy more than {MAX_COPIED} bytes")
        })?;
        Ok(())
    }
}
