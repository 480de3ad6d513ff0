//! From arguments to a command, and what is said about arguments that are none.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use ingestion_api::KEY_PREFIX;

use super::{Cli, help};
use crate::error::{Failure, Kind};

/// What the arguments ask for.
pub(crate) enum Parsed {
    Command(Box<Cli>),
    /// A text to be printed, and nothing else.
    Text(String),
}

/// Reads the arguments, the name of the program first.
pub(crate) fn parse(args: &[OsString]) -> Result<Parsed, Failure> {
    let error = match Cli::try_parse_from(args) {
        Ok(cli) => return Ok(Parsed::Command(Box::new(cli))),
        Err(error) => error,
    };
    let path = path(args);
    match error.kind() {
        ErrorKind::DisplayHelp => Ok(Parsed::Text(help(path.iter().map(String::as_str)))),
        ErrorKind::DisplayVersion => Ok(Parsed::Text(format!(
            "minimum supported StackState version: {}\n",
            crate::MINIMUM_SERVER
        ))),
        _ => Err(Failure::new(Kind::Usage, message(&error, &path)).with_usage(path)),
    }
}

/// Whether errors are to be printed as JSON, also errors in the arguments.
pub(crate) fn wants_json(args: &[OsString]) -> bool {
    let args = args
        .iter()
        .skip(1)
        .map(|arg| arg.to_string_lossy())
        .take_while(|arg| arg != "--")
        .collect::<Vec<_>>();
    args.iter().enumerate().any(|(at, arg)| {
        let next = args.get(at + 1).map_or("", |next| next);
        match short_output(arg) {
            Some("") => next == "json",
            Some(value) => value.trim_start_matches('=') == "json",
            None => arg == "--output=json" || (arg == "--output" && next == "json"),
        }
    })
}

/// What follows `o` in flags of one letter, as in `-qo`.
fn short_output(arg: &str) -> Option<&str> {
    let letters = arg.strip_prefix('-').filter(|letters| !letters.starts_with('-'))?;
    // Those that take no value.
    letters.trim_start_matches(['q', 'v', 'y', 'h']).strip_prefix('o')
}

/// Whether errors in the arguments may have colours.
pub(crate) fn wants_color(args: &[OsString]) -> bool {
    !args
        .iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg == "--no-color" || arg == "--no-color=true")
}

/// The commands among the arguments, from the root.
fn path(args: &[OsString]) -> Vec<String> {
    let mut root = Cli::command();
    root.build();
    let (mut command, mut path) = (&root, Vec::new());
    for arg in args.iter().skip(1) {
        if let Some(found) = arg.to_str().and_then(|arg| command.find_subcommand(arg)) {
            path.push(found.get_name().to_owned());
            command = found;
        }
    }
    path
}

/// What is wrong, in the words of the original where scripts may look for them.
fn message(error: &clap::Error, path: &[String]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(ContextValue::StyledStr(text)) => text.to_string(),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg) + &text(ContextKind::InvalidSubcommand);
    if argument.contains(KEY_PREFIX) || text(ContextKind::InvalidValue).contains(KEY_PREFIX) {
        return "a key is never an argument: others could read it; use API_KEY or standard input"
            .to_owned();
    }
    let command =
        std::iter::once("sts").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            format!("unknown command {argument:?} for {command:?}")
        }
        ErrorKind::UnknownArgument => format!("unknown flag: {argument}"),
        ErrorKind::InvalidSubcommand => format!("unknown command {argument:?} for {command:?}"),
        ErrorKind::MissingRequiredArgument => missing(&argument),
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_empty() => {
            format!("flag needs an argument: {}", bare(&argument))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue);
            let reason = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(valid)) => {
                    format!(
                        "invalid enum value {value:?}, allowed values are [{}]",
                        valid.join(", ")
                    )
                }
                _ => std::error::Error::source(error).map(ToString::to_string).unwrap_or_default(),
            };
            match positional(&argument) {
                Some(name) => format!("invalid argument {value:?} for {name}: {reason}"),
                None => format!(
                    "invalid argument {value:?} for \"{}\" flag: {reason}",
                    flag(&argument, path)
                ),
            }
        }
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            other if other == argument => format!("{} is given more than once", bare(&argument)),
            other => format!("{} and {} exclude each other", bare(&argument), bare(&other)),
        },
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        _ => error.kind().as_str().unwrap_or("the arguments make no sense").to_owned(),
    }
}

/// What is missing: flags, or one of several.
fn missing(argument: &str) -> String {
    if let Some(name) = positional(argument) {
        return format!("required argument {name} not given");
    }
    let (choices, flags): (Vec<_>, Vec<_>) =
        argument.split(", ").partition(|missing| missing.contains('|'));
    match (&flags[..], choices.first()) {
        ([], Some(choice)) => {
            let flags = choice.trim_matches(['<', '>']).split('|').map(bare).collect::<Vec<_>>();
            format!("nothing to do: at least one of the flags {} is needed", flags.join(", "))
        }
        _ => {
            let names =
                flags.iter().map(|flag| bare(flag).trim_start_matches('-')).collect::<Vec<_>>();
            format!("required flag(s) \"{}\" not set", names.join("\", \""))
        }
    }
}

/// `<SHELL>` as `<shell>`; nothing if it is a flag, or several.
fn positional(argument: &str) -> Option<String> {
    let is_one = argument.starts_with('<') && !argument.contains(['-', '|', ' ']);
    is_one.then(|| argument.to_lowercase())
}

/// `--id <int>` as `--id`.
fn bare(argument: &str) -> &str {
    argument.split([' ', '[', '=']).next().unwrap_or(argument)
}

/// `--id <int>` as `-i, --id`.
fn flag(argument: &str, path: &[String]) -> String {
    let long = bare(argument);
    let mut root = Cli::command();
    root.build();
    let command =
        path.iter().fold(&root, |command, part| command.find_subcommand(part).unwrap_or(command));
    let short = command
        .get_arguments()
        .find(|arg| arg.get_long() == long.strip_prefix("--"))
        .and_then(|arg| arg.get_short());
    short.map_or_else(|| long.to_owned(), |short| format!("-{short}, {long}"))
}
