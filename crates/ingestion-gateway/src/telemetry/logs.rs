//! The gateway's log: structured lines on standard error.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogsConfig};
use crate::lossy_output::LossyOutput;

/// The time between two checks for dropped lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The log of this process. Dropping this value writes the lines that are not written yet.
#[derive(Debug)]
pub struct Logs {
    output: LossyOutput,
}

impl Logs {
    /// Sends everything that is logged from now on to standard error.
    ///
    /// Only this project's own code decides about lines below the level `error`. Other crates may
    /// log headers there, and headers contain keys. They also log one line for each wrong frame of
    /// a connection, so that anybody could fill the log.
    #[must_use]
    pub fn init(config: &LogsConfig) -> Self {
        let output = LossyOutput::new("log", io::stderr());
        let level = config.level.parse().unwrap_or(LevelFilter::INFO);
        let others = level.min(LevelFilter::ERROR);
        let ours = ["ingestion_gateway", "ingestion_keys", "otlp_auth"].map(|ours| (ours, level));
        let filter = Targets::new().with_default(others).with_targets(ours);
        let registry = tracing_subscriber::registry().with(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(output.lines());
        match config.format {
            LogFormat::Text => registry.with(lines.with_ansi(io::stderr().is_terminal())).init(),
            LogFormat::Json => registry.with(lines.json()).init(),
        }
        Self { output }
    }

    /// Logs every ten seconds how many lines were dropped, if any lines were dropped. This function
    /// never returns.
    pub async fn report_dropped_lines(&mut self) {
        loop {
            tokio::time::sleep(REPORT_INTERVAL).await;
            self.output.report_dropped_lines();
        }
    }
}
