use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use proptest::prelude::*;

use super::*;
use crate::denial::DenyReason::{Conflicting, Malformed, Missing};

const API_KEY: Scheme = Scheme::from_static("ApiKey");
const STS_API_KEY: HeaderName = HeaderName::from_static("sts-api-key");

/// Makes the extractor for StackState's agents, as in the documentation of [`CredentialExtractor`].
fn agent() -> CredentialExtractor {
    CredentialExtractor::default()
        .with_scheme(Scheme::from_static("SUSEObservability"))
        .with_scheme(API_KEY)
        .with_basic_user("apikey")
        .with_bare_header(STS_API_KEY)
        .with_bare_header(HeaderName::from_static("dd-api-key"))
        .with_query_parameter("api_key", ["/stsAgent/", "/receiver/stsAgent/", "/exactly"])
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn find_with(
    extractor: &CredentialExtractor,
    pairs: &[(&str, &str)],
    uri: &str,
) -> Result<String, DenyReason> {
    extractor
        .extract(&headers(pairs), &uri.parse().unwrap())
        .map(|credential| credential.expose_token().to_owned())
}

fn find(pairs: &[(&str, &str)], uri: &str) -> Result<String, DenyReason> {
    find_with(&agent(), pairs, uri)
}

fn stripped(uri: &str) -> String {
    let mut uri: Uri = uri.parse().unwrap();
    agent().strip(&mut HeaderMap::new(), &mut uri);
    uri.to_string()
}

// Scenario: the key arrives alone, in each header or query parameter that StackState's agents use.
// Guarantee: the key is found. The case of the scheme and of the header name does not matter.
#[test]
fn a_credential_is_found_in_every_place() {
    let basic = basic("apikey", "key");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("authorization", "StackState key")], "/v1/traces"),
        (&[("Authorization", "stackstate   key")], "/v1/traces"),
        (&[("authorization", "SUSEObservability key")], "/v1/traces"),
        (&[("authorization", "apiKEY key")], "/v1/traces"),
        (&[("authorization", &basic)], "/v1/traces"),
        (&[("authorization", &basic.replacen("Basic", "bAsIc", 1))], "/v1/traces"),
        (&[("sts-api-key", "key")], "/v1/traces"),
        (&[("Dd-Api-Key", " key\t")], "/v1/traces"),
        (&[], "/stsAgent/intake?api_key=key"),
        (&[], "/receiver/stsAgent/api/v1/series?host=h&api_key=key&x=y"),
        (&[], "/stsAgent/?api_key=%6B%65y"),
        (&[], "/stsAgent/?%61pi_key=key"),
        (&[], "/exactly?api_key=key"),
        (&[], "http://receiver:7077/stsAgent/intake?api_key=key"),
    ];
    for (headers, uri) in cases {
        assert_eq!(find(headers, uri).as_deref(), Ok("key"), "{headers:?} {uri}");
    }
}

// Scenario: a key ends or begins with blanks and line ends, in a header, a password or a query
// parameter. The key in a Kubernetes secret has a line end if it was made with `echo KEY | base64`.
// Guarantee: the key is found without them. So a key that is also sent without them counts once.
#[test]
fn blanks_and_line_ends_around_a_credential_do_not_count() {
    for password in ["key\n", "key\r\n", " key", "\tkey \n\n"] {
        let basic = basic("apikey", password);
        let pairs = [("authorization", basic.as_str()), ("sts-api-key", " key\t")];
        assert_eq!(find(&pairs, "/").as_deref(), Ok("key"), "{password:?}");
    }
    for query in ["key%0A", "key%0D%0A", "+key+", "%20%09key%20", "key%0A&api_key=key"] {
        let uri = format!("/stsAgent/?api_key={query}");
        assert_eq!(find(&[], &uri).as_deref(), Ok("key"), "{query}");
    }
}

// Scenario: one request carries the same key twice. The key is in one header twice, in two headers,
// in a header and the query, in a header and in Basic, or in the parameter twice.
// Guarantee: the key counts once, even if the two values are written differently.
#[test]
fn the_same_credential_counts_once() {
    let basic = basic("apikey", "key");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("authorization", "StackState key"), ("authorization", "StackState key")], "/"),
        (&[("authorization", "StackState key"), ("authorization", "ApiKey  key ")], "/"),
        (&[("authorization", "StackState key"), ("sts-api-key", "key")], "/"),
        (&[("dd-api-key", "key"), ("sts-api-key", "key"), ("sts-api-key", "key")], "/"),
        (&[("authorization", "StackState key")], "/stsAgent/intake?api_key=key"),
        (&[("authorization", "StackState key"), ("authorization", &basic)], "/"),
        (
            &[("authorization", &basic), ("sts-api-key", "key")],
            "/stsAgent/intake?api_key=k%65y&api_key=key",
        ),
        (&[], "/stsAgent/intake?api_key=key&api_key=key"),
    ];
    for (headers, uri) in cases {
        assert_eq!(find(headers, uri).as_deref(), Ok("key"), "{headers:?} {uri}");
    }
}

// Scenario: one request carries two different keys, in any two places. Some pairs of keys differ
// only in case. In other pairs, one key is a prefix of the other key.
// Guarantee: the request is denied as conflicting.
#[test]
fn different_credentials_are_refused() {
    let basic = basic("apikey", "other");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("authorization", "StackState key"), ("authorization", "StackState other")], "/"),
        (&[("authorization", "StackState key"), ("authorization", "StackState KEY")], "/"),
        (&[("authorization", "StackState key"), ("authorization", "StackState ke")], "/"),
        (&[("authorization", "StackState key"), ("sts-api-key", "other")], "/"),
        (&[("dd-api-key", "key"), ("sts-api-key", "other")], "/"),
        (&[("authorization", "StackState key")], "/stsAgent/intake?api_key=other"),
        (&[("authorization", "StackState key"), ("authorization", &basic)], "/"),
        (&[], "/stsAgent/intake?api_key=key&api_key=other"),
    ];
    for (headers, uri) in cases {
        assert_eq!(find(headers, uri), Err(Conflicting), "{headers:?} {uri}");
    }
}

// Scenario: one place contains something that is not a credential of an accepted form. The other
// places are empty, or one of them contains a good credential.
// Guarantee: the request is denied as malformed, even if another place contains a good credential.
#[test]
fn a_malformed_place_spoils_the_request() {
    let long = format!("/stsAgent/?{}&api_key=key", "x".repeat(MAX_QUERY_LEN));
    let bad_base64 = ["Basic YXBpa2V5OmtleQ=", "Basic !!!!", "Basic YXBpa2V5", "Basic gICAgA=="];
    let bad_basic = [
        basic("other", "key"),
        basic("apikey", ""),
        basic("apikey", "k ey"),
        basic("apikey", "k\ney"),
        basic("apikey", " \n"),
        basic("APIKEY", "key"),
        basic("", "key"),
    ];
    let mut cases: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![("authorization", "")], "/"),
        (vec![("authorization", "StackState")], "/"),
        (vec![("authorization", "StackState ")], "/"),
        (vec![("authorization", "Bearer key")], "/"),
        (vec![("authorization", "StackStateX key")], "/"),
        (vec![("authorization", "StackStat key")], "/"),
        (vec![("authorization", "key")], "/"),
        (vec![("authorization", "StackState key, StackState key")], "/"),
        (vec![("authorization", "StackState ké")], "/"),
        (vec![("sts-api-key", "")], "/"),
        (vec![("sts-api-key", "StackState key")], "/"),
        (vec![("sts-api-key", "key,key")], "/"),
        (vec![], "/stsAgent/?api_key="),
        (vec![], "/stsAgent/?api_key"),
        (vec![], "/stsAgent/?api_key=k+y"),
        (vec![], "/stsAgent/?api_key=k%20y"),
        (vec![], "/stsAgent/?api_key=k%0Ay"),
        (vec![], "/stsAgent/?api_key=%0A"),
        (vec![], "/stsAgent/?api_key=k%2Cy"),
        (vec![], "/stsAgent/?api_key=k%00y"),
        (vec![], "/stsAgent/?api_key=k%FFy"),
        (vec![], "/stsAgent/?api_key=%C3%A9"),
        (vec![], "/stsAgent/?api_key=k%y%zz,"),
        (vec![], &long),
    ];
    cases.extend(bad_base64.iter().map(|value| (vec![("authorization", *value)], "/")));
    cases.extend(bad_basic.iter().map(|value| (vec![("authorization", value.as_str())], "/")));
    for (headers, uri) in cases {
        assert_eq!(find(&headers, uri), Err(Malformed), "{headers:?} {uri}");
        // The good credential is read before the bad one, after it, or from the same header.
        for place in ["dd-api-key", "sts-api-key", "authorization"] {
            let good = if place == "authorization" { "StackState key" } else { "key" };
            let with_good: Vec<_> = headers.iter().copied().chain([(place, good)]).collect();
            assert_eq!(find(&with_good, uri), Err(Malformed), "{with_good:?} {uri}");
        }
    }
}

// Scenario: the parameter is in the query of a path that is not listed, has another case, or is not
// in the query.
// Guarantee: the parameter is neither read nor removed.
#[test]
fn a_parameter_is_read_on_listed_paths_only() {
    for uri in [
        "/v1/traces?api_key=key",
        "/stsAgent?api_key=key",
        "/stsAgentX/?api_key=key",
        "/STSAGENT/?api_key=key",
        "/x/stsAgent/?api_key=key",
        "/%73tsAgent/?api_key=key",
        "/exactly/not?api_key=key",
        "/exactlynot?api_key=key",
        "/stsAgent/?API_KEY=key",
        "/stsAgent/?api_key2=key",
        "/stsAgent/?x=api_key=key",
        "/stsAgent/?api%FFkey=key",
    ] {
        assert_eq!(find(&[], uri), Err(Missing), "{uri}");
        assert_eq!(find(&[("sts-api-key", "other")], uri).as_deref(), Ok("other"), "{uri}");
        assert_eq!(stripped(uri), uri);
    }
}

// Scenario: an extractor lists the path `/` for its parameter.
// Guarantee: the parameter is read on every path.
#[test]
fn a_slash_lists_every_path() {
    let extractor = CredentialExtractor::empty().with_query_parameter("k", ["/"]);
    for uri in ["/?k=key", "/v1/traces?k=key", "http://host/?k=key", "http://host?k=key"] {
        assert_eq!(find_with(&extractor, &[], uri).as_deref(), Ok("key"), "{uri}");
    }
    assert_eq!(
        find_with(&extractor, &[("authorization", "StackState key")], "/"),
        Err(Missing),
        "nowhere else"
    );
}

// Scenario: URIs have the other forms that HTTP allows: an absolute URI, `*`, or an authority
// alone.
// Guarantee: nothing panics. Without a query, no credential is found. Stripping changes only the
// parameter.
#[test]
fn every_form_of_uri_is_taken() {
    for uri in [
        "*",
        "host:80",
        "http://host",
        "https://host:1/stsAgent/intake",
        "/",
        "/stsAgent/",
        "/stsAgent/?",
        "/stsAgent/?a=b&&c",
    ] {
        assert_eq!(find(&[], uri), Err(Missing), "{uri}");
        assert_eq!(stripped(uri), uri.parse::<Uri>().unwrap().to_string());
    }
    for (uri, left) in [
        ("https://host:1/stsAgent/intake?api_key=key", "https://host:1/stsAgent/intake"),
        ("https://user@host/stsAgent/?a=1&api_key=key&b=2", "https://user@host/stsAgent/?a=1&b=2"),
        ("/stsAgent/?api_key=key", "/stsAgent/"),
        ("/stsAgent/?api_key", "/stsAgent/"),
        ("/stsAgent/?api_key=a&api_key=b&%61pi_key=c&api_key", "/stsAgent/"),
        ("/stsAgent/?&api_key=key&", "/stsAgent/?&"),
        ("/stsAgent/?a=%ff+%2B'{}&api_key=key&a=%20", "/stsAgent/?a=%ff+%2B'{}&a=%20"),
    ] {
        assert_eq!(stripped(uri), left);
    }
}

// Scenario: a request has a value in every place, and other headers. The extractor strips the
// request.
// Guarantee: every place is empty, even if its value was malformed. The other headers are
// unchanged.
#[test]
fn every_place_is_stripped() {
    let mut headers = headers(&[
        ("authorization", "StackState key"),
        ("authorization", "Bearer something else"),
        ("sts-api-key", "key"),
        ("dd-api-key", ""),
        ("content-type", "application/json"),
        ("x-api-key", "not ours"),
    ]);
    let mut uri: Uri = "/stsAgent/intake?api_key=key&host=h".parse().unwrap();
    agent().strip(&mut headers, &mut uri);
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-type", "x-api-key"]);
    assert_eq!(uri, "/stsAgent/intake?host=h");
}

// Scenario: an extractor that reads nothing gets requests that carry credentials.
// Guarantee: the extractor finds nothing and removes nothing.
#[test]
fn an_empty_extractor_finds_nothing() {
    let mut headers = headers(&[("authorization", "StackState key"), ("sts-api-key", "key")]);
    let mut uri: Uri = "/stsAgent/?api_key=key".parse().unwrap();
    let empty = CredentialExtractor::empty();
    assert_eq!(empty.extract(&headers, &uri).err(), Some(Missing));
    empty.strip(&mut headers, &mut uri);
    assert_eq!((headers.len(), uri.to_string().as_str()), (2, "/stsAgent/?api_key=key"));
}

// Scenario: extractors accept schemes in several headers, some twice or in another case. One
// extractor accepts only tokens without a scheme.
// Guarantee: there is one challenge for each scheme, in order, and always at least one.
#[test]
fn there_is_one_challenge_for_each_scheme() {
    let schemes = |names: &[&'static str]| {
        names.iter().map(|name| Scheme::from_static(name)).collect::<Vec<_>>()
    };
    assert_eq!(
        agent().challenge_schemes(),
        schemes(&["StackState", "SUSEObservability", "ApiKey", "Basic"])
    );
    let repeated = CredentialExtractor::default()
        .with_header(HeaderName::from_static("x-other"), Scheme::from_static("stackstate"))
        .with_scheme(Scheme::STACKSTATE);
    assert_eq!(repeated.challenge_schemes(), schemes(&["StackState"]));
    let bare = CredentialExtractor::empty().with_bare_header(STS_API_KEY);
    assert_eq!(bare.challenge_schemes(), [API_KEY]);
}

proptest! {
    // Scenario: our parameter is at any positions of any query.
    // Guarantee: the parameter is removed, and the rest of the query stays the same, byte for byte.
    #[test]
    fn the_rest_of_a_query_is_kept(
        pairs in prop::collection::vec(prop_oneof![
            3 => "[a-z0-9=%+!'{}/?:@;._~-]{0,12}".prop_map(|pair| (false, pair)),
            1 => "(api_key|%61pi_key|api%5Fkey|api_ke%79)(=[a-z0-9%+=]{0,8})?".prop_map(|pair| (true, pair)),
        ], 0..8),
        path in "/(stsAgent|receiver/stsAgent)/[a-z]{0,4}",
        authority in prop::option::of("https?://[a-z]{1,5}(:[1-9][0-9]{0,2})?"),
    ) {
        prop_assume!(pairs.iter().all(|(ours, pair)| *ours || !pair.starts_with("api_key")));
        let join = |pairs: &[&(bool, String)]| pairs.iter().map(|(_, pair)| pair.as_str()).collect::<Vec<_>>().join("&");
        let all = join(&pairs.iter().collect::<Vec<_>>());
        let kept: Vec<_> = pairs.iter().filter(|(ours, _)| !ours).collect();
        let before = format!("{}{path}?{all}", authority.clone().unwrap_or_default());
        let uri: Uri = before.parse().unwrap();
        // If the query has only our parameter, the question mark is removed too. A query that was
        // empty from the beginning stays.
        let after = if kept.is_empty() && !pairs.is_empty() { path.clone() } else { format!("{path}?{}", join(&kept)) };
        let result: Uri = stripped(&before).parse().unwrap();
        prop_assert_eq!(result.path_and_query().unwrap().as_str(), &after);
        prop_assert_eq!((result.scheme(), result.authority()), (uri.scheme(), uri.authority()));
        prop_assert!(agent().extract(&HeaderMap::new(), &result).is_err_and(|reason| reason == Missing));
    }

    // Scenario: a request has any header value and any query.
    // Guarantee: nothing panics, and a credential that is found is legal.
    #[test]
    fn finding_never_panics(value in prop::collection::vec(any::<u8>(), 0..60), query in "[ -~]{0,40}") {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert("authorization", value);
        }
        let Ok(mut uri) = format!("/stsAgent/?api_key={query}").parse::<Uri>() else { return Ok(()) };
        if let Ok(credential) = agent().extract(&headers, &uri) {
            prop_assert!(Credential::new("", credential.expose_token()).is_ok());
        }
        agent().strip(&mut headers, &mut uri);
        prop_assert_eq!(agent().extract(&headers, &uri).err(), Some(Missing));
    }
}
