//! An OTLP receiver on hyper: OTLP/gRPC and OTLP/HTTP on one port, behind one authenticator.

use std::pin::pin;
use std::time::Duration;

use clap::Parser;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use otlp_auth::server::{AuthenticateLayer, TokenFile};
use otlp_auth_examples::{
    ReceiverArgs, log_to_stderr, print_line, receiver, report_reloads, stop_signal,
};
use otlp_receiver::Linger;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tower::Layer;

/// Receives OTLP from senders with a known token, on hyper
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

    let service = TowerToHyperService::new(authenticate.layer(receiver(print_line)));

    let mut stop = pin!(stop_signal()?);
    let tls = args.tls()?.map(TlsAcceptor::from);
    let listener = args.bind().await?;
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => Linger::new(stream),
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (tls, service, watcher) = (tls.clone(), service.clone(), connections.watcher());
        tokio::spawn(async move {
            let stream = match tls {
                Some(tls) => match timeout(Duration::from_secs(10), tls.accept(stream)).await {
                    Ok(Ok(stream)) => Either::Left(stream),
                    // This is not a warning, because every port scan causes such an error.
                    _ => return tracing::debug!("TLS handshake failed"),
                },
                None => Either::Right(stream),
            };
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = watcher
                .watch(server.serve_connection(TokioIo::new(stream), service).into_owned())
                .await
            {
                tracing::debug!(%error, "connection failed");
            }
        });
    }
    if timeout(Duration::from_secs(10), connections.shutdown()).await.is_err() {
        tracing::warn!("stopped with requests under way");
    }
    Ok(())
}
