//! A server that answers as it is told and remembers what it was asked.

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

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    /// A header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Mock {
    /// Answers every request with what `answer` makes of it.
    pub(crate) fn start(
        answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        Self::on(runtime, listener, address, answer)
    }

    pub(crate) fn on<L>(
        runtime: Runtime,
        listener: L,
        address: SocketAddr,
        answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
    ) -> Self
    where
        L: Listener,
        L::Addr: std::fmt::Debug,
    {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body =
                String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
            let asked = Asked {
                line: format!("{} {}", parts.method, parts.uri),
                headers: parts.headers,
                body,
            };
            let response = answer(&asked);
            log.lock().unwrap().push(asked);
            response
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, asked, _runtime: runtime }
    }

    /// A server with the contract's calls and fields and nothing else.
    pub(crate) fn contract() -> Self {
        Self::start(contract)
    }

    /// The contract's server, but for the calls whose line begins with `line`.
    pub(crate) fn but(
        line: &'static str,
        answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start(
            move |asked| if asked.line.starts_with(line) { answer(asked) } else { contract(asked) },
        )
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The request lines, in their order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked().pop().unwrap()
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

fn contract(asked: &Asked) -> Response {
    match asked.line.as_str() {
        "GET /api/server/info" => json(200, INFO),
        "GET /api/security/ingestion/api_keys" => json(200, LISTED),
        "POST /api/security/ingestion/api_keys" => json(200, CREATED),
        line if line.starts_with("DELETE /api/security/ingestion/api_keys/") => empty(204),
        _ => empty(404),
    }
}
