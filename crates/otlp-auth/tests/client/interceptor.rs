//! Tests the tonic interceptor, alone and in a client of a real server.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor as _;
use tonic::{Code, Request, Status};

use crate::support::{Collector, Tokens, batch, fixed, wait_for_header};

/// Scenario: a request already has credentials and other metadata.
/// Guarantee: the authenticator's credential replaces them, and the other metadata is unchanged.
#[test]
fn replaces_every_earlier_value() {
    let auth = fixed();
    let mut request = Request::new(());
    request.metadata_mut().append("authorization", MetadataValue::from_static("Bearer a"));
    request.metadata_mut().append("authorization", MetadataValue::from_static("Bearer b"));
    request.metadata_mut().insert("x-tenant", MetadataValue::from_static("a"));
    let request = auth.interceptor().call(request).unwrap();
    assert_eq!(
        request.metadata().get_all("authorization").iter().collect::<Vec<_>>(),
        ["StackState token-0"]
    );
    assert_eq!(request.metadata().get("x-tenant").unwrap(), "a");
}

/// Scenario: a user's own interceptor sets metadata and a credential.
/// Guarantee: the user's interceptor is called first. The metadata stays, and the credential is
/// replaced.
#[test]
fn wraps_a_users_own() {
    let auth = fixed();
    let mut interceptor = auth.interceptor().after(|mut request: Request<()>| {
        assert!(!request.metadata().contains_key("authorization"), "ours comes last");
        request.metadata_mut().insert("x-tenant", MetadataValue::from_static("a"));
        request.metadata_mut().append("authorization", MetadataValue::from_static("Bearer a"));
        Ok(request)
    });
    let request = interceptor.call(Request::new(())).unwrap();
    assert_eq!(request.metadata().get("x-tenant").unwrap(), "a");
    assert_eq!(
        request.metadata().get_all("authorization").iter().collect::<Vec<_>>(),
        ["StackState token-0"]
    );
}

/// Scenario: the user's own interceptor returns an error status.
/// Guarantee: this status is returned unchanged.
#[test]
fn a_users_error_passes() {
    let auth = fixed();
    let mut interceptor =
        auth.interceptor().after(|_: Request<()>| Err(Status::resource_exhausted("enough")));
    let status = interceptor.call(Request::new(())).unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "enough"));
}

/// Scenario: a tonic client with the interceptor sends to a real server before and after a rotation
/// of the token. The first request has a credential of its own.
/// Guarantee: the server accepts the old token and then the new one. A request with a rejected
/// token is not sent again, because an interceptor sees no responses.
#[test]
fn with_a_real_server() {
    let (server_tokens, client_tokens) = (Tokens::new("token-0\ntoken-1"), Tokens::new("token-0"));
    let collector = Collector::start(server_tokens.accepted());
    let auth = client_tokens.unbound().for_endpoint(collector.endpoint()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = collector.endpoint().connect().await.unwrap();
        let mut client = TraceServiceClient::with_interceptor(channel, auth.interceptor());
        let mut request = Request::new(batch("old"));
        request
            .metadata_mut()
            .insert("authorization", MetadataValue::from_static("Bearer of-somebody-else"));
        client.export(request).await.unwrap();
        client_tokens.replace("token-1");
        wait_for_header(&auth, "StackState token-1");
        client.export(batch("new")).await.unwrap();
        client_tokens.replace("token-2");
        wait_for_header(&auth, "StackState token-2");
        assert_eq!(
            client.export(batch("unknown")).await.unwrap_err().code(),
            Code::Unauthenticated
        );
    });
    assert_eq!(collector.received.spans(), ["new", "old"]);
}
