//! Sends this host's telemetry with opentelemetry-rust, configured by a Collector's file.
//!
//! | module | shows |
//! |---|---|
//! | `client` | `otlp-auth` under the exporters of opentelemetry-rust |
//! | `tally` | which batches were sent and which failed |
//! | `host`, `log_tail` | where the telemetry comes from |

mod client;
mod host;
mod log_tail;
mod tally;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use opentelemetry::KeyValue;
use opentelemetry::logs::LoggerProvider;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use otlp_auth_examples::collector_config::{CollectorConfig, Compression, ExporterConfig};
use otlp_auth_examples::{Signal, log_to_stderr, report_reloads, stop_signal};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use client::Exporters;
use host::Host;
use log_tail::LogTail;
use tally::{Counted, Tallies};

const NAME: &str = "otlp-exporter";

/// `EX_USAGE` of sysexits.
const BAD_CONFIGURATION: u8 = 64;

/// The time that a batch may still take after the signal to stop.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Sends this host's metrics, the lines of a log file and a trace of its own run over OTLP
#[derive(Parser)]
struct Cli {
    /// Collector configuration: its OTLP exporter says where and how to send
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which exporter of the configuration, as in otlp/stackstate; needed if there are several
    #[arg(long, value_name = "NAME")]
    exporter: Option<String>,
    /// Log file to follow; the default is the first readable one of the system's
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// How often to collect and send; 0 goes on until SIGINT or SIGTERM
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u64,
    /// Time between two rounds
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    interval: humantime::Duration,
    /// Send the token over plaintext connections to other hosts too
    #[arg(long)]
    allow_plaintext: bool,
}

/// This is not `tokio::main`, because exporting and flushing block this thread and the threads of
/// the SDK. The runtime drives the connections.
fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match Runtime::new()
        .context("no runtime")
        .and_then(|runtime| Ok((Exporter::new(&cli, &runtime)?, runtime)))
    {
        Ok((exporter, runtime)) => exporter.run(&cli, &runtime),
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

/// The SDK's providers and the sources of telemetry, made from the configuration.
struct Exporter {
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
    loggers: SdkLoggerProvider,
    tallies: Tallies,
    /// The source of the metrics; `None` if there is no exporter of metrics.
    host: Option<Host>,
    log: Option<LogTail>,
    stop: watch::Receiver<bool>,
}

impl Exporter {
    fn new(cli: &Cli, runtime: &Runtime) -> anyhow::Result<Self> {
        // rustls panics without an explicit provider if the process links several.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Channels and signal handlers belong to the runtime in which they are made.
        let _entered = runtime.enter();
        #[expect(clippy::disallowed_methods, reason = "a process starts here")]
        let config = CollectorConfig::from_file(&cli.config, &|name| std::env::var(name).ok())?;
        config.warnings().iter().for_each(|warning| complain(format_args!("warning: {warning}")));
        let config = config.exporter(cli.exporter.as_deref()).context("--exporter")?;
        warn_of_environment(config)?;

        let Exporters { spans, metrics, logs, generation } =
            client::exporters(config, cli.allow_plaintext)?;
        if let Some(generation) = generation {
            runtime.spawn(report_reloads("token", generation));
        }
        let tallies = Tallies::default();
        let resource = Resource::builder()
            .with_service_name(NAME)
            .with_attributes(
                sysinfo::System::host_name().map(|name| KeyValue::new("host.name", name)),
            )
            .build();

        let mut tracers = SdkTracerProvider::builder().with_resource(resource.clone());
        if let Some(exporter) = spans {
            tracers =
                tracers.with_batch_exporter(Counted::new(exporter, tallies.of(Signal::Traces)));
        }
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone());
        let has_metrics = metrics.is_some();
        if let Some(exporter) = metrics {
            // Each round flushes the reader. The interval is so long that the reader never exports
            // at any other time.
            let reader =
                PeriodicReader::builder(Counted::new(exporter, tallies.of(Signal::Metrics)));
            meters = meters
                .with_reader(reader.with_interval(Duration::from_secs(u32::MAX.into())).build());
        }
        let mut loggers = SdkLoggerProvider::builder().with_resource(resource);
        if let Some(exporter) = logs {
            loggers = loggers.with_batch_exporter(Counted::new(exporter, tallies.of(Signal::Logs)));
        }

        let meters = meters.build();
        let host = has_metrics.then(|| Host::observed_by(&meters.meter(NAME)));
        let log = LogTail::open(cli.log_file.as_deref())?;
        if log.is_none() {
            complain(
                "warning: no log file is readable: no logs are sent; name one with --log-file",
            );
        }
        let stop = stop(runtime, &tallies)?;
        Ok(Self {
            tracers: tracers.build(),
            meters,
            loggers: loggers.build(),
            tallies,
            host,
            log,
            stop,
        })
    }

    fn run(mut self, cli: &Cli, runtime: &Runtime) -> ExitCode {
        for round in 1.. {
            self.round();
            self.tallies.print_round();
            if round == cli.rounds
                || runtime.block_on(stopped_within(*cli.interval, &mut self.stop))
            {
                break;
            }
        }
        // Every batch was flushed before, so an error here concerns no batch.
        for result in [self.tracers.shutdown(), self.meters.shutdown(), self.loggers.shutdown()] {
            if let Err(error) = result {
                tracing::debug!(%error, "shutdown failed");
            }
        }
        self.tallies.print_totals()
    }

    /// Collects telemetry and sends it once. Each round has its own trace.
    fn round(&mut self) {
        let tracer = self.tracers.tracer(NAME);
        tracer.in_span("round", |_| {
            let records = tracer.in_span("collect", |_| {
                if let Some(host) = &mut self.host {
                    host.refresh();
                }
                self.log.as_mut().map_or(0, |log| log.emit(&self.loggers.logger(NAME)))
            });
            tracer.in_span("export", |_| {
                // The flush collects and sends the metrics of the host. An error is ignored here,
                // because `Counted` counts failures.
                let _ = self.meters.force_flush();
                if let Some(host) = &self.host {
                    host.clear();
                }
                self.tallies.of(Signal::Logs).flush(records, || self.loggers.force_flush());
            });
        });
        self.tallies.of(Signal::Traces).flush(3, || self.tracers.force_flush());
    }
}

/// Returns a flag that becomes true at SIGINT or SIGTERM. If a batch is still being sent after
/// [`STOP_TIME`], the process exits.
fn stop(runtime: &Runtime, tallies: &Tallies) -> io::Result<watch::Receiver<bool>> {
    let (sender, stop) = watch::channel(false);
    let (signal, tallies) = (stop_signal()?, tallies.clone());
    runtime.spawn(async move {
        signal.await;
        sender.send_replace(true);
        tokio::time::sleep(STOP_TIME).await;
        complain("error: stopped while a batch was being sent");
        tallies.print_totals();
        std::process::exit(1);
    });
    Ok(stop)
}

async fn stopped_within(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(time, stop.wait_for(|stopped| *stopped)).await.is_ok()
}

/// Warns if environment variables change what the SDK sends. Headers in these variables are sent in
/// addition to the headers of the configuration.
///
/// A variable that sets another compression than the configuration is an error. The SDK applies it
/// unless the SDK itself has the configured compression.
fn warn_of_environment(config: &ExporterConfig) -> anyhow::Result<()> {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("OTEL_EXPORTER_OTLP_") {
            let of_sdk = matches!(config.compression(), Compression::Gzip | Compression::Zstd);
            anyhow::ensure!(
                of_sdk || !name.ends_with("_COMPRESSION"),
                "the environment variable {name} would replace the compression of the \
                 configuration: unset it"
            );
            complain(format_args!(
                "warning: the environment variable {name} is in effect besides the configuration"
            ));
        }
    }
    Ok(())
}

fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
