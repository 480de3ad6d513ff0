//! An OTLP receiver on tonic's server: OTLP/gRPC and OTLP/HTTP on one port, behind one
//! authenticator.

use clap::Parser;
use otlp_auth::server::{AuthenticateLayer, TokenFile};
use otlp_auth_examples::{
    Receiver, ReceiverArgs, TlsListener, log_to_stderr, report_reloads, stop_signal,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;

/// Receives OTLP from senders with a known token, on tonic
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
    let authenticate = AuthenticateLayer::new(tokens).with_lookup(args.lookup()?);

    let receiver = Receiver::printing();
    let routes =
        Routes::from(receiver.http_routes().merge(receiver.grpc_routes().into_axum_router()));
    // One layer for everything: a route that is added later is not forgotten.
    let server = Server::builder().accept_http1(true).layer(authenticate).add_routes(routes);

    let stop = stop_signal()?;
    let tls = args.tls()?;
    let listener = args.bind().await?;
    match tls {
        // Tonic's own TLS offers HTTP/2 only, and many OTLP/HTTP senders do not speak it.
        Some(tls) => {
            server
                .serve_with_incoming_shutdown(TlsListener::new(listener, tls)?.into_stream(), stop)
                .await?
        }
        None => server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop).await?,
    }
    Ok(())
}
