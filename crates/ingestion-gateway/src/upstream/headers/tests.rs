use http::Request;
use http::header::CONTENT_TYPE;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use proptest::prelude::*;

use super::*;
use crate::config::{Config, DestinationConfig, Sources, UpstreamConfig};

/// Names of headers, and their values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// Returns the configuration of upstreams.
fn config(upstream: &str) -> UpstreamConfig {
    let sets = vec![format!("upstream={upstream}")];
    let env = |name: &str| (name == "HOME").then(|| "/home/ops".to_owned());
    Config::load(&Sources { files: Vec::new(), sets }, &env).unwrap().0.upstream
}

/// Returns the rules of the upstream `key`, with this `bearertokenauth` block.
fn with_auth(key: &str, auth: &str, identity: &IdentityHeaders) -> HeaderRules {
    let auth = if auth.is_empty() { String::new() } else { format!(", auth: {auth}") };
    let forward = |name| match name == key {
        true => format!("{name}: {{endpoint: 'http://[::1]:1'{auth}}}"),
        false => format!("{name}: debug"),
    };
    let all = ["otlp_grpc", "otlp_http", "agent"].map(forward).join(", ");
    let UpstreamConfig { otlp_grpc, otlp_http, agent, .. } = config(&format!("{{{all}}}"));
    let is_forward = |destination: DestinationConfig| match destination {
        DestinationConfig::Forward(endpoint) => Some(endpoint),
        DestinationConfig::Debug => None,
    };
    let mut forwards = [otlp_grpc, otlp_http, agent].into_iter().flatten().filter_map(is_forward);
    let transport = if key == "otlp_grpc" { Transport::Grpc } else { Transport::Http };
    let meter = SdkMeterProvider::default().meter("test");
    HeaderRules::new(transport, &forwards.next().unwrap(), identity, &meter).unwrap()
}

fn rules(transport: Transport) -> HeaderRules {
    let key = if transport == Transport::Grpc { "otlp_grpc" } else { "otlp_http" };
    with_auth(key, "", &IdentityHeaders::default())
}

fn peer(is_trusted: bool, is_tls: bool) -> ClientAddress {
    let address = "192.0.2.7".parse().unwrap();
    ClientAddress(address, Peer { address, is_trusted, is_tls })
}

/// Returns the head of a request with these headers, from an allowed sender.
fn parts(uri: &str, client: ClientAddress, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::post(uri).body(()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(Identity::new("edge").with_id(7));
    request.into_parts().0
}

/// Applies the rules, and puts what the gateway says among the headers, which do not have it.
fn prepare(rules: &HeaderRules, parts: &mut Parts) {
    rules.prepare(parts, |headers, name, value| {
        assert!(name == TE || !headers.contains_key(&name), "{name} is there twice");
        headers.insert(name, value);
    });
}

/// Applies the rules of an HTTP upstream, and returns the lines of the headers, sorted.
fn prepared(client: ClientAddress, headers: &[(&str, &str)]) -> Vec<String> {
    let mut parts = parts("/v1/traces", client, headers);
    prepare(&rules(Transport::Http), &mut parts);
    lines(&parts.headers)
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    let mut lines: Vec<_> = headers.iter().map(line).collect();
    lines.sort();
    lines
}

/// What the gateway adds to each request in these tests.
const ADDED: [&str; 4] = [
    "x-forwarded-for: 192.0.2.7",
    "x-forwarded-proto: http",
    "x-ingestion-key-id: 7",
    "x-ingestion-key-name: edge",
];

// Scenario: requests have hop-by-hop headers, and `Connection` names other headers: in several
// lines, in any case, with empty and broken options, and among them headers that the gateway sets
// and those that say how the body is read.
// Guarantee: the hop-by-hop headers and the named headers are gone. What the gateway sets is there,
// and so are the headers of the body and everything else.
#[test]
fn hop_by_hop_headers_are_removed() {
    let cases: [(Headers<'_>, &[&str]); 6] = [
        (&[("connection", "keep-alive"), ("keep-alive", "timeout=5")], &[]),
        (
            &[
                ("te", "trailers, gzip"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAM"),
                ("proxy-connection", "close"),
                ("proxy-authorization", "Basic YTpi"),
                ("expect", "100-continue"),
                ("transfer-encoding", "chunked"),
            ],
            &[],
        ),
        (
            &[
                ("connection", "close, X-One ,,\"x\",  x-two"),
                ("x-one", "1"),
                ("x-two", "2"),
                ("x-three", "3"),
            ],
            &["x-three: 3"],
        ),
        (&[("connection", "x-one"), ("connection", "X-TWO"), ("x-one", "1"), ("x-two", "2")], &[]),
        (
            &[
                ("connection", "x-ingestion-key-id, x-ingestion-key-name, x-forwarded-for"),
                ("connection", "x-forwarded-proto, authorization, connection"),
            ],
            &[],
        ),
        (
            &[
                ("connection", "content-type, content-encoding, content-length, host"),
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
                ("content-length", "3"),
            ],
            &["content-encoding: gzip", "content-length: 3", "content-type: application/json"],
        ),
    ];
    for (headers, kept) in cases {
        let mut expected: Vec<_> = ADDED.iter().chain(kept).map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(prepared(peer(false, false), headers), expected, "{headers:?}");
    }
}

// Scenario: a sender sets the identity headers, other credentials and the forwarding headers:
// twice, with `_` in place of `-`, and empty. It also sends headers whose names only look alike.
// Guarantee: nothing of it is passed on in place of what the gateway says, and the headers with
// other names are.
#[test]
fn forged_headers_are_removed() {
    let forged = [
        ("x-ingestion-key-id", "1"),
        ("x-ingestion-key-id", "2"),
        ("x-ingestion-key-name", ""),
        ("x_ingestion_key_id", "1"),
        ("x-ingestion_key-name", "admin"),
        ("authorization", "Bearer other"),
        ("sts-api-key", "other"),
        ("sts_api_key", "other"),
        ("dd-api-key", "other"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x_forwarded_for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "other"),
        ("x-forwarded-user", "admin"),
        ("x-real-ip", "198.51.100.1"),
        ("forwarded", "for=198.51.100.1"),
    ];
    let other = [("x-ingestion-key-ids", "1"), ("ingestion-key-id", "1"), ("x-forwarded", "1")];
    let all: Vec<_> = forged.into_iter().chain(other).collect();
    let mut expected: Vec<_> = ADDED.iter().map(ToString::to_string).collect();
    expected.extend(other.map(|(name, value)| format!("{name}: {value}")));
    expected.sort();
    assert_eq!(prepared(peer(false, false), &all), expected);

    let mut trailers = parts("/", peer(true, false), &all).headers;
    trailers.append("grpc-status", HeaderValue::from_static("0"));
    rules(Transport::Http).clean_trailers(&mut trailers);
    let mut expected: Vec<_> = other.map(|(name, value)| format!("{name}: {value}")).into();
    expected.insert(0, "grpc-status: 0".to_owned());
    expected.sort();
    assert_eq!(lines(&trailers), expected);
}

// Scenario: requests come from a trusted proxy, with forwarding headers in one line, in several
// lines, and without any; directly; and over TLS.
// Guarantee: the peer is added to the addresses that the proxy has written, in one line, and what
// else the proxy says stays. Without a proxy, the peer is the only address. The host is the one
// that the client has asked for.
#[test]
fn forwarding_headers_are_set() {
    let cases: [(ClientAddress, &str, Headers<'_>, [&str; 3]); 6] = [
        (
            peer(false, false),
            "/",
            &[("host", "otlp.example.com")],
            ["192.0.2.7", "http", "otlp.example.com"],
        ),
        (
            peer(false, true),
            "https://h2.example.com:443/",
            &[],
            ["192.0.2.7", "https", "h2.example.com:443"],
        ),
        (
            peer(false, false),
            "http://one.example.com/",
            &[("host", "two.example.com")],
            ["192.0.2.7", "http", "one.example.com"],
        ),
        (
            peer(true, false),
            "/",
            &[("host", "gateway"), ("forwarded", "for=192.0.2.66")],
            ["192.0.2.7", "http", "gateway"],
        ),
        (
            peer(true, false),
            "/",
            &[
                ("host", "gateway"),
                ("x-forwarded-for", "198.51.100.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "otlp.example.com"),
                ("x_forwarded_host", "forged"),
                ("connection", "x-forwarded-for, x-forwarded-host"),
            ],
            ["198.51.100.1, 192.0.2.7", "https", "otlp.example.com"],
        ),
        (
            peer(true, true),
            "/",
            &[
                ("host", "gateway"),
                ("x-forwarded-for", "198.51.100.1, 10.0.0.1"),
                ("x-forwarded-for", "unknown"),
            ],
            ["198.51.100.1, 10.0.0.1, unknown, 192.0.2.7", "https", "gateway"],
        ),
    ];
    for (client, uri, headers, [address, proto, host]) in cases {
        let mut parts = parts(uri, client, headers);
        prepare(&rules(Transport::Http), &mut parts);
        parts.headers.remove(HOST);
        let mut expected = vec![
            format!("x-forwarded-for: {address}"),
            format!("x-forwarded-host: {host}"),
            format!("x-forwarded-proto: {proto}"),
            "x-ingestion-key-id: 7".to_owned(),
            "x-ingestion-key-name: edge".to_owned(),
        ];
        expected.sort();
        assert_eq!(lines(&parts.headers), expected, "{uri} {headers:?}");
    }
}

// Scenario: calls of gRPC say in three ways which trailers they read, and have metadata of gRPC and
// of tracing.
// Guarantee: the upstream is told that trailers are read, once, and gets the metadata.
#[test]
fn a_call_reads_trailers() {
    for te in [None, Some("trailers"), Some("gzip")] {
        let uri = "http://h/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let mut parts = parts(
            uri,
            peer(false, false),
            &[
                ("content-type", "application/grpc"),
                ("grpc-timeout", "1S"),
                ("traceparent", "00-1-2-01"),
            ],
        );
        parts.headers.extend(te.map(|te| (TE, HeaderValue::from_static(te))));
        prepare(&rules(Transport::Grpc), &mut parts);
        let te: Vec<_> = parts.headers.get_all(TE).iter().collect();
        assert_eq!(te, ["trailers"]);
        assert_eq!(parts.headers[CONTENT_TYPE], "application/grpc");
        assert!(
            parts.headers.contains_key("grpc-timeout") && parts.headers.contains_key("traceparent")
        );
    }
}

// Scenario: the gateway has a credential of its own for an upstream: in `authorization`, in a
// header of its own, and in the header of agents. The sender has set the same header.
// Guarantee: the upstream gets exactly the credential of the gateway, and it is marked as a secret.
#[test]
fn the_own_credential_is_set() {
    for (key, auth, name, expected) in [
        ("otlp_http", "{token: own}", "authorization", "Bearer own"),
        ("otlp_grpc", "{token: own, scheme: StackState}", "authorization", "StackState own"),
        ("otlp_http", "{token: own, scheme: '', header: X-Key}", "x-key", "own"),
        ("agent", "{token: own}", "sts-api-key", "own"),
    ] {
        let rules = with_auth(key, auth, &IdentityHeaders::default());
        let forged = name.replace('-', "_");
        let mut parts = parts("/", peer(false, false), &[(name, "forged"), (&forged, "forged")]);
        prepare(&rules, &mut parts);
        let values: Vec<_> = parts.headers.get_all(name).iter().collect();
        assert!(values == [expected] && values[0].is_sensitive(), "{auth}: {values:?}");
        assert!(name == forged || !parts.headers.contains_key(forged), "{auth}");
    }
}

// Scenario: the identity headers are the default ones, configured ones, or switched off. A sender
// sets all of them.
// Guarantee: the upstream gets those that are configured, and none from the sender.
#[test]
fn the_identity_headers_are_those_of_the_configuration() {
    let all = ["x-ingestion-key-id", "x-ingestion-key-name", "x-scope-orgid", "x-key"];
    for (text, expected) in [
        ("true", ["7", "edge", "forged", "forged"]),
        ("false", ["", "", "forged", "forged"]),
        ("{X-Scope-OrgID: name, X-Key: id}", ["", "", "edge", "7"]),
        ("{x-scope-orgid: id}", ["", "", "7", "forged"]),
        ("{X-Ingestion-Key-Id: name}", ["edge", "", "forged", "forged"]),
    ] {
        let headers = config(&format!("{{identity_headers: {text}}}")).identity_headers;
        let rules = with_auth("otlp_http", "", &headers);
        let mut parts = parts("/", peer(false, false), &all.map(|name| (name, "forged")));
        prepare(&rules, &mut parts);
        let value = |name| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!(all.map(value), expected, "{text}");
    }
}

// Scenario: names of keys in several scripts, with blanks, with signs that have a meaning in
// headers or URLs, and an identity without an id or none at all.
// Guarantee: a name is percent-encoded UTF-8 without any sign but the unreserved ones. What an
// identity does not have is empty.
#[test]
fn names_are_percent_encoded() {
    let values = |identity: Option<&Identity>| {
        let config = IdentityHeaders::default();
        let values: Vec<_> = identity_headers(&config, identity)
            .map(|(_, value)| value.to_str().unwrap().to_owned())
            .collect();
        values
    };
    for (name, expected) in [
        ("edge-1.eu_west~2", "edge-1.eu_west~2"),
        ("team a, b", "team%20a%2C%20b"),
        ("Zürich", "Z%C3%BCrich"),
        ("\u{6771}\u{4eac}\n", "%E6%9D%B1%E4%BA%AC%0A"),
        ("100%/\"#?=&+", "100%25%2F%22%23%3F%3D%26%2B"),
        ("", ""),
    ] {
        assert_eq!(
            values(Some(&Identity::new(name).with_id(u64::MAX))),
            ["18446744073709551615", expected]
        );
    }
    assert_eq!(values(Some(&Identity::new("receiver"))), ["", "receiver"]);
    assert_eq!(values(None), ["", ""]);
}

// Scenario: identities and addresses whose values have the same place in memory take turns, and a
// key is renamed.
// Guarantee: each request gets the values of its own identity and address.
#[test]
fn remembered_values_are_not_mixed_up() {
    for round in 0..3 {
        for id in [1, 65, 129] {
            let name = format!("key-{id}-{round}");
            let (id_value, name_value) = recent::identity(Some(&Identity::new(&*name).with_id(id)));
            assert_eq!((id_value, name_value), (id.into(), name.parse().unwrap()));
            let address = format!("192.0.{id}.7");
            assert_eq!(recent::address(address.parse().unwrap()), address.as_str());
            let host = format!("host-{id:03}");
            assert_eq!(recent::text(&host).unwrap(), host.as_str());
        }
    }
    assert_eq!(recent::address("2001:db8::c0".parse().unwrap()), "2001:db8::c0");
}

// Scenario: a second request comes with the same key, from the same peer and to the same host.
// Guarantee: nothing is allocated for its headers, if their map has room.
#[test]
fn a_usual_request_allocates_nothing() {
    for (transport, headers) in [
        (Transport::Grpc, [("te", "trailers"), ("content-type", "application/grpc")]),
        (Transport::Http, [("host", "otlp.example.com"), ("content-type", "application/json")]),
    ] {
        let uri = match transport {
            Transport::Grpc => "http://otlp.example.com/v1",
            Transport::Http => "/v1/traces",
        };
        let key = if transport == Transport::Grpc { "otlp_grpc" } else { "otlp_http" };
        let rules = with_auth(key, "{token: own}", &IdentityHeaders::default());
        prepare(&rules, &mut parts(uri, peer(false, false), &headers));
        let mut second = parts(uri, peer(false, false), &headers);
        second.headers.reserve(16);
        // A server takes all values from one buffer, which it shares. Here the first clone of a
        // value makes it shared.
        drop(second.headers.clone());
        let info = allocation_counter::measure(|| prepare(&rules, &mut second));
        assert_eq!(info.count_total, 0, "{transport:?}");
    }
}

// Scenario: a response has hop-by-hop headers, and `Connection` names one more.
// Guarantee: they are gone, and everything else stays.
#[test]
fn a_response_loses_its_hop_by_hop_headers() {
    let mut headers = parts(
        "/",
        peer(false, false),
        &[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("retry-after", "1"),
        ],
    )
    .headers;
    strip_hop_by_hop(&mut headers);
    assert_eq!(lines(&headers), ["content-length: 3", "retry-after: 1"]);
}

/// How the lines of headers begin that only the gateway sets, or that it removes.
const RESERVED: [&str; 6] = [
    "x-ingestion-key-",
    "x-forwarded-",
    "authorization:",
    "sts-api-key:",
    "dd-api-key:",
    "connection:",
];

/// Names that a sender may use, among them those that the gateway sets, in any spelling.
fn name() -> impl Strategy<Value = String> {
    let name = "x[-_]ingestion[-_]key[-_](id|name)|x[-_]forwarded[-_](for|proto|host|[a-z]{1,4})\
                |authorization|(sts|dd)[-_]api[-_]key|connection|[a-z_-]{1,20}";
    (name, any::<bool>()).prop_map(|(name, is_upper)| match is_upper {
        true => name.to_ascii_uppercase(),
        false => name,
    })
}

proptest! {
    // Scenario: any headers, among them those that the gateway sets, in any spelling, and named by
    // `Connection` in any way.
    // Guarantee: each header that the gateway sets has exactly the value of the gateway, and no
    // other header can be taken for it.
    #[test]
    fn a_sender_cannot_speak_for_the_gateway(
        names in proptest::collection::vec(name(), 0..12),
        options in proptest::collection::vec("[ -~]{0,40}", 0..4),
    ) {
        let mut headers: Vec<_> = names.iter().map(|name| (name.as_str(), "forged")).collect();
        headers.extend(options.iter().map(|option| ("connection", option.as_str())));
        let named = names.join(" , ");
        headers.push(("connection", &named));
        let lines = prepared(peer(false, false), &headers);
        for added in ADDED {
            prop_assert!(lines.iter().any(|line| line == added), "{lines:?}");
        }
        for line in lines {
            let name = line.replace('_', "-");
            let is_ours = RESERVED.iter().any(|reserved| name.starts_with(reserved));
            prop_assert!(!is_ours || ADDED.contains(&&*line) || !is_exact(&name), "{line}");
        }
    }
}

/// Returns whether a line has a name that the gateway sets, and not only one that begins like it.
fn is_exact(line: &str) -> bool {
    let name = line.split(':').next().unwrap();
    !name.starts_with("x-ingestion-key-") || name.ends_with("-id") || name.ends_with("-name")
}
