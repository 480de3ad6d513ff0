//! The flags that choose how results and errors are printed.

use clap::{ArgAction, Args, ValueEnum};

/// The flags of every command that concern its output.
#[derive(Args, Default)]
pub(crate) struct OutputFlags {
    /// Format of the output (must be { json | text })
    #[arg(
        long,
        short,
        global = true,
        value_name = "enum",
        default_value = "text",
        hide_default_value = true
    )]
    pub(crate) output: Output,
    /// Print the result alone: for a created key, only the key
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Do not print colors
    #[arg(
        long,
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "false",
        hide_default_value = true,
        value_name = "bool"
    )]
    pub(crate) no_color: bool,
    /// Print requests and the status of their responses to stderr, without secrets (twice: also
    /// headers)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The format in which results and errors are printed.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Json,
    #[default]
    Text,
}
