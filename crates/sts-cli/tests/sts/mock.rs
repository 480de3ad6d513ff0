//! A mock server. It sends given responses and records the requests that it receives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::serve::Listener;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) const KEY: &str = "iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN";
pub(crate) const INFO: &str = r#"{"version":{"major":6,"minor":0,"patch":0,"diff":"","commit":"","isDev":false},"deploymentMode":"SelfHosted","platformVersion":"6.0.0"}"#;
pub(crate) const CREATED: &str = r#"{"id":250558013078953,"lastUpdateTimestamp":1590105600001,"name":"my-ingestion-api-key","apiKey":"iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN"}"#;
pub(crate) const LISTED: &str =
    r#"[{"id":250558013078953,"lastUpdateTimestamp":1590105600001,"name":"my-ingestion-api-key"}]"#;

/// A request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl ReceivedRequest {
    /// Returns the value of a header. If the request does not have the header, the result is empty.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    _runtime: Runtime,
}

impl Mock {
    /// Starts a server that responds to every request with the result of `respond`.
    pub(crate) fn start(
        respond: impl Fn(&ReceivedRequest) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(runtime, listener, address, respond)
    }

    pub(crate) fn serve<L>(
        runtime: Runtime,
        listener: L,
        address: SocketAddr,
        respond: impl Fn(&ReceivedRequest) -> Response + Clone + Send + Sync + 'static,
    ) -> Self
    where
        L: Listener,
        L::Addr: std::fmt::Debug,
    {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let router = Router::new().fallback(move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body =
                String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
            let request = ReceivedRequest {
                line: format!("{} {}", parts.method, parts.uri),
                headers: parts.headers,
                body,
            };
            let response = respond(&request);
            log.lock().unwrap().push(request);
            response
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, requests, _runtime: runtime }
    }

    /// Starts a server that has only the documented operations and fields.
    pub(crate) fn contract() -> Self {
        Self::start(contract)
    }

    /// Starts the server of [`contract`](Self::contract), but with another response to requests
    /// whose request line begins with `line`.
    pub(crate) fn with_override(
        line: &'static str,
        respond: impl Fn(&ReceivedRequest) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |request| {
            if request.line.starts_with(line) { respond(request) } else { contract(request) }
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the method and path of each request, in the order of the requests.
    pub(crate) fn request_lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    pub(crate) fn last(&self) -> ReceivedRequest {
        self.requests().pop().unwrap()
    }
}

pub(crate) fn json(status: u16, body: &str) -> Response {
    reply(status, "application/json", body)
}

pub(crate) fn reply(status: u16, content_type: &str, body: &str) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub(crate) fn empty(status: u16) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

fn contract(request: &ReceivedRequest) -> Response {
    match request.line.as_str() {
        "GET /api/server/info" => json(200, INFO),
        "GET /api/security/ingestion/api_keys" => json(200, LISTED),
        "POST /api/security/ingestion/api_keys" => json(200, CREATED),
        line if line.starts_with("DELETE /api/security/ingestion/api_keys/") => empty(204),
        _ => empty(404),
    }
}
