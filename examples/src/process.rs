//! Functions that every example program uses: print, log, and stop at a signal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use otlp_auth::GenerationReceiver;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Prints a line to stdout without buffering. Errors are ignored, because the program must continue
/// when nobody reads its output.
pub fn print_line(line: impl Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Writes logs to stderr: warnings and errors, or what `RUST_LOG` selects.
pub fn log_to_stderr() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Prints a line each time a changed token file is loaded. `what` says in the line what was loaded:
/// `tokens` for a receiver, `token` for an exporter.
pub async fn report_reloads(what: &str, mut generation: GenerationReceiver) {
    while let Some(generation) = generation.changed().await {
        print_line(format_args!("reloaded {what} generation={generation}"));
    }
}

/// Installs handlers for SIGINT and SIGTERM. The future that it returns resolves at the first
/// signal.
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
