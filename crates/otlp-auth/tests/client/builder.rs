//! Tests which settings make an authenticator, and where it sends the credential.

use std::error::Error;
use std::fs;

use http::{HeaderName, Request, Response, Uri};
use otlp_auth::Scheme;
use otlp_auth::client::{AddCredentialLayer, BearerTokenAuth, BuildError, Builder, EndpointError};
use tonic::service::Interceptor as _;
use tower::{Layer, Service, service_fn};

use crate::support::{ENDPOINT, Tokens, fixed, header, http_client};

/// Sends a request through the layer, and returns the request that the inner service received.
fn through(
    layer: &AddCredentialLayer,
    request: Request<()>,
) -> Result<Request<()>, Box<dyn Error + Send + Sync>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let inner = service_fn(move |request: Request<()>| {
        sender.send(request).unwrap();
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(
            http_body_util::Empty::<bytes::Bytes>::new(),
        )))
    });
    futures_executor::block_on(layer.layer(inner).call(request))?;
    Ok(receiver.recv()?)
}

/// Scenario: a request already has two credentials.
/// Guarantee: the authenticator's credential replaces them, so that exactly one credential is sent.
#[test]
fn replaces_every_earlier_value() {
    let auth = fixed();
    let request = Request::builder()
        .header("authorization", "Bearer a")
        .header("Authorization", "Bearer b")
        .body(())
        .unwrap();
    let sent = through(&auth.layer(), request).unwrap();
    assert_eq!(
        sent.headers().get_all("authorization").iter().collect::<Vec<_>>(),
        ["StackState token-0"]
    );
}

/// Scenario: an authenticator uses another header than `Authorization`, and no scheme.
/// Guarantee: that header contains the token alone, and `Authorization` is not changed.
#[test]
fn another_header_and_no_scheme() {
    let auth = BearerTokenAuth::builder()
        .header(HeaderName::from_static("sts-api-key"))
        .scheme(None)
        .token("token-0")
        .endpoint(ENDPOINT)
        .build()
        .unwrap();
    let request = Request::builder()
        .header("authorization", "Basic abc")
        .header("sts-api-key", "old")
        .body(())
        .unwrap();
    let sent = through(&auth.layer(), request).unwrap();
    assert_eq!(sent.headers().get_all("sts-api-key").iter().collect::<Vec<_>>(), ["token-0"]);
    assert_eq!(sent.headers()["authorization"], "Basic abc");
}

/// Scenario: a token has a line end, a carriage return or blanks around it, as when it was read
/// from a file or from a Kubernetes secret that was made with `echo`.
/// Guarantee: the token is sent without them.
#[test]
fn blanks_around_a_token_are_left_out() {
    for token in ["token-0\n", "token-0\r\n", " token-0", "\ttoken-0 \n\n"] {
        let auth = BearerTokenAuth::builder().token(token).endpoint(ENDPOINT).build().unwrap();
        assert_eq!(header(&auth), "StackState token-0", "{token:?}");
    }
}

/// Scenario: the builder gets both a `token` and a `file`, in either order.
/// Guarantee: the setting that was made last is used.
#[test]
fn the_last_source_counts() {
    let tokens = Tokens::new("from-file");
    let builder = || BearerTokenAuth::builder().scheme(Scheme::BEARER).endpoint(ENDPOINT);
    assert_eq!(
        header(&builder().token("fixed").file(tokens.path()).build().unwrap()),
        "Bearer from-file"
    );
    assert_eq!(
        header(&builder().file(tokens.path()).token("fixed").build().unwrap()),
        "Bearer fixed"
    );
}

/// Scenario: every value that contains a token, or a header with a token, is printed.
/// Guarantee: the token is not printed, and the header value is marked as sensitive.
#[test]
fn no_token_is_printed() {
    let canary = "canary-of-a-token";
    let tokens = Tokens::new(canary);
    let builder = BearerTokenAuth::builder().token(canary);
    assert!(!format!("{builder:?}").contains("canary"));
    for unbound in [builder.build_unbound().unwrap(), tokens.unbound()] {
        let auth = unbound.for_endpoint("https://canary:canary@otlp.example.com/?key=canary");
        let auth = auth.unwrap();
        let service =
            auth.layer().layer(service_fn(async |_: Request<()>| Ok::<_, ()>(Response::new(()))));
        let printed = format!(
            "{auth:?} {unbound:?} {:?} {service:?} {:?} {:?}",
            auth.layer(),
            auth.interceptor(),
            { auth.http_client(http_client()) }
        );
        assert!(!printed.contains("canary"), "{printed}");
        let sent = through(&auth.layer(), Request::new(())).unwrap();
        assert!(sent.headers()["authorization"].is_sensitive());
        assert!(!format!("{sent:?}").contains("canary"));
        let intercepted = auth.interceptor().call(tonic::Request::new(())).unwrap();
        assert!(intercepted.metadata().get("authorization").unwrap().is_sensitive());
    }
}

/// Returns the message of an error, followed by the messages of its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Scenario: authenticators are built without a token, with illegal headers, and with illegal
/// tokens.
/// Guarantee: each build returns an error with the reason, and no error repeats the token.
#[test]
fn illegal_parts_are_refused() {
    let builder = BearerTokenAuth::builder;
    let refused = |builder: Builder, expected: &str| {
        let error = builder.endpoint(ENDPOINT).build().unwrap_err();
        let text = chain(&error);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("canary") && !format!("{error:?}").contains("canary"), "{error:?}");
        error
    };
    assert!(matches!(refused(builder(), "no token"), BuildError::NoToken));
    for header in [
        "host",
        "content-length",
        "te",
        "content-type",
        "transfer-encoding",
        "grpc-timeout",
        "x-token-bin",
    ] {
        let name = HeaderName::from_static(header);
        let error = refused(builder().header(name).token("t"), "cannot carry a credential");
        assert!(matches!(error, BuildError::ProtocolHeader(name) if name == header));
    }
    for (token, expected) in [
        ("", "no token"),
        (" \n", "no token"),
        ("canary canary", "the token has a blank inside"),
        ("canary\ncanary", "the token has a blank inside"),
        ("StackState canary", "the token begins with a scheme"),
        ("\"canary\"", "the token has a quote"),
        ("canary\0", "the token has a character"),
        ("canary,canary", "the token has a comma"),
        ("canary\u{e4}", "the token has a character"),
        (&"canary".repeat(1000), "the token is longer"),
    ] {
        for scheme in [Some(Scheme::STACKSTATE), None] {
            let error = refused(builder().scheme(scheme).token(token), expected);
            assert!(matches!(error, BuildError::Token(_)));
        }
    }
}

/// Scenario: an authenticator is built without an endpoint, with a text that is not a complete URL,
/// or with a plaintext endpoint on another machine.
/// Guarantee: each build returns an error. If plaintext is allowed, the plaintext endpoint is no
/// error, whichever setting is made first.
#[test]
fn the_endpoint_is_checked_when_it_is_built() {
    let builder = || BearerTokenAuth::builder().token("token-0");
    assert!(matches!(builder().build(), Err(BuildError::NoEndpoint)));
    for (endpoint, expected) in [
        ("https://a b", "the endpoint cannot be used: not a URL"),
        ("localhost", "the endpoint cannot be used: the URL has no scheme or no host"),
        ("http://otlp.example.com", "the endpoint cannot be used: a credential is not sent to"),
    ] {
        let error = builder().endpoint(endpoint).build().unwrap_err();
        assert!(chain(&error).starts_with(expected), "{}", chain(&error));
    }
    let far = "http://otlp.example.com";
    assert!(builder().endpoint(far).allow_plaintext().build().is_ok());
    assert!(builder().allow_plaintext().endpoint(far).build().is_ok());
}

/// Scenario: a token file is missing, is a directory, has no token, or has an illegal line.
/// Guarantee: each such file is an error that names the path and the reason, and repeats no part of
/// the content.
#[test]
fn unusable_files_are_refused_by_name() {
    let refused = |tokens: &Tokens, expected: &str| {
        let error = BearerTokenAuth::builder().file(tokens.path()).build_unbound().unwrap_err();
        let text = chain(&error);
        assert!(
            text.contains(&tokens.path().display().to_string()) && text.contains(expected),
            "{text}"
        );
        assert!(!text.contains("canary") && !format!("{error:?}").contains("canary"), "{error:?}");
        assert!(matches!(error, BuildError::File { path, .. } if path == tokens.path()));
    };
    for content in ["", "\n", " \r\n\t\n", "\u{feff}"] {
        refused(&Tokens::new(content), "has no token");
    }
    refused(&Tokens::new("canary canary"), "line 1 of the token file is not a token");
    refused(&Tokens::new("good\n\nbad canary\n"), "line 3 of the token file is not a token");
    refused(&Tokens::new(b"canary\xff"), "line 1");
    refused(&Tokens::new(b"canary\0"), "line 1");
    refused(&Tokens::new(vec![b'\n'; (16 << 20) + 1]), "longer than 16 MiB");
    let missing = Tokens::new("canary");
    fs::remove_file(missing.path()).unwrap();
    refused(&missing, "cannot be read");
    fs::create_dir(missing.path()).unwrap();
    refused(&missing, "not a regular file");
}

/// Scenario: token files have a byte order mark, Windows line ends, blanks, blank lines or names of
/// tokens, or lack a final newline.
/// Guarantee: the first token of the file is sent, without any other text of the file.
#[test]
fn the_first_token_of_a_file() {
    for (content, expected) in [
        ("token-0", "token-0"),
        ("\u{feff}token-0\r\ntoken-1\r\n", "token-0"),
        ("\n\r\n \t\n  token-0 \t\r\n", "token-0"),
        ("team-a=token-0\nteam-b=token-1", "token-0"),
        ("dG9rZW4=\n", "dG9rZW4="),
        ("dG9rZW4==\n", "dG9rZW4=="),
    ] {
        assert_eq!(
            header(&Tokens::new(content).auth()),
            format!("StackState {expected}"),
            "{content:?}"
        );
    }
}

/// Each URI, with a flag that says whether a credential may be sent to this URI. Over an encrypted
/// connection, a credential may be sent to any host. In plaintext, it may be sent to this machine
/// only.
const URIS: [(&str, bool); 20] = [
    ("https://otlp.example.com", true),
    ("HTTPS://otlp.example.com:4317/v1/traces", true),
    ("http://127.0.0.1:4318/v1/traces", true),
    ("http://127.1.2.3", true),
    ("http://[::1]:4317", true),
    ("http://[::ffff:127.0.0.1]", true),
    ("http://localhost:4317", true),
    ("http://LocalHost", true),
    ("http://otlp.example.com", false),
    ("http://10.0.0.1", false),
    ("http://[2001:db8::1]", false),
    ("http://0.0.0.0", false),
    ("http://[::]", false),
    ("http://localhost.example.com", false),
    ("http://notlocalhost", false),
    ("http://127.0.0.1.example.com", false),
    ("http://127.0.0.1@evil.example", false),
    ("http://localhost:80@evil.example:80", false),
    ("http://user:127.0.0.1@evil.example", false),
    ("grpc://otlp.example.com", false),
];

/// Scenario: an authenticator is bound to endpoints on this machine and on others. Requests with
/// the same URIs pass the layer of a bound and of an unbound authenticator.
/// Guarantee: the endpoint check and both layers allow the same URIs. The error for another URI
/// names the host. If plaintext is allowed, every URI is allowed.
#[test]
fn plaintext_goes_to_this_machine_only() {
    let unbound = BearerTokenAuth::builder().token("token-0").build_unbound().unwrap();
    let allowing = unbound.clone().allow_plaintext();
    for (uri, allowed) in URIS {
        let request = || Request::builder().uri(uri).body(()).unwrap();
        let host = request().uri().host().unwrap().to_owned();
        let refused = |error: &EndpointError| matches!(error, EndpointError::Plaintext { host: named } if *named == host);
        for layer in [unbound.layer(), fixed().layer()] {
            match (unbound.for_endpoint(uri), through(&layer, request())) {
                (Ok(_), Ok(sent)) => {
                    assert!(allowed && sent.headers().contains_key("authorization"), "{uri}")
                }
                (Err(bound), Err(sent)) => {
                    let sent = sent.downcast_ref().expect("it is our error");
                    assert!(!allowed && refused(&bound) && refused(sent), "{uri}");
                }
                different => panic!("{uri}: {different:?}"),
            }
        }
        allowing.for_endpoint(uri).unwrap();
        through(&allowing.layer(), request()).unwrap();
    }
}

/// Scenario: endpoints are given as text, as `Uri` and as tonic's `Endpoint`, by value and by
/// reference. Some texts are not complete URLs.
/// Guarantee: every form is checked in the same way. An endpoint without scheme or host is an error
/// even if plaintext is allowed.
#[test]
fn kinds_of_endpoints() {
    let auth = BearerTokenAuth::builder().token("token-0").build_unbound().unwrap();
    let near = "http://127.0.0.1:1";
    let far = "http://otlp.example.com";
    assert!(auth.for_endpoint(near).is_ok() && auth.for_endpoint(far).is_err());
    let (text, uri) = (near.to_owned(), Uri::from_static(near));
    assert!(auth.for_endpoint(&text).is_ok() && auth.for_endpoint(far.to_owned()).is_err());
    assert!(auth.for_endpoint(&uri).is_ok() && auth.for_endpoint(Uri::from_static(far)).is_err());
    let tonic = tonic::transport::Endpoint::from_static;
    let endpoint = tonic(near);
    assert!(auth.for_endpoint(&endpoint).is_ok() && auth.for_endpoint(tonic(far)).is_err());
    let allowing = auth.allow_plaintext();
    assert!(allowing.for_endpoint(tonic(far)).is_ok());
    for relative in ["/v1/traces", "otlp.example.com:4317", "localhost"] {
        assert!(
            matches!(allowing.for_endpoint(relative), Err(EndpointError::Relative)),
            "{relative}"
        );
    }
    for invalid in ["", "http://", "https://a b", "http://[::1"] {
        assert!(
            matches!(allowing.for_endpoint(invalid), Err(EndpointError::Invalid(_))),
            "{invalid:?}"
        );
    }
}

/// Scenario: an endpoint is given to the builder of an authenticator without an endpoint.
/// Guarantee: the build returns an error, so that nobody believes that the endpoint was checked.
#[test]
fn an_unbound_authenticator_takes_no_endpoint() {
    let error = BearerTokenAuth::builder().token("t").endpoint(ENDPOINT).build_unbound();
    assert!(matches!(error, Err(BuildError::UnexpectedEndpoint)));
}

/// Scenario: the URI of a request is only a path, as in requests that a channel gets.
/// Guarantee: the request passes the layer of a bound authenticator, because the endpoint of that
/// authenticator was checked. It does not pass the layer of an unbound authenticator.
#[test]
fn a_path_alone_passes_the_layer_of_an_endpoint() {
    let request = || Request::builder().uri("/v1/traces").body(()).unwrap();
    let sent = through(&fixed().layer(), request()).unwrap();
    assert_eq!(sent.headers()["authorization"], "StackState token-0");
    let unbound = BearerTokenAuth::builder().token("token-0").allow_plaintext();
    let error = through(&unbound.build_unbound().unwrap().layer(), request()).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(EndpointError::Relative)));
}
