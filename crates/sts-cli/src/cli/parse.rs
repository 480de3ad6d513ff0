//! Parsing of the arguments, and the errors about wrong arguments.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser};
use ingestion_api::KEY_PREFIX;

use super::Cli;
use super::help::help;
use crate::client::MINIMUM_SERVER;
use crate::error::{Failure, FailureKind};
use crate::printer::{Output, OutputFlags};

const KEY_AS_ARGUMENT: &str = "a key must not be an argument, because other users can read \
                               arguments: give it in the environment variable API_KEY or on \
                               standard input";

/// The result of parsing the arguments.
pub(crate) enum Parsed {
    Command(Box<Cli>),
    /// A text to print instead of running a command: the help or the version.
    Text(String),
}

/// Parses the arguments. The first argument is the name of the program.
pub(crate) fn parse(args: &[OsString]) -> Result<Parsed, Failure> {
    let error = match Cli::try_parse_from(args) {
        Ok(cli) => return Ok(Parsed::Command(Box::new(cli))),
        Err(error) => error,
    };
    let path = command_path(args);
    match error.kind() {
        ErrorKind::DisplayHelp => Ok(Parsed::Text(help(path.iter().map(String::as_str)))),
        ErrorKind::DisplayVersion => {
            Ok(Parsed::Text(format!("minimum supported StackState version: {MINIMUM_SERVER}\n")))
        }
        _ => Err(Failure::new(FailureKind::Usage, message(&error, &path)).with_usage(path)),
    }
}

/// Finds the output flags in arguments that [`parse`] does not accept.
///
/// clap stops at the first error, but `-o json` may come after the error. So this function parses
/// each argument that may be a flag separately. Each time, clap gets the path of the command, this
/// argument, and the next argument, which may be the value of the flag.
pub(crate) fn output_flags(args: &[OsString]) -> OutputFlags {
    let path = command_path(args);
    let command = Cli::command()
        .ignore_errors(true)
        // The help flag of clap would end parsing, so `-hojson` would hide `-o json`.
        .disable_help_flag(true)
        .arg(Arg::new("help").long("help").short('h').global(true).action(ArgAction::SetTrue));
    let args = args.iter().skip(1).take_while(|arg| *arg != "--").collect::<Vec<_>>();
    let mut found = OutputFlags::default();
    for at in 0..args.len() {
        if !args[at].as_encoded_bytes().starts_with(b"-") {
            continue;
        }
        let words = std::iter::once("sts").chain(path.iter().map(String::as_str));
        let words =
            words.map(OsStr::new).chain(args[at..].iter().take(2).map(|arg| arg.as_os_str()));
        let matches = command.clone().try_get_matches_from(words);
        let Ok(flags) = matches.and_then(|matches| OutputFlags::from_arg_matches(&matches)) else {
            continue;
        };
        if flags.output == Output::Json {
            found.output = Output::Json;
        }
        found.no_color |= flags.no_color;
    }
    found
}

/// Returns the failure that reports that the command with this path has no subcommand `name`.
pub(super) fn unknown_command(name: &str, path: &[String]) -> Failure {
    let message = if name.contains(KEY_PREFIX) {
        KEY_AS_ARGUMENT.to_owned()
    } else {
        unknown_command_message(name, path)
    };
    Failure::new(FailureKind::Usage, message).with_usage(path.to_vec())
}

fn unknown_command_message(name: &str, path: &[String]) -> String {
    let command = std::iter::once("sts").chain(path.iter().map(String::as_str));
    format!("unknown command {name:?} for {:?}", command.collect::<Vec<_>>().join(" "))
}

/// Returns the path of the command in the arguments, without `sts`. For example, the path in `sts
/// context -o json list` is `context`, `list`.
fn command_path(args: &[OsString]) -> Vec<String> {
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

/// Returns a text that says what is wrong with the arguments. Texts that scripts may search for are
/// the same as in the original command.
fn message(error: &clap::Error, path: &[String]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(ContextValue::StyledStr(text)) => text.to_string(),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg) + &text(ContextKind::InvalidSubcommand);
    if argument.contains(KEY_PREFIX) || text(ContextKind::InvalidValue).contains(KEY_PREFIX) {
        return KEY_AS_ARGUMENT.to_owned();
    }
    match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            unknown_command_message(&argument, path)
        }
        ErrorKind::UnknownArgument => format!("unknown flag: {argument}"),
        ErrorKind::InvalidSubcommand => unknown_command_message(&argument, path),
        ErrorKind::MissingRequiredArgument => missing_argument(&argument),
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_empty() => {
            format!("flag needs an argument: {}", flag_name(&argument))
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
                    flag_names(&argument, path)
                ),
            }
        }
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            other if other == argument => {
                format!("{} is given more than once: give it once", flag_name(&argument))
            }
            other => format!(
                "{} and {} cannot be used together: give one of them",
                flag_name(&argument),
                flag_name(&other)
            ),
        },
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8: correct it".to_owned(),
        _ => error.kind().as_str().unwrap_or("the arguments are invalid").to_owned(),
    }
}

/// Returns the error about missing arguments. `argument` is clap's text for the missing arguments.
/// It names a positional argument, a list of required flags, or a group of flags of which one is
/// required.
fn missing_argument(argument: &str) -> String {
    if let Some(name) = positional(argument) {
        return format!("required argument {name} not given");
    }
    let (choices, flags): (Vec<_>, Vec<_>) =
        argument.split(", ").partition(|missing| missing.contains('|'));
    match (&flags[..], choices.first()) {
        ([], Some(choice)) => {
            let flags =
                choice.trim_matches(['<', '>']).split('|').map(flag_name).collect::<Vec<_>>();
            format!("nothing to change: give at least one of the flags {}", flags.join(", "))
        }
        _ => {
            let names = flags
                .iter()
                .map(|flag| flag_name(flag).trim_start_matches('-'))
                .collect::<Vec<_>>();
            format!("required flag(s) \"{}\" not set", names.join("\", \""))
        }
    }
}

/// Formats `<SHELL>` as `<shell>`. Returns `None` if `argument` is a flag or several arguments.
fn positional(argument: &str) -> Option<String> {
    let is_one = argument.starts_with('<') && !argument.contains(['-', '|', ' ']);
    is_one.then(|| argument.to_lowercase())
}

/// Formats `--id <int>` as `--id`.
fn flag_name(argument: &str) -> &str {
    argument.split([' ', '[', '=']).next().unwrap_or(argument)
}

/// Formats `--id <int>` as `-i, --id`.
fn flag_names(argument: &str, path: &[String]) -> String {
    let long = flag_name(argument);
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
