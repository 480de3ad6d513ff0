//! `ingestion-gateway`: the program around the library. It reads the command line and the
//! environment, and turns failures into exit codes.

mod cli;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use cli::{Cli, Command, ConfigCommand, StorageCommand};
use ingestion_gateway::config::{Config, LogFormat, LogsConfig};
use ingestion_gateway::telemetry::output::Output;
use otlp_auth::confmap::Problem;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Bad usage or configuration.
const USAGE: u8 = 64;

/// Something is wrong in here.
const INTERNAL: u8 = 70;

/// How long the end of the log may take to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return code.into();
        }
    };
    match cli.command() {
        Command::Run => load(&cli).map_or_else(ExitCode::from, |(config, warnings)| {
            let log = match Output::new("log", io::stderr()) {
                Ok(log) => log,
                Err(error) => {
                    say(format_args!("nothing can be logged: {error}"));
                    return INTERNAL.into();
                }
            };
            log_to(log.clone(), &config.telemetry.logs);
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let code = serve(config, &cli);
            log.flush_within(LAST_LINES);
            code
        }),
        Command::Config(command) => load(&cli).map_or_else(ExitCode::from, |(config, warnings)| {
            warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
            show(&config, command)
        }),
        Command::Storage(StorageCommand::Copy) => {
            say("storage copy: not built yet in this version");
            USAGE.into()
        }
    }
}

/// The configuration and its warnings, or the exit code once every problem was told.
fn load(cli: &Cli) -> Result<(Config, Vec<Problem>), u8> {
    #[expect(clippy::disallowed_methods, reason = "a process starts here")]
    let env = |name: &str| std::env::var(name).ok();
    Config::load(&cli.sources(), &env).map_err(|problems| {
        say("the configuration cannot be used:");
        problems.iter().for_each(|problem| say(format_args!("  {problem}")));
        USAGE
    })
}

fn show(config: &Config, command: ConfigCommand) -> ExitCode {
    let text = match command {
        ConfigCommand::Check => "the configuration is valid\n".to_owned(),
        ConfigCommand::Print => match config.to_yaml() {
            Ok(text) => text,
            Err(error) => {
                say(format_args!("the configuration cannot be printed: {error}"));
                return INTERNAL.into();
            }
        },
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => INTERNAL.into(),
    }
}

fn serve(config: Config, cli: &Cli) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, INTERNAL),
    };
    let code = runtime.block_on(async {
        // Before anything else: a signal at any moment is a clean stop.
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
        match ingestion_gateway::run(config, cli.ready_file.as_deref(), stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, error.exit_code()),
        }
    });
    // Only a thread that waits for the lock of a database is left, if any.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// Logs an error with its causes.
fn fail(error: &(dyn Error + 'static), code: u8) -> ExitCode {
    tracing::error!(error, "the gateway ends");
    code.into()
}

/// At levels below `info` only what is ours is logged: nobody knows what others write there, and
/// requests carry secrets.
fn log_to(log: Output, logs: &LogsConfig) {
    let level = logs.level.parse().unwrap_or(LevelFilter::INFO);
    let others = level.min(LevelFilter::INFO);
    let ours = ["ingestion_gateway", "ingestion_keys", "otlp_auth"].map(|ours| (ours, level));
    let filter = Targets::new().with_default(others).with_targets(ours);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(move || log.clone());
    match logs.format {
        LogFormat::Text => registry.with(lines.with_ansi(io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }
}

/// Before there is a log. Nobody may be listening any more: that is no reason to stop.
fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
