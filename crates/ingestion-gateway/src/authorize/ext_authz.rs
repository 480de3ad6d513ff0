//! Envoy's external authorization over gRPC: `envoy.service.auth.v3.Authorization`. Envoy sends the
//! headers of each request, and gets back what to add, what to remove, or what to answer.

mod message;

use std::future::{Ready, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use ingestion_api::header;
use otlp_auth::server::Rejection;
use tonic::Status;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

use self::message::{
    AppendAction, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use super::{Authorizer, Outcome, forward_auth};

pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest request, in bytes. It has the headers of a sender's request. It has the body, too,
/// if Envoy is told to send it, for which there is no reason.
const MAX_REQUEST: usize = 1 << 20;

/// The headers that carry a key, which Envoy removes from an allowed request.
const CREDENTIALS: [&str; 3] = ["authorization", header::STS_API_KEY, header::DD_API_KEY];

pub(super) async fn answer(State(authorizer): State<Authorizer>, request: Request) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let mut server =
        Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(MAX_REQUEST), None);
    server.unary(authorizer, request).await.map(Body::new)
}

impl UnaryService<CheckRequest> for Authorizer {
    type Response = CheckResponse;
    type Future = Ready<Result<tonic::Response<CheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let Some(request) = request.into_inner().http() else {
            self.count(Outcome::Broken);
            return ready(Err(Status::invalid_argument("there is no HTTP request")));
        };
        let parts = parts(request);
        ready(Ok(tonic::Response::new(match self.check(&parts.headers, &parts.uri) {
            Ok(identity) => allow(
                self.identity_headers(&identity),
                self.query_parameter && parts.uri.query().is_some(),
            ),
            Err(rejection) => deny(&rejection, parts),
        })))
    }
}

/// Returns the head of the sender's request.
fn parts(request: HttpRequest) -> http::request::Parts {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.uri = Uri::try_from(request.path).unwrap_or_default();
    // Envoy puts the pseudo-headers of HTTP/2 among the headers, and their names are not legal.
    let headers = request.headers.into_iter().map(|(name, value)| (name, value.into_bytes()));
    let raw = request.header_map.into_iter().flat_map(|map| map.headers);
    let raw = raw.map(|header| match header.raw_value.is_empty() {
        true => (header.key, header.value.into_bytes()),
        false => (header.key, header.raw_value),
    });
    for (name, value) in headers.chain(raw) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            parts.headers.append(name, value);
        }
    }
    parts
}

/// Lets the request pass, with the identity of its sender and without its key.
fn allow(
    identity: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    has_query: bool,
) -> CheckResponse {
    let identity = identity.into_iter();
    let parameter = has_query.then(|| header::QUERY_PARAMETER.to_owned());
    CheckResponse {
        status: Some(message::Status { code: 0 }),
        http_response: Some(HttpResponse::Ok(OkHttpResponse {
            headers: identity.map(|(name, value)| overwrite(&name, &value)).collect(),
            headers_to_remove: CREDENTIALS.map(str::to_owned).into(),
            query_parameters_to_remove: parameter.into_iter().collect(),
        })),
    }
}

/// Makes Envoy answer the sender as the gateway would. Envoy turns the answer into one of gRPC by
/// itself if the sender speaks gRPC, and keeps the headers.
fn deny(rejection: &Rejection, parts: http::request::Parts) -> CheckResponse {
    let code = rejection.grpc_code();
    let (response, body) = forward_auth::refuse(rejection, parts).into_parts();
    let headers = response.headers.iter().map(|(name, value)| match *name {
        // Envoy adds a content type of its own.
        CONTENT_TYPE => overwrite(name, value),
        _ => HeaderValueOption::new(name, value, AppendAction::AppendIfExistsOrAdd),
    });
    CheckResponse {
        status: Some(message::Status { code }),
        http_response: Some(HttpResponse::Denied(DeniedHttpResponse {
            status: Some(HttpStatus { code: response.status.as_u16().into() }),
            headers: headers.collect(),
            // Every byte of a short protobuf message is an ASCII character.
            body: String::from_utf8(body.into()).unwrap_or_default(),
        })),
    }
}

fn overwrite(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    HeaderValueOption::new(name, value, AppendAction::OverwriteIfExistsOrAdd)
}

#[cfg(test)]
mod tests;
