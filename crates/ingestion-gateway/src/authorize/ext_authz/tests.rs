use http::Method;
use otlp_auth::DenyReason;
use otlp_auth::server::CredentialExtractor;

use super::*;
use crate::authorize::ext_authz::message::{Header, HeaderList};

fn request(headers: &[(&str, &str)], raw: &[(&str, &[u8])]) -> HttpRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let raw = raw.iter().map(|(name, value)| Header {
        key: (*name).to_owned(),
        value: String::new(),
        raw_value: value.to_vec(),
    });
    HttpRequest {
        headers: headers.collect(),
        path: "/v1/traces?a=b".to_owned(),
        header_map: Some(HeaderList { headers: raw.collect() }),
    }
}

// Scenario: Envoy sends headers as text and as bytes, with pseudo-headers and a repeated header.
// Guarantee: every legal header is read with each of its values, and so is the path with its query.
#[test]
fn the_head_of_a_request_is_read() {
    let request = request(
        &[(":method", "POST"), ("sts-api-key", "first"), ("x-legal", "1")],
        &[("sts-api-key", b"second"), (":path", b"/"), ("x-bytes", b"\xff")],
    );
    let parts = parts(request);
    assert_eq!((parts.uri.path(), parts.uri.query()), ("/v1/traces", Some("a=b")));
    let values: Vec<_> = parts.headers.get_all("sts-api-key").iter().collect();
    assert_eq!(values, ["first", "second"]);
    assert_eq!(parts.headers["x-bytes"].as_bytes(), b"\xff");
    assert_eq!((parts.headers.len(), parts.method), (4, Method::GET));
}

// Scenario: requests of a sender of gRPC and of one of OTLP/HTTP are denied, and are undecided.
// Guarantee: Envoy does not pass the request on. It gets the status, the headers and the body that
// the sender expects. The several challenges of a 401 are added, and nothing else is repeated.
#[test]
fn envoy_answers_as_the_gateway_would() {
    let extractor = CredentialExtractor::default().with_basic_user("apikey");
    let denied = Rejection::denied(DenyReason::Unknown.into(), &extractor);
    for (rejection, http, grpc) in [(denied, 401, "16"), (Rejection::undecided(), 503, "14")] {
        for content_type in ["application/grpc", "application/x-protobuf"] {
            let parts = parts(request(&[("content-type", content_type)], &[]));
            let answer = deny(&rejection, parts);
            assert_eq!(answer.status.unwrap().code.to_string(), grpc);
            let Some(HttpResponse::Denied(denied)) = answer.http_response else { panic!() };
            assert_eq!(denied.status.unwrap().code, http);
            let values = |name: &str| {
                let headers = denied.headers.iter();
                let named = headers.filter(|option| option.header.as_ref().unwrap().key == name);
                named
                    .map(|option| (option.header.clone().unwrap().value, option.append_action))
                    .collect::<Vec<_>>()
            };
            assert_eq!(values("content-type"), [(content_type.to_owned(), 2)]);
            let challenges = values("www-authenticate");
            assert_eq!(challenges.len(), if http == 401 { 2 } else { 0 });
            assert!(challenges.iter().all(|(_, action)| *action == 0));
            assert_eq!(values("retry-after").len(), usize::from(http == 503));
            let is_grpc = content_type == "application/grpc";
            assert_eq!(
                values("grpc-status"),
                Vec::from_iter(is_grpc.then(|| (grpc.to_owned(), 0)))
            );
            assert_eq!(denied.body.ends_with(rejection.message()), !is_grpc);
        }
    }
}

// Scenario: a request of a known sender is allowed, with and without a query.
// Guarantee: Envoy passes the request on with the identity, in place of anything that the sender
// has put there, and without the key in any place.
#[test]
fn envoy_removes_the_key_and_sets_the_identity() {
    for has_query in [false, true] {
        let identity = [(HeaderName::from_static("x-id"), HeaderValue::from_static("7"))];
        let answer = allow(identity, has_query);
        assert_eq!(answer.status.unwrap().code, 0);
        let Some(HttpResponse::Ok(ok)) = answer.http_response else { panic!() };
        let [option] = ok.headers.as_slice() else { panic!() };
        let header = option.header.as_ref().unwrap();
        assert_eq!((&*header.key, &*header.value, option.append_action), ("x-id", "7", 2));
        assert_eq!(ok.headers_to_remove, ["authorization", "sts-api-key", "dd-api-key"]);
        assert_eq!(ok.query_parameters_to_remove.len(), usize::from(has_query));
    }
}
