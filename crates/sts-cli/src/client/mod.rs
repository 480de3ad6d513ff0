//! An HTTP client that has timeouts, follows no redirects, and prints no secrets.

mod response;
mod server;
mod tls;
mod transport_error;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use reqwest::{Client, RequestBuilder, Url, redirect};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Failure, FailureKind, chain};
use crate::printer::Printer;

pub(crate) use response::Response;
pub(crate) use server::{MINIMUM_SERVER, Server};
pub(crate) use transport_error::TransportError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The size of the largest body that is read, in bytes. A list of 100,000 keys is far smaller.
const MAX_BODY_LEN: usize = 128 << 20;

/// The settings of connections.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) skip_ssl: bool,
    pub(crate) ca_cert: Option<PathBuf>,
    pub(crate) timeout: Duration,
}

/// A blocking HTTP client for one URL.
pub(crate) struct Http {
    client: Client,
    runtime: Runtime,
    printer: Printer,
}

impl Http {
    /// Makes a client for `url`. With `http2`, the client uses HTTP/2 without negotiation, as gRPC
    /// does.
    pub(crate) fn new(
        url: &Url,
        connection: &Connection,
        http2: bool,
        printer: Printer,
    ) -> Result<Self, Failure> {
        let mut builder = Client::builder()
            .user_agent(concat!("StackStateCLI/", env!("CARGO_PKG_VERSION")))
            // A redirected request would send the credential to another host.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.min(connection.timeout))
            .timeout(connection.timeout)
            .tls_danger_accept_invalid_certs(connection.skip_ssl);
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        if http2 {
            builder = builder.http2_prior_knowledge();
        }
        if !connection.skip_ssl {
            let config = tls::client_config(url, connection.ca_cert.as_deref(), http2)?;
            builder = builder.tls_backend_preconfigured(config);
        }
        let failure = |reason: String| {
            Failure::new(
                FailureKind::Configuration,
                format!("cannot create an HTTP client ({reason})"),
            )
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failure(error.to_string()))?;
        let client = builder.build().map_err(|error| failure(chain(&error)))?;
        Ok(Self { client, runtime, printer })
    }

    /// Returns the client that builds requests for [`send`](Self::send).
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends the request and reads the complete response.
    pub(crate) fn send(&self, request: RequestBuilder) -> Result<Response, TransportError> {
        let request = request.build().map_err(TransportError::Send)?;
        let line = format!("{} {}", request.method(), without_user_info(request.url()));
        for (name, value) in request.headers() {
            let value = if value.is_sensitive() { "***" } else { value.to_str().unwrap_or("***") };
            self.printer.trace(2, || format!("> {name}: {value}"));
        }
        let result = self.runtime.block_on(async {
            let response = self.client.execute(request).await.map_err(TransportError::Send)?;
            let (parts, body) = http::Response::from(response).into_parts();
            let body = Limited::new(body, MAX_BODY_LEN).collect().await;
            let body = body.map_err(TransportError::Receive)?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            Ok(Response {
                status: parts.status,
                headers: parts.headers,
                trailers,
                body: body.to_bytes().to_vec(),
            })
        });
        self.printer.trace(1, || match &result {
            Ok(response) => format!("{line}: {}", response.status_line()),
            Err(error) => format!("{line}: {error}"),
        });
        if let Ok(response) = &result {
            let content_type = response.content_type();
            self.printer.trace(2, || {
                format!("< content-type: {content_type}, {} bytes", response.body.len())
            });
        }
        result
    }
}

/// Returns the URL without any user name and password.
pub(crate) fn without_user_info(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Warns if a credential would be sent to another host without encryption.
pub(crate) fn warn_if_unencrypted(url: &Url, printer: &Printer) {
    if url.scheme() == "http" && !is_loopback(url) {
        printer.warning(&format!(
            "the connection to {} is not encrypted, so others can read the credential: use https",
            without_user_info(url)
        ));
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}
