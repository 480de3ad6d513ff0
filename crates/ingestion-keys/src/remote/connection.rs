//! Requests to the gateway.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use ingestion_api::{FollowCursor, UsageReport, route};
use otlp_auth::client::BearerTokenAuth;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use rustls::{ClientConfig, RootCertStore};
use server_trust::{RootsError, certificates_from_pem, server_verifier, system_roots};
use tokio::time::timeout;

use super::builder::StartError;

/// How long the gateway may take until it has accepted a connection, and until it has answered a
/// request.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(20);

/// A gateway, or several behind one address.
#[derive(Debug)]
pub(super) struct Gateway {
    client: Client,
    auth: BearerTokenAuth,
    /// The URL of the API, without a slash at the end.
    api: String,
}

/// A request was not answered with success.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the gateway does not accept the token of this follower")]
    Token,
    #[error("the gateway refuses the request with status {status}")]
    Refused { status: StatusCode, retry_after: Option<Duration> },
    #[error("the gateway cannot be reached")]
    Connection(#[source] reqwest::Error),
    #[error("the gateway does not answer")]
    Silent,
}

impl Gateway {
    pub(super) fn new(
        url: &str,
        auth: BearerTokenAuth,
        ca: Option<&[u8]>,
    ) -> Result<Self, StartError> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        let is_plaintext = !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let mut client = Client::builder()
            .user_agent(concat!("ingestion-keys/", env!("CARGO_PKG_VERSION")))
            // A redirected request would send the token to another host.
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            // An idle connection would take a place at the gateway from another follower.
            .pool_max_idle_per_host(0)
            .tls_backend_preconfigured(tls(ca, is_plaintext)?);
        if is_plaintext {
            // A proxy would get the token.
            client = client.no_proxy();
        }
        let client = client.build().map_err(StartError::Client)?;
        Ok(Self { client, auth, api: format!("{}{}", url.trim_end_matches('/'), route::API_PATH) })
    }

    /// Begins to follow after a cursor.
    pub(super) async fn follow(
        &self,
        after: Option<FollowCursor>,
    ) -> Result<Response, RequestError> {
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        self.send(self.client.get(format!("{}{}{query}", self.api, route::FOLLOW))).await
    }

    pub(super) async fn report(&self, report: &UsageReport) -> Result<(), RequestError> {
        let url = format!("{}{}", self.api, route::FOLLOW_USAGE);
        self.send(self.client.post(url).json(report)).await.map(|_| ())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, RequestError> {
        let mut request = request.build().map_err(connection)?;
        self.auth.add_to(request.headers_mut());
        let response = timeout(ANSWER, self.client.execute(request)).await;
        let response = response.map_err(|_| RequestError::Silent)?.map_err(connection)?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(RequestError::Token),
            status if status.is_success() => Ok(response),
            status => {
                let seconds = response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok());
                let retry_after = seconds.and_then(|it| it.parse().ok()).map(Duration::from_secs);
                Err(RequestError::Refused { status, retry_after })
            }
        }
    }
}

fn connection(error: reqwest::Error) -> RequestError {
    RequestError::Connection(error.without_url())
}

/// Makes the configuration of TLS. Gateways are trusted if the system or the PEM text `ca` has
/// their certificate, or the certificate of its authority.
fn tls(ca: Option<&[u8]>, is_plaintext: bool) -> Result<ClientConfig, StartError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = system_roots();
    roots.extend(ca.map(certificates_from_pem).transpose()?.unwrap_or_default());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let config = match server_verifier(roots, &provider) {
        Ok(verifier) => config.dangerous().with_custom_certificate_verifier(verifier),
        // Without TLS, no certificate is needed.
        Err(RootsError::Empty) if is_plaintext => {
            config.with_root_certificates(RootCertStore::empty())
        }
        Err(error) => return Err(error.into()),
    };
    Ok(config.with_no_client_auth())
}
