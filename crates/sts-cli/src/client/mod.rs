//! HTTP, as every call here is made: with timeouts, without redirects, and without a word about
//! secrets.

mod response;
mod server;
mod transport_error;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use reqwest::{Certificate, Client, RequestBuilder, Url, redirect};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Failure, Kind, chain};
use crate::printer::{Printer, escape};

pub(crate) use response::Answer;
pub(crate) use server::{MINIMUM_SERVER, Server};
pub(crate) use transport_error::Trouble;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Far above a list of a hundred thousand keys.
const MAX_ANSWER: usize = 128 << 20;

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) skip_ssl: bool,
    pub(crate) ca_cert: Option<PathBuf>,
    pub(crate) timeout: Duration,
}

/// A client for one URL.
pub(crate) struct Http {
    client: Client,
    runtime: Runtime,
    printer: Printer,
}

impl Http {
    /// `http2` speaks HTTP/2 without asking, as gRPC does.
    pub(crate) fn new(
        url: &Url,
        connection: &Connection,
        http2: bool,
        printer: Printer,
    ) -> Result<Self, Failure> {
        let mut builder = Client::builder()
            .user_agent(concat!("StackStateCLI/", env!("CARGO_PKG_VERSION")))
            // The credential would go with it.
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
        if let Some(path) = connection.ca_cert.as_ref().filter(|_| !connection.skip_ssl) {
            let failure = |reason: String| {
                Failure::new(
                    Kind::Configuration,
                    format!(
                        "cannot use the certificates of {} ({reason})",
                        escape(&path.to_string_lossy())
                    ),
                )
            };
            let pem = std::fs::read(path).map_err(|error| failure(error.to_string()))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| failure(chain(&error)))?;
            if certificates.is_empty() {
                return Err(failure("there is none in it".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let failure = |reason: String| {
            Failure::new(Kind::Configuration, format!("no HTTP client ({reason})"))
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failure(error.to_string()))?;
        let client = builder.build().map_err(|error| failure(chain(&error)))?;
        Ok(Self { client, runtime, printer })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends the request and reads the answer to its end.
    pub(crate) fn send(&self, request: RequestBuilder) -> Result<Answer, Trouble> {
        let request = request.build().map_err(Trouble::Send)?;
        let line = format!("{} {}", request.method(), shown(request.url()));
        for (name, value) in request.headers() {
            // Only what is no secret.
            let value = if value.is_sensitive() { "***" } else { value.to_str().unwrap_or("***") };
            self.printer.trace(2, || format!("> {name}: {value}"));
        }
        let result = self.runtime.block_on(async {
            let (parts, body) =
                http::Response::from(self.client.execute(request).await.map_err(Trouble::Send)?)
                    .into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(Trouble::Receive)?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                trailers,
                body: body.to_bytes().to_vec(),
            })
        });
        self.printer.trace(1, || match &result {
            Ok(answer) => format!("{line}: {}", answer.status_line()),
            Err(trouble) => format!("{line}: {trouble}"),
        });
        if let Ok(answer) = &result {
            let content_type = answer.content_type();
            self.printer.trace(2, || {
                format!("< content-type: {content_type}, {} bytes", answer.body.len())
            });
        }
        result
    }
}

/// A URL without the name and password that may be in it.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Warns when a secret goes to another host for all to read.
pub(crate) fn warn_of_plaintext(url: &Url, printer: &Printer) {
    if url.scheme() == "http" && !is_loopback(url) {
        printer.warning(&format!(
            "{} is not encrypted: the credential can be read on its way; use https",
            shown(url)
        ));
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}
