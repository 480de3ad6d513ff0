//! What any of the programs does: print, log, stop.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Prints a line to stdout at once. Nobody may be listening any more: that is no reason to stop.
pub fn print_line(line: impl Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Sends logs to stderr: warnings and errors, unless `RUST_LOG` says otherwise.
pub fn log_to_stderr() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Prints a line for each change of a token file that was taken over, about its `tokens` or its
/// `token`.
pub async fn report_reloads(what: &str, mut generation: watch::Receiver<u64>) {
    while generation.changed().await.is_ok() {
        let generation = *generation.borrow_and_update();
        print_line(format_args!("reloaded {what} generation={generation}"));
    }
}

/// Installs handlers for SIGINT and SIGTERM; the future waits for the first of them.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
