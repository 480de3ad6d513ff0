use std::ffi::OsString;

use clap::Command;

use super::*;
use crate::printer::Output;

/// Whether errors are printed as JSON when these arguments cannot be parsed.
fn is_json(args: &[String]) -> bool {
    let args = args.iter().map(OsString::from).collect::<Vec<_>>();
    output_flags(&args).output == Output::Json
}

/// Calls `visit` with each command and the arguments that select it.
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

// Scenario: every short flag of every command stands beside `-o json`, before it in the same
// argument and before it in an argument of its own, after an unknown flag.
// Guarantee: the error is JSON, unless the short flag takes `o` as its value. A new short flag is
// covered without a change of this test.
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
    // `-h` of every command, and more than one flag of its own.
    assert!(n_flags > 20, "{n_flags}");
}

// Scenario: the real command is asked for errors of its own definition.
// Guarantee: clap finds none, such as two arguments with the same name.
#[test]
fn the_command_is_well_defined() {
    Cli::command().debug_assert();
}
