//! The OpenTelemetry Collector's configuration language: YAML in which `${..}` is replaced by an
//! environment variable or a file.
//!
//! [`Value::parse`] reads a text into a tree, and [`Value::expand`] substitutes every `${..}` in
//! the tree. A [`Node`] then reads settings from the tree. A [`Report`] collects what is wrong, so
//! that the user sees every problem at once, each with its path and its line.
//!
//! The crate reads no environment variable itself. The caller passes a function that looks up a
//! variable. The crate also has no schema of a Collector's configuration: it knows no component and
//! no key. It does not use serde, for two reasons: serde stops at the first error, and it does not
//! say how a scalar was written, which decides the meaning of a value like `0123`.
//!
//! # Examples
//!
//! ```
//! use otel_confmap::{ConfigError, Node, Report, Value};
//!
//! struct Exporter {
//!     endpoint: String,
//!     timeout: std::time::Duration,
//! }
//!
//! fn read(text: &str) -> Result<Exporter, ConfigError> {
//!     let environment = |name: &str| (name == "HOST").then(|| "otlp.example.com".to_owned());
//!     let value = Value::parse(text)?.expand(&environment);
//!     let report = Report::new();
//!     let mut endpoint = None;
//!     let mut timeout = None;
//!     if let Some(mut map) = Node::root(&value, &report).map() {
//!         endpoint = map.required("endpoint").and_then(|node| node.string()).map(str::to_owned);
//!         timeout = map.get("timeout").and_then(|node| node.duration());
//!         map.deny_unknown();
//!     }
//!     report.finish()?;
//!     Ok(Exporter {
//!         endpoint: endpoint.unwrap_or_default(),
//!         timeout: timeout.unwrap_or(std::time::Duration::from_secs(5)),
//!     })
//! }
//!
//! let exporter = read("endpoint: https://${env:HOST}:4317")?;
//! assert_eq!(exporter.endpoint, "https://otlp.example.com:4317");
//! assert_eq!(exporter.timeout.as_secs(), 5);
//!
//! let error = read("timeout: soon\nretries: 3").err().unwrap();
//! let paths: Vec<_> = error.problems().iter().map(|problem| problem.path()).collect();
//! assert_eq!(paths, ["endpoint", "timeout", "retries"]);
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! # Substitution
//!
//! | written | becomes |
//! |---|---|
//! | `${env:NAME}`, `${NAME}` | the value of the environment variable |
//! | `${env:NAME:-text}` | `text` if the variable is not set; a variable that is set to an empty value stays empty |
//! | `${file:path}` | the text of the file |
//! | `${env:${env:NAME}}` | the inner reference is substituted first |
//! | `$$` | `$`; so `$${env:NAME}` becomes the text `${env:NAME}` |
//! | `$NAME` | itself: a reference needs its braces |
//!
//! If a setting consists of one `${..}` and nothing else, then the substituted text is read as
//! YAML, and the setting takes the type of that YAML. Substituted text that is not valid YAML is a
//! string. A setting that is read as a string takes the exact text, so that `0123` stays `0123`. If
//! the reference is a part of a longer text, then the result is a string. References in a
//! substituted text are substituted in turn, and `$$` in the text becomes `$`. Keys are never
//! substituted.
//!
//! # Differences from the Collector
//!
//! All these differences are deliberate.
//!
//! | this crate | the Collector |
//! |---|---|
//! | a variable that is not set and has no default is an error, which names the variable | such a variable becomes null, with a warning |
//! | one line end at the end of a file is dropped if the setting takes the file's text | the line end is kept, and sent with a token |
//! | a substitution replaces only the reference that was found | every equal text is replaced, even an escaped one |
//! | `${yaml:..}`, `${http:..}`, `${https:..}` are errors | they are supported |
//! | a reference in a setting that nobody reads is no error | every reference must resolve |
//! | a duration needs its unit, except `0` | a number without a unit is nanoseconds |
//! | scalars have their YAML 1.2 type: `0123` is 123 and `yes` is a string | some forms of YAML 1.1 are read too: `0123` is 83 |
//! | no message contains a value, or a key of a substituted map | errors quote values |
//!
//! # Limits
//!
//! Only regular files are read, no FIFO, socket or device. A text or file has at most 1 MiB, 64
//! levels and 100,000 nodes. Keys count as nodes, and so do the nodes of each expanded alias and of
//! the copy that is kept for each anchor. Aliases and substitutions copy at most 8 MiB. A setting
//! has at most 1,000 substitutions, as in the Collector. Duplicate keys and several documents in
//! one text are errors. A [`Report`] keeps the first 100 problems and the number of the others.
//!
//! # Errors
//!
//! | error | from | means |
//! |---|---|---|
//! | [`Problem`] | [`Value::parse`], [`Value::read_file`] | the text is not YAML, is beyond a limit, or cannot be read |
//! | `Vec<Problem>` | [`Report::finish`] | everything that is wrong with the settings, or the warnings |
//! | [`ConfigError`] | your own reader | one or several problems as one error |

mod budget;
mod duration;
mod error;
mod expand;
mod file;
mod node;
mod parse;
mod problem;
mod scalar;
#[cfg(test)]
mod tests;
mod value;

pub use error::ConfigError;
pub use expand::Env;
pub use node::{Map, Node};
pub use problem::{Problem, Report};
pub use scalar::ScalarKind;
pub use value::Value;
