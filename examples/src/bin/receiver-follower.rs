//! An OTLP receiver that accepts the keys of a gateway. It follows the gateway, and decides on each
//! request from memory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use clap::Parser;
use ingestion_keys::remote::Follower;
use otlp_auth::server::AuthenticateLayer;
use otlp_auth_examples::{Listener, bind, log_to_stderr, print_line, receiver, stop_signal};

/// Receives OTLP from senders with a key of a gateway
#[derive(Parser)]
struct Cli {
    /// URL of the gateway's management listener
    #[arg(long, value_name = "URL")]
    gateway: String,
    /// File with the token that `sts follower create` has printed
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// PEM file with the certificate authority of the gateway
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long keys are accepted while the gateway cannot be reached
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    max_staleness: Duration,
    /// Time between two reports of how keys are used
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    report_interval: Duration,
    /// Address for both OTLP/gRPC and OTLP/HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4317")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    log_to_stderr();

    let mut follower = Follower::builder(cli.gateway)
        .token_file(cli.token_file)
        .max_staleness(cli.max_staleness)
        .report_interval(cli.report_interval);
    if let Some(ca_file) = cli.ca_file {
        follower = follower.ca_file(ca_file);
    }
    let keys = follower.start().await?;
    let authenticate = AuthenticateLayer::new(keys.authenticator());
    let router = Router::new().fallback_service(receiver(print_line)).layer(authenticate);

    let stop = stop_signal()?;
    let listener = Listener(bind(cli.listen).await?);
    // Until the first keys have come, senders are told to try again.
    axum::serve(listener, router).with_graceful_shutdown(stop).await?;
    keys.shut_down().await;
    Ok(())
}
