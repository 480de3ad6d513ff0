//! Tests the interceptor for one tonic service.

use std::future::{Ready, ready};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use otlp_auth::server::{Interceptor, ServerAuthenticator};
use otlp_auth::{Credential, Decision, DenyReason, Undecided, Verdict};
use tokio::net::TcpListener;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::receivers::{
    LIMITED, LIMITED_30_S, NOT_PERMITTED, OUTAGE, TEAM_A, TEAM_B, Traces, denial, extractor, teams,
};

/// An authenticator that has no verdict on one key, `OUTAGE`, and denies all others.
struct Unloaded;

impl ServerAuthenticator for Unloaded {
    type Future = Ready<Verdict>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        ready(match credential.expose_token() {
            OUTAGE => Err(Undecided::new("nothing loaded yet")),
            NOT_PERMITTED | LIMITED | LIMITED_30_S => Ok(Decision::Deny(denial(credential))),
            _ => Ok(Decision::Deny(DenyReason::Unknown.into())),
        })
    }
}

async fn start(
    interceptor: impl tonic::service::Interceptor + Clone + Send + Sync + 'static,
) -> TraceServiceClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::with_interceptor(Traces, interceptor);
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)),
    );
    TraceServiceClient::connect(format!("http://{address}")).await.unwrap()
}

type Metadata<'a> = &'a [(&'static str, &'a [u8])];

/// Exports an empty request with this metadata, and returns the identity that the service saw.
async fn export(
    client: &mut TraceServiceClient<Channel>,
    metadata: Metadata<'_>,
) -> Result<String, Status> {
    let mut request = Request::new(ExportTraceServiceRequest::default());
    for (name, value) in metadata {
        request.metadata_mut().append(*name, MetadataValue::try_from(*value).unwrap());
    }
    client
        .export(request)
        .await
        .map(|response| response.into_inner().partial_success.unwrap().error_message)
}

// Scenario: a tonic service behind the interceptor is called with right, wrong and repeated
// credentials, and with credentials that have blanks at the ends.
// Guarantee: the verdicts are the same as those of the layer. The service sees the identity, but no
// credential.
#[tokio::test]
async fn the_interceptor_decides_as_the_layer() {
    let mut client =
        start(Interceptor::new(teams().or(Unloaded)).with_extractor(extractor())).await;
    let good = format!("StackState {TEAM_A}");
    let (blank, other, twice) =
        (format!(" {good}\t "), format!("apikey {TEAM_B}"), format!("{good}, {good}"));
    let allowed: [(Metadata<'_>, &str); 5] = [
        (&[("authorization", good.as_bytes())], "team-a"),
        (&[("authorization", blank.as_bytes())], "team-a"),
        (&[("authorization", other.as_bytes())], "team-b"),
        (&[("sts-api-key", TEAM_B.as_bytes())], "team-b"),
        (&[("authorization", good.as_bytes()), ("sts-api-key", TEAM_A.as_bytes())], "team-a"),
    ];
    for (metadata, name) in allowed {
        assert_eq!(export(&mut client, metadata).await.unwrap(), name, "{metadata:?}");
    }
    let refused: [Metadata<'_>; 8] = [
        &[("authorization", b"")],
        &[("authorization", b"StackState")],
        &[("authorization", b"StackState ")],
        &[("authorization", b"Bearer iapikeyok-of-team-a")],
        &[("authorization", b"StackState iapikeyok-of-nobody")],
        &[("authorization", b"StackState \xff")],
        &[("authorization", twice.as_bytes())],
        &[("authorization", good.as_bytes()), ("sts-api-key", TEAM_B.as_bytes())],
    ];
    for (metadata, message) in refused
        .into_iter()
        .map(|metadata| (metadata, "credential refused"))
        .chain([([].as_slice(), "missing credential")])
    {
        let status = export(&mut client, metadata).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message(), status.details()),
            (Code::Unauthenticated, message, [].as_slice()),
            "{metadata:?}"
        );
    }
}

// Scenario: in one call, the authenticator has no verdict. In the other calls, a good key has
// reached its limit, and the denial does or does not say when to retry.
// Guarantee: the status contains the time after which to retry, in the form that OTLP senders read.
// If the denial has such a time, the status contains that time, rounded up to whole seconds.
// Otherwise the time is one to five seconds.
#[tokio::test]
async fn senders_that_should_try_again_learn_when() {
    let mut client = start(Interceptor::new(Unloaded)).await;
    for (token, code, message, seconds) in [
        (OUTAGE, Code::Unavailable, "authentication unavailable", 1..=5),
        (LIMITED, Code::ResourceExhausted, "limit exceeded", 1..=5),
        (LIMITED_30_S, Code::ResourceExhausted, "limit exceeded", 30..=30),
    ] {
        let credential = format!("StackState {token}");
        let status =
            export(&mut client, &[("authorization", credential.as_bytes())]).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
        let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(seconds.contains(&delay.as_secs()) && delay.subsec_nanos() == 0, "{delay:?}");
    }
}

// Scenario: a good key does not permit the call.
// Guarantee: the status is `PERMISSION_DENIED`, without a time after which to retry.
#[tokio::test]
async fn what_is_not_permitted_is_denied() {
    let mut client = start(Interceptor::new(Unloaded)).await;
    let credential = format!("StackState {NOT_PERMITTED}");
    let status =
        export(&mut client, &[("authorization", credential.as_bytes())]).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message(), status.details()),
        (Code::PermissionDenied, "not permitted", [].as_slice())
    );
}
