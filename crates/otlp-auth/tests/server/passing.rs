//! Tests what reaches the service behind the layer, and which requests pass without a credential.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, Method, Request, Response};
use otlp_auth::server::{Authenticate, AuthenticateLayer, CredentialExtractor};
use otlp_auth::{Identity, Scheme};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::peers::{Call, Http1, Http2};
use crate::receivers::{Authenticator, OUTAGE, Server, TEAM_A, TEAM_B, extractor, layer, teams};

/// Sends `call` once over HTTP/1.1 and once over HTTP/2. Returns the response, and panics if the
/// two responses differ.
async fn answer(address: std::net::SocketAddr, call: &Call) -> (u16, String) {
    let one = Http1::connect(address).await.call(call).await;
    let two = Http2::connect(address).await.call(call).await;
    assert_eq!((one.status, one.text()), (two.status, two.text()), "{call:?}");
    (one.status, one.text().to_owned())
}

// Scenario: requests go to an exempt path and to similar paths. Each request has no credential, a
// wrong credential or a right credential.
// Guarantee: requests to the exempt path pass without a decision, so the service sees no identity,
// and no credential reaches the service. Requests to similar paths without a credential do not
// pass.
#[tokio::test]
async fn an_exempt_path_passes_unasked() {
    for server in Server::ALL {
        let address = server
            .start(layer().with_exempt_path("/health").with_exempt_path("/stsAgent/intake"))
            .await;
        let passed = |uri: &str| (200, format!("identity=none\nuri={uri}\nbody=2\n"));
        for credential in [
            "",
            "nonsense",
            "StackState iapikeyok-of-nobody",
            &format!("StackState {TEAM_A}"),
            &format!("StackState {OUTAGE}"),
        ] {
            let call = Call::post("/health?deep=1").header("authorization", credential);
            assert_eq!(
                answer(address, &call).await,
                passed("/health?deep=1"),
                "{server:?} {credential}"
            );
        }
        assert_eq!(
            answer(address, &Call::post("/health").method(Method::GET)).await,
            passed("/health")
        );
        assert_eq!(
            answer(address, &Call::post("/stsAgent/intake?api_key=x&y")).await,
            passed("/stsAgent/intake?y"),
            "{server:?}"
        );
        for near in [
            "/health/",
            "/Health",
            "/healthz",
            "/%68ealth",
            "//health",
            "/",
            "/v1/health",
            "/health/../v1/traces",
        ] {
            assert_eq!(answer(address, &Call::post(near)).await.0, 401, "{server:?} {near}");
        }
    }
}

// Scenario: a gRPC method is called without a credential, with and without an exemption.
// Guarantee: the service is called only if its method is exempt.
#[tokio::test]
async fn a_grpc_method_can_be_exempt() {
    let call = Call::grpc();
    for server in Server::ALL {
        let address = server.start(layer().with_exempt_path(call.path.as_str())).await;
        let answer = Http2::connect(address).await.call(&call).await;
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0", "{server:?}");
        assert!(answer.body.ends_with(b"none"), "{server:?}");
        let address = server.start(layer()).await;
        assert_eq!(
            Http2::connect(address).await.call(&call).await.header("grpc-status"),
            Some("16"),
            "{server:?}"
        );
    }
}

// Scenario: a browser sends a preflight: OPTIONS with the headers Origin and
// Access-Control-Request-Method.
// Guarantee: a preflight passes only if the layer exempts preflights. A request that lacks OPTIONS
// or one of the two headers needs a credential.
#[tokio::test]
async fn a_preflight_passes_where_it_is_allowed() {
    let options = || Call::post("/v1/traces").method(Method::OPTIONS);
    let origin = |call: Call| call.header("origin", "https://app.example");
    let asks = |call: Call| call.header("access-control-request-method", "POST");
    for server in Server::ALL {
        let address = server.start(layer().with_exempt_cors_preflight()).await;
        assert_eq!(
            answer(address, &asks(origin(options()))).await,
            (200, "identity=none\nuri=/v1/traces\nbody=2\n".to_owned())
        );
        for call in
            [options(), origin(options()), asks(options()), asks(origin(Call::post("/v1/traces")))]
        {
            assert_eq!(answer(address, &call).await.0, 401, "{server:?} {call:?}");
        }
        let address = server.start(layer()).await;
        assert_eq!(answer(address, &asks(origin(options()))).await.0, 401, "{server:?}");
    }
}

// Scenario: a request has the same good credential in two headers and in the query, beside other
// headers and parameters.
// Guarantee: no copy of the credential reaches the service. If the layer is set to keep the
// credential, every copy arrives as it was sent.
#[tokio::test]
async fn a_credential_is_taken_out_or_kept() {
    let call = Call::post(&format!("/stsAgent/intake?a=%2f&api_key={TEAM_A}&b"))
        .header("authorization", format!("StackState {TEAM_A}"))
        .header("sts-api-key", TEAM_A)
        .header("dd-api-key", "not looked at");
    for server in Server::ALL {
        let address = server.start(layer()).await;
        let stripped =
            "identity=team-a\nuri=/stsAgent/intake?a=%2f&b\ndd-api-key=not looked at\nbody=2\n";
        assert_eq!(answer(address, &call).await, (200, stripped.to_owned()), "{server:?}");
        let address = server.start(layer().with_kept_credential()).await;
        let kept = format!(
            "identity=team-a\nuri=/stsAgent/intake?a=%2f&api_key={TEAM_A}&b\nauthorization=StackState {TEAM_A}\nsts-api-key={TEAM_A}\ndd-api-key=not looked at\nbody=2\n"
        );
        assert_eq!(answer(address, &call).await, (200, kept), "{server:?}");
        let grpc = Call::grpc().header("authorization", format!("StackState {TEAM_B}"));
        let answer = Http2::connect(address).await.call(&grpc).await;
        assert!(answer.body.ends_with(b"team-b with its credential"), "{server:?}");
    }
}

/// A service that panics if it is called before it was ready, because tower demands readiness
/// before each call. A clone is not ready at first.
#[derive(Debug)]
struct OnceReady {
    ready: bool,
}

impl Clone for OnceReady {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<String>> for OnceReady {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        let name = request.extensions().get::<Identity>().map_or("none", Identity::name);
        std::future::ready(Ok(Response::new(name.to_owned())))
    }
}

fn request(credential: &str, path: &str) -> Request<String> {
    Request::post(path).header("authorization", credential).body(String::new()).unwrap()
}

// Scenario: a service must become ready before each call. It is called many times, and some
// requests in between are rejected or exempt.
// Guarantee: the instance that became ready is called, even if the verdict comes later.
#[tokio::test]
async fn the_ready_service_is_called() {
    let mut service: Authenticate<OnceReady, Authenticator> =
        layer().with_exempt_path("/health").layer(OnceReady { ready: false });
    let good = format!("StackState {TEAM_A}");
    for _ in 0..3 {
        for (credential, path, status) in [
            (good.as_str(), "/v1/traces", 200),
            ("StackState iapikeyok-of-nobody", "/v1/traces", 401),
            ("nonsense", "/v1/traces", 401),
            ("nonsense", "/health", 200),
            (good.as_str(), "/v1/traces", 200),
        ] {
            let response =
                service.ready().await.unwrap().call(request(credential, path)).await.unwrap();
            assert_eq!(response.status(), status, "{credential} {path}");
        }
    }
}

// Scenario: another layer has put an identity into the extensions of a request.
// Guarantee: if the request is allowed, the identity of the request's credential replaces the
// identity from the other layer.
#[tokio::test]
async fn an_identity_is_replaced() {
    let service = AuthenticateLayer::new(teams()).layer(OnceReady { ready: false });
    let mut request = request(&format!("StackState {TEAM_A}"), "/");
    request.extensions_mut().insert(Identity::new("somebody else"));
    let body = service.oneshot(request).await.unwrap().into_body();
    assert_eq!(http_body_util::BodyExt::collect(body).await.unwrap().to_bytes(), "team-a");
}

// Scenario: a layer is cloned. The clone gets an exempt path and another extractor.
// Guarantee: the original layer keeps its settings. The clone sends the challenges of its own
// extractor.
#[tokio::test]
async fn a_clone_keeps_its_settings() {
    let first = AuthenticateLayer::new(teams());
    let second = first.clone().with_exempt_path("/health").with_extractor(
        CredentialExtractor::empty()
            .with_header(HeaderName::from_static("x-key"), Scheme::from_static("Key")),
    );
    let answer = async |layer: &AuthenticateLayer<_>, path: &str| {
        layer.layer(OnceReady { ready: false }).oneshot(request("", path)).await.unwrap()
    };
    assert_eq!(answer(&first, "/health").await.status(), 401);
    assert_eq!(answer(&second, "/health").await.status(), 200);
    assert_eq!(
        answer(&first, "/").await.headers()["www-authenticate"],
        r#"StackState realm="otlp", error="invalid_token""#
    );
    assert_eq!(answer(&second, "/").await.headers()["www-authenticate"], r#"Key realm="otlp""#);
}

// Scenario: the inner service returns an error, or responds with status 401 itself.
// Guarantee: the layer returns the error or the response unchanged.
#[tokio::test]
async fn the_answer_of_the_service_is_not_touched() {
    let good = format!("StackState {TEAM_A}");
    let fails =
        layer().layer(service_fn(async |_: Request<String>| Err::<Response<String>, _>("broken")));
    assert_eq!(fails.oneshot(request(&good, "/")).await.unwrap_err(), "broken");
    let refuses =
        layer().with_extractor(extractor()).layer(service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(
                Response::builder()
                    .status(401)
                    .header("x-mine", "1")
                    .body("mine".to_owned())
                    .unwrap(),
            )
        }));
    let response = refuses.oneshot(request(&good, "/")).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().len()), (401, 1));
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "mine");
}

// Scenario: two layers share one authenticator.
// Guarantee: an `Arc` of an authenticator can be used as an authenticator.
#[tokio::test]
async fn an_authenticator_can_be_shared() {
    let shared = Arc::new(teams());
    for _ in 0..2 {
        let service = AuthenticateLayer::new(Arc::clone(&shared)).layer(OnceReady { ready: false });
        assert_eq!(
            service.oneshot(request(&format!("StackState {TEAM_B}"), "/")).await.unwrap().status(),
            200
        );
    }
}

// Scenario: the service behind the layer is accessed by reference, by mutable reference and by
// value.
// Guarantee: each access gives the service that was given to the layer.
#[test]
fn the_inner_service_can_be_reached() {
    let mut service = AuthenticateLayer::new(teams()).layer(OnceReady { ready: false });
    assert!(!service.get_ref().ready);
    service.get_mut().ready = true;
    assert!(service.into_inner().ready);
}
