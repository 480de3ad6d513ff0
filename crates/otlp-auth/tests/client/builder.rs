//! What an authenticator can be made of, and where it may send to.

use std::error::Error;
use std::fs;

use http::{Request, Response, Uri};
use otlp_auth::client::{BearerTokenAuth, BuildError, EndpointError};
use tonic::service::Interceptor as _;
use tower::{Layer, Service, service_fn};

use crate::support::{Tokens, header, http_client};

/// Runs a request through the layer, and gives what came out at the other end.
fn through_layer(
    auth: &BearerTokenAuth,
    request: Request<()>,
) -> Result<Request<()>, Box<dyn Error + Send + Sync>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let inner = service_fn(move |request: Request<()>| {
        sender.send(request).unwrap();
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(
            http_body_util::Empty::<bytes::Bytes>::new(),
        )))
    });
    futures_executor::block_on(auth.layer().layer(inner).call(request))?;
    Ok(receiver.recv()?)
}

/// A request already has two credentials.
/// Exactly one is sent: ours.
#[test]
fn replaces_every_earlier_value() {
    let auth = BearerTokenAuth::builder().token("token-0").build().unwrap();
    let request = Request::builder()
        .header("authorization", "Bearer a")
        .header("Authorization", "Bearer b")
        .body(())
        .unwrap();
    let sent = through_layer(&auth, request).unwrap();
    assert_eq!(
        sent.headers().get_all("authorization").iter().collect::<Vec<_>>(),
        ["StackState token-0"]
    );
}

/// The header is another one, and the scheme empty.
/// The bare token is sent there, and `Authorization` is left to whoever set it.
#[test]
fn another_header_and_no_scheme() {
    let auth = BearerTokenAuth::builder()
        .header("STS-Api-Key")
        .scheme("")
        .token("token-0")
        .build()
        .unwrap();
    let request = Request::builder()
        .header("authorization", "Basic abc")
        .header("sts-api-key", "old")
        .body(())
        .unwrap();
    let sent = through_layer(&auth, request).unwrap();
    assert_eq!(sent.headers().get_all("sts-api-key").iter().collect::<Vec<_>>(), ["token-0"]);
    assert_eq!(sent.headers()["authorization"], "Basic abc");
}

/// Of `token` and `file` both are given.
/// The last one counts.
#[test]
fn the_last_source_counts() {
    let tokens = Tokens::new("from-file");
    let builder = || BearerTokenAuth::builder().scheme("Bearer");
    assert_eq!(
        header(&builder().token("fixed").file(tokens.path()).build().unwrap()),
        "Bearer from-file"
    );
    assert_eq!(
        header(&builder().file(tokens.path()).token("fixed").build().unwrap()),
        "Bearer fixed"
    );
}

/// Everything that holds a token, or a header with one, is printed.
/// The token is not there, and the header value is marked as sensitive for whoever prints it later.
#[test]
fn no_token_is_printed() {
    let canary = "canary-of-a-token";
    let tokens = Tokens::new(canary);
    let builder = BearerTokenAuth::builder().token(canary);
    assert!(!format!("{builder:?}").contains("canary"));
    for auth in [builder.build().unwrap(), tokens.auth()] {
        let service =
            auth.layer().layer(service_fn(async |_: Request<()>| Ok::<_, ()>(Response::new(()))));
        let bound = auth.for_endpoint("https://otlp.example.com").unwrap();
        let printed = format!(
            "{auth:?} {bound:?} {:?} {service:?} {:?} {:?}",
            auth.layer(),
            auth.interceptor(),
            { auth.http_client(http_client()) }
        );
        assert!(!printed.contains("canary"), "{printed}");
        let sent = through_layer(&auth, Request::new(())).unwrap();
        assert!(sent.headers()["authorization"].is_sensitive());
        assert!(!format!("{sent:?}").contains("canary"));
        let intercepted = auth.interceptor().call(tonic::Request::new(())).unwrap();
        assert!(intercepted.metadata().get("authorization").unwrap().is_sensitive());
    }
}

/// A message and the messages of its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Authenticators are made of nothing, and of illegal headers, schemes and tokens.
/// Each is refused with its reason, and no reason repeats the token.
#[test]
fn illegal_parts_are_refused() {
    let builder = BearerTokenAuth::builder;
    let refused = |builder: otlp_auth::client::Builder, expected: &str| {
        let error = builder.build().unwrap_err();
        let text = chain(&error);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("canary") && !format!("{error:?}").contains("canary"), "{error:?}");
        error
    };
    assert!(matches!(refused(builder(), "no token"), BuildError::NoToken));
    for header in ["", "a b", "x:y", "h\u{e4}ader", "a\r\nb"] {
        assert!(matches!(
            refused(builder().header(header).token("t"), "not a header name"),
            BuildError::Header(_)
        ));
    }
    for header in [
        "Host",
        "content-length",
        "TE",
        "Content-Type",
        "transfer-encoding",
        "grpc-timeout",
        "x-token-bin",
    ] {
        let error = refused(builder().header(header).token("t"), "cannot carry a credential");
        assert!(
            matches!(error, BuildError::ProtocolHeader(name) if name.as_str() == header.to_ascii_lowercase())
        );
    }
    let long_scheme = "s".repeat(65);
    for (scheme, token, expected) in [
        ("Stack State", "canary", "the scheme has a character"),
        ("Stack\r\nState", "canary", "the scheme has a character"),
        (&long_scheme, "canary", "the scheme is longer"),
        ("StackState", "", "no token"),
        ("", "", "no token"),
        ("StackState", "canary canary", "the token has a character"),
        ("StackState", "canary\n", "the token has a character"),
        ("StackState", "canary\0", "the token has a character"),
        ("StackState", "canary,canary", "the token has a character"),
        ("StackState", "canary\u{e4}", "the token has a character"),
        ("StackState", &"canary".repeat(1000), "the token is longer"),
    ] {
        assert!(matches!(
            refused(builder().scheme(scheme).token(token), expected),
            BuildError::Credential(_)
        ));
    }
}

/// Token files are missing, directories, empty, or have no legal first line.
/// Each is refused with the path and the reason, and without what stands in the file.
#[test]
fn unusable_files_are_refused_by_name() {
    let refused = |tokens: &Tokens, scheme: &str, expected: &str| {
        let error =
            BearerTokenAuth::builder().scheme(scheme).file(tokens.path()).build().unwrap_err();
        let text = chain(&error);
        assert!(
            text.contains(&tokens.path().display().to_string()) && text.contains(expected),
            "{text}"
        );
        assert!(!text.contains("canary") && !format!("{error:?}").contains("canary"), "{error:?}");
        assert!(matches!(error, BuildError::File { path, .. } if path == tokens.path()));
    };
    for content in ["", "\n", " \r\n\t\n", "\u{feff}"] {
        refused(&Tokens::new(content), "StackState", "has no token");
    }
    refused(&Tokens::new("canary canary"), "StackState", "line 1 of the token file is not a token");
    refused(
        &Tokens::new("good\n\nbad canary\n"),
        "StackState",
        "line 3 of the token file is not a token",
    );
    refused(&Tokens::new(b"canary\xff"), "StackState", "line 1");
    refused(&Tokens::new(b"canary\0"), "StackState", "line 1");
    refused(&Tokens::new("canary"), "no scheme", "scheme");
    refused(&Tokens::new(vec![b'\n'; (16 << 20) + 1]), "StackState", "longer than 16 MiB");
    let missing = Tokens::new("canary");
    fs::remove_file(missing.path()).unwrap();
    refused(&missing, "StackState", "cannot be read");
    fs::create_dir(missing.path()).unwrap();
    refused(&missing, "StackState", "not a regular file");
}

/// Files with a byte order mark, Windows line ends, blanks, blank lines, names and no final newline
/// are read. The first token is sent, and nothing around it.
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

/// Where a credential may go: encrypted anywhere, in plaintext to this machine only.
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

/// An authenticator is bound to endpoints near and far, and requests with absolute URIs pass the
/// layer. Both let the credential go to the same places; the refusal names the host, and plaintext
/// can be allowed.
#[test]
fn plaintext_goes_to_this_machine_only() {
    let auth = BearerTokenAuth::builder().token("token-0").build().unwrap();
    let allowing = auth.clone().allow_plaintext();
    for (uri, allowed) in URIS {
        let request = || Request::builder().uri(uri).body(()).unwrap();
        let host = request().uri().host().unwrap().to_owned();
        let refused = |error: &EndpointError| matches!(error, EndpointError::Plaintext { host: named } if *named == host);
        match (auth.for_endpoint(uri), through_layer(&auth, request())) {
            (Ok(_), Ok(sent)) => {
                assert!(allowed && sent.headers().contains_key("authorization"), "{uri}")
            }
            (Err(bound), Err(sent)) => {
                let sent = sent.downcast_ref().expect("it is our error");
                assert!(!allowed && refused(&bound) && refused(sent), "{uri}");
            }
            different => panic!("{uri}: {different:?}"),
        }
        allowing.for_endpoint(uri).unwrap();
        through_layer(&allowing, request()).unwrap();
    }
}

/// Endpoints are given as text, as `Uri`, as tonic's, and as what is none of these.
/// All are judged alike; what has no scheme or no host is refused, even where plaintext is allowed.
#[test]
fn kinds_of_endpoints() {
    let auth = BearerTokenAuth::builder().token("token-0").build().unwrap();
    let near = "http://127.0.0.1:1";
    let far = "http://otlp.example.com";
    assert!(auth.for_endpoint(near).is_ok() && auth.for_endpoint(far).is_err());
    assert!(
        auth.for_endpoint(&near.to_owned()).is_ok() && auth.for_endpoint(&far.to_owned()).is_err()
    );
    assert!(
        auth.for_endpoint(&Uri::from_static(near)).is_ok()
            && auth.for_endpoint(&Uri::from_static(far)).is_err()
    );
    let tonic = tonic::transport::Endpoint::from_static;
    assert!(auth.for_endpoint(&tonic(near)).is_ok() && auth.for_endpoint(&tonic(far)).is_err());
    let allowing = auth.allow_plaintext();
    assert!(allowing.for_endpoint(&tonic(far)).is_ok());
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

/// A request has a path only, as above a channel.
/// It passes: its endpoint was checked when the authenticator was bound.
#[test]
fn a_path_alone_passes_the_layer() {
    let auth = BearerTokenAuth::builder().token("token-0").build().unwrap();
    let sent =
        through_layer(&auth, Request::builder().uri("/v1/traces").body(()).unwrap()).unwrap();
    assert_eq!(sent.headers()["authorization"], "StackState token-0");
}
