use std::ffi::OsString;

use clap::Command;

use super::*;
use crate::printer::Output;

/// Returns whether errors are printed as JSON if these arguments cannot be parsed.
fn is_json(args: &[String]) -> bool {
    let args = args.iter().map(OsString::from).collect::<Vec<_>>();
    output_flags(&args).output == Output::Json
}

/// Calls `visit` with each command and the arguments that select the command.
fn for_each_command(
    command: &Command,
    path: &[String],
    visit: &mut impl FnMut(&Command, &[String]),
) {
    visit(command, path);
    for below in command.get_subcommands() {
        let path = [path, &[below.get_name().to_owned()]].concat();
        for_each_command(below, &path, visit);
    }
}

// Scenario: after an unknown flag, each short flag of each command is combined with `-o json`. The
// short flag is in the same argument as `-o`, or in an argument before or after `-o json`.
// Guarantee: the error is JSON, unless the short flag takes a value and the `o` after it is that
// value. The test finds new short flags by itself.
#[test]
fn every_short_flag_leaves_errors_json() {
    let mut root = Cli::command();
    root.build();
    let mut n_flags = 0;
    for_each_command(&root, &["sts".to_owned()], &mut |command, path| {
        for arg in command.get_arguments() {
            let Some(short) = arg.get_short().filter(|short| *short != 'o') else { continue };
            n_flags += 1;
            let takes_value = arg.get_action().takes_values();
            let with = |args: &[&str]| {
                let args = args.iter().map(|arg| arg.replace('?', &short.to_string()));
                [path, &["--bogus".to_owned()], &args.collect::<Vec<_>>()].concat()
            };
            for clustered in [&["-?ojson"][..], &["-?o", "json"], &["-?o=json"]] {
                assert_eq!(is_json(&with(clustered)), !takes_value, "{:?}", with(clustered));
            }
            let value = if takes_value { "7" } else { "" };
            for apart in [
                with(&[&format!("-?{value}"), "-o", "json"]),
                with(&["-o", "json", &format!("-?{value}")]),
                with(&["-ojson", "-?", value]),
            ] {
                assert!(is_json(&apart), "{apart:?}");
            }
        }
    });
    // Each command has at least `-h`, so the test must have found more than 20 short flags.
    assert!(n_flags > 20, "{n_flags}");
}

// Scenario: clap checks the definition of the real command.
// Guarantee: clap finds no error, such as two arguments with the same name.
#[test]
fn the_command_is_well_defined() {
    Cli::command().debug_assert();
}
