//! An OTLP receiver on tonic's server: OTLP/gRPC and OTLP/HTTP on one port, behind one
//! authenticator.

use axum::Router;
use clap::Parser;
use otlp_auth::server::{AuthenticateLayer, TokenFile};
use otlp_auth_examples::{
    Listener, ReceiverArgs, TlsListener, log_to_stderr, print_line, receiver, report_reloads,
    stop_signal,
};
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
    let authenticate = AuthenticateLayer::new(tokens).with_extractor(args.extractor());

    let routes = Routes::from(Router::new().fallback_service(receiver(print_line)));
    // The layer belongs to the server, so that it also wraps routes that are added later.
    let server = Server::builder().accept_http1(true).layer(authenticate).add_routes(routes);

    let stop = stop_signal()?;
    let tls = args.tls()?;
    let listener = args.bind().await?;
    match tls {
        // tonic's own TLS only offers HTTP/2, and many OTLP/HTTP senders only support HTTP/1.1.
        Some(tls) => {
            server
                .serve_with_incoming_shutdown(TlsListener::new(listener, tls)?.into_stream(), stop)
                .await?
        }
        None => server.serve_with_incoming_shutdown(Listener(listener).into_stream(), stop).await?,
    }
    Ok(())
}
