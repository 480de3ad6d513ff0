//! An OTLP receiver on axum: OTLP/gRPC and OTLP/HTTP on one port, behind one authenticator.

use axum::Router;
use clap::Parser;
use otlp_auth::server::{AuthenticateLayer, TokenFile};
use otlp_auth_examples::{
    Listener, ReceiverArgs, TlsListener, log_to_stderr, print_line, receiver, report_reloads,
    stop_signal,
};

/// Receives OTLP from senders with a known token, on axum
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    receiver: ReceiverArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Cli::parse().receiver;
    log_to_stderr();

    let tokens = TokenFile::open(&args.tokens)?;
    tokio::spawn(report_reloads("tokens", tokens.generation()));
    let authenticate = AuthenticateLayer::new(tokens).with_extractor(args.extractor());

    // The layer is added last, because a layer wraps only the routes that were added before it.
    let router = Router::new().fallback_service(receiver(print_line)).layer(authenticate);

    let stop = stop_signal()?;
    let tls = args.tls()?;
    let listener = args.bind().await?;
    match tls {
        Some(tls) => {
            axum::serve(TlsListener::new(listener, tls)?, router)
                .with_graceful_shutdown(stop)
                .await?
        }
        None => axum::serve(Listener(listener), router).with_graceful_shutdown(stop).await?,
    }
    Ok(())
}
