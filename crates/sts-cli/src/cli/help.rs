//! Help texts. They have the sections and the layout of the original command.

use std::fmt::Write;

use clap::builder::ValueRange;
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Cli;
use super::parse::unknown_command;
use crate::client::MINIMUM_SERVER;
use crate::error::Failure;

/// The minimum width of the column with the names of commands.
const NAME_WIDTH: usize = 11;

/// Returns the help of the command with this path. The first unknown name in `path`, and all names
/// after it, are ignored.
pub(super) fn help<'a>(path: impl IntoIterator<Item = &'a str>) -> String {
    let (command, name) = find(path);
    let about = command
        .get_long_about()
        .or(command.get_about())
        .map(ToString::to_string)
        .unwrap_or_default();
    let needs = needs(&name).map(|needs| format!("\n\n{needs}")).unwrap_or_default();
    format!("{about}{needs}\n\n{}", usage_of(&command, &name))
}

/// Returns which server the command with this full name needs.
fn needs(name: &str) -> Option<String> {
    let minimum = format!("Minimum supported StackState version: {MINIMUM_SERVER}");
    if name.starts_with("sts follower ") {
        return Some(
            "Needs the ingestion gateway, because StackState has no such operation".into(),
        );
    }
    Some(match name.strip_prefix("sts ingestion-api-key ")? {
        "check" => {
            "Needs no StackState server and no API token: only the endpoints are asked".into()
        }
        "update" | "rotate" => {
            "Needs the ingestion gateway, because StackState has no such operation".into()
        }
        "describe" => format!(
            "{minimum} (only the ingestion gateway reports the status, the last use and the \
             counters)"
        ),
        _ => minimum,
    })
}

/// Returns the help of the command that `path` names, without the description.
pub(crate) fn usage<'a>(path: impl IntoIterator<Item = &'a str>) -> String {
    let (command, name) = find(path);
    usage_of(&command, &name)
}

/// Returns the help that `sts help` prints for `path`. An unknown command is a failure.
pub(super) fn requested(path: &[String]) -> Result<String, Failure> {
    let root = Cli::command();
    let mut command = &root;
    for (at, part) in path.iter().enumerate() {
        match command.find_subcommand(part) {
            Some(found) => command = found,
            None => return Err(unknown_command(part, &path[..at])),
        }
    }
    Ok(help(path.iter().map(String::as_str)))
}

/// Finds the command that `path` names. Returns the command and its full name, which begins with
/// `sts`.
fn find<'a>(path: impl IntoIterator<Item = &'a str>) -> (Command, String) {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    let mut name = root.get_name().to_owned();
    for part in path {
        let Some(found) = command.find_subcommand(part) else { break };
        command = found;
        let _ = write!(name, " {part}");
    }
    (command.clone(), name)
}

/// Renders the part of the help that follows the description, from the usage to the flags.
fn usage_of(command: &Command, name: &str) -> String {
    let has_commands = command.has_subcommands();
    let mut text = format!("Usage:\n  {}\n", usage_line(command, name));
    if has_commands {
        text.push_str("\nAvailable Commands:\n");
        let mut commands =
            command.get_subcommands().filter(|command| !command.is_hide_set()).collect::<Vec<_>>();
        commands.sort_by_key(|command| command.get_name());
        let width =
            commands.iter().map(|command| command.get_name().len()).fold(NAME_WIDTH, usize::max);
        for command in commands {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:width$} {about}", command.get_name());
        }
    }
    let mut positionals = command.get_positionals().peekable();
    if positionals.peek().is_some() {
        text.push_str("\nArguments:\n");
    }
    for arg in positionals {
        let _ = writeln!(
            text,
            "  {}   {}",
            arg.get_id(),
            arg.get_help().map(ToString::to_string).unwrap_or_default()
        );
    }
    let is_root = !name.contains(' ');
    // The help of a command that only groups other commands shows no flags, as in the
    // documentation.
    if is_root || !has_commands {
        flags(&mut text, "Flags", command, name, |arg| is_root || !arg.is_global_set());
        flags(&mut text, "Global Flags", command, name, |arg| !is_root && arg.is_global_set());
    }
    if has_commands {
        let _ = writeln!(
            text,
            "\nUse \"{name} [command] --help\" for more information about a command."
        );
    }
    text
}

fn usage_line(command: &Command, name: &str) -> String {
    if command.has_subcommands() {
        return format!("{name} [command]");
    }
    let mut line = name.to_owned();
    match name {
        "sts context save" => {
            line.push_str(" --url URL {--api-token TOKEN | --service-token TOKEN}")
        }
        _ => {
            for arg in
                command.get_arguments().filter(|arg| arg.is_required_set() || arg.is_positional())
            {
                let _ = match arg.get_long() {
                    Some(long) => write!(line, " --{long} {}", long.to_uppercase()),
                    None if arg.is_required_set() => write!(line, " <{}>", arg.get_id()),
                    None => write!(line, " [{}]", arg.get_id()),
                };
            }
        }
    }
    line + " [flags]"
}

fn flags(
    text: &mut String,
    title: &str,
    command: &Command,
    name: &str,
    is_shown: impl Fn(&Arg) -> bool,
) {
    let mut lines = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && is_shown(arg))
        .filter_map(|arg| Some((arg.get_long()?, line(arg, name))))
        .collect::<Vec<_>>();
    lines.sort();
    let width = lines.iter().map(|(_, (left, _))| left.len()).max().unwrap_or_default();
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{title}:");
    }
    for (_, (left, about)) in lines {
        let _ = writeln!(text, "{left:width$}   {about}");
    }
}

/// Renders one line of the help: the flag with its value, and the description of the flag.
fn line(arg: &Arg, name: &str) -> (String, String) {
    let mut left =
        arg.get_short().map_or_else(|| "      ".to_owned(), |short| format!("  -{short}, "));
    let _ = write!(left, "--{}", arg.get_long().unwrap_or_default());
    if matches!(arg.get_action(), ArgAction::Set)
        && arg.get_num_args().is_none_or(|values| values == ValueRange::SINGLE)
    {
        let _ = write!(
            left,
            " {}",
            arg.get_value_names().and_then(<[_]>::first).map_or("string", |name| name.as_str())
        );
    }
    let about = match arg.get_action() {
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong => {
            format!("help for {}", name.rsplit(' ').next().unwrap_or(name))
        }
        _ => arg.get_help().map(ToString::to_string).unwrap_or_default(),
    };
    (left, about)
}
