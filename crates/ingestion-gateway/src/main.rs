//! `ingestion-gateway`: the program around the library. It reads the command line and the
//! environment, and turns failures into exit codes.

mod cli;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use cli::{Cli, Command, ConfigCommand, StorageCommand};
use ingestion_gateway::config::Config;
use ingestion_gateway::telemetry::logs::Logs;
use ingestion_gateway::{RunError, Workers, storage};
use ingestion_keys::store::{BackedUp, Copied};
use otel_confmap::Problem;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// Gives memory back to the operating system when it is free, with a thread of its own. The
/// allocator of the C library keeps what thousands of closed connections have used.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code after an invalid command line or an invalid configuration.
const USAGE: u8 = 64;

/// The exit code after an error in this program.
const INTERNAL: u8 = 70;

/// The number of threads that serve management, authorize and telemetry.
const CONTROL_THREADS: usize = 2;

/// How long the process waits for the last threads of each runtime before it ends.
const LAST_THREADS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap returns the text of `--help` and `--version` as errors, too.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return code.into();
        }
    };
    match cli.command() {
        Command::Run => load(&cli).map_or_else(ExitCode::from, |(config, warnings)| {
            let logs = Logs::init(&config.telemetry.logs);
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            serve(config, logs, &cli)
        }),
        Command::Config(command) => load(&cli).map_or_else(ExitCode::from, |(config, warnings)| {
            warnings.iter().for_each(|warning| print_error(format_args!("warning: {warning}")));
            show(&config, command)
        }),
        Command::Storage(command) => {
            load(&cli).map_or_else(ExitCode::from, |(config, warnings)| {
                warnings.iter().for_each(|warning| print_error(format_args!("warning: {warning}")));
                run_storage(&config, &command)
            })
        }
    }
}

/// Loads the configuration and the warnings about it. If the configuration is invalid, prints every
/// problem and returns the exit code.
fn load(cli: &Cli) -> Result<(Config, Vec<Problem>), u8> {
    #[expect(clippy::disallowed_methods, reason = "a process starts here")]
    let env = |name: &str| std::env::var(name).ok();
    Config::load(&cli.sources(), &env).map_err(|problems| {
        print_error("the configuration cannot be used:");
        problems.iter().for_each(|problem| print_error(format_args!("  {problem}")));
        USAGE
    })
}

fn show(config: &Config, command: ConfigCommand) -> ExitCode {
    let text = match command {
        ConfigCommand::Check => "the configuration is valid\n".to_owned(),
        ConfigCommand::Print => match config.to_yaml() {
            Ok(text) => text,
            Err(error) => {
                print_error(format_args!("the configuration cannot be printed: {error}"));
                return INTERNAL.into();
            }
        },
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => INTERNAL.into(),
    }
}

fn run_storage(config: &Config, command: &StorageCommand) -> ExitCode {
    let done = match command {
        StorageCommand::Backup { file, force } => {
            storage::back_up(config, file, *force).map(|BackedUp { revision, len }| {
                format!("backed up to {}: revision {revision}, {len} bytes\n", file.display())
            })
        }
        StorageCommand::Copy { from, to, password_file } => {
            wait_for(storage::copy(from, to, password_file.as_deref())).map(|(to, copied)| {
                let Copied { keys, tombstones, changes, audit, .. } = copied;
                format!(
                    "copied to {to}: {keys} keys, {tombstones} deleted keys, {changes} changes, \
                     {audit} entries of the audit log; every row was read back and compared\n\
                     the source was not changed: set storage.url of every gateway to the copy\n"
                )
            })
        }
        StorageCommand::Migrate => wait_for(storage::migrate(config))
            .map(|()| format!("{} is up to date\n", config.storage.database)),
    };
    match done {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => INTERNAL.into(),
        },
        Err(error) => {
            let mut causes = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                causes.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            print_error(causes);
            error.exit_code().into()
        }
    }
}

/// Waits for a command on a runtime of its own.
fn wait_for<T>(command: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(RunError::Runtime)?.block_on(command)
}

fn serve(config: Config, mut logs: Logs, cli: &Cli) -> ExitCode {
    let (control, senders) = match runtimes() {
        Ok(runtimes) => runtimes,
        Err(error) => return fail(&error, INTERNAL),
    };
    let code = control.block_on(async {
        // The handlers are installed first, so that a signal at any moment leads to a clean stop.
        let (mut interrupt, mut terminate) =
            match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
                (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
                (Err(error), _) | (_, Err(error)) => return fail(&error, INTERNAL),
            };
        let stop = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let ready_file = cli.ready_file.as_deref();
        let gateway = ingestion_gateway::run(config, ready_file, &senders, stop);
        let ended = tokio::select! {
            ended = gateway => ended,
            () = logs.report_dropped_lines() => unreachable!("reporting never ends"),
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, error.exit_code()),
        }
    });
    // Threads that are left wait for the lock of a database, or decode a request that was dropped.
    senders.shut_down(LAST_THREADS);
    control.shutdown_timeout(LAST_THREADS);
    code
}

/// Creates the runtime that serves everything but senders, and the threads that serve senders. The
/// threads of the first one are never busy with a request of a sender.
fn runtimes() -> io::Result<(Runtime, Workers)> {
    let mut control = Builder::new_multi_thread();
    control.worker_threads(CONTROL_THREADS).thread_name("control").enable_all();
    Ok((control.build()?, Workers::start()?))
}

/// Logs an error with its causes, and returns the exit code.
fn fail(error: &(dyn Error + 'static), code: u8) -> ExitCode {
    tracing::error!(error, "the gateway ends");
    code.into()
}

/// Writes a message to standard error, before the log exists. If standard error is closed, the
/// message is lost.
fn print_error(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
