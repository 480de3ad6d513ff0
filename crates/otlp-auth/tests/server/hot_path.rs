//! A decision allocates nothing.

use std::hint::black_box;

use http::{HeaderMap, HeaderValue, Uri};
use otlp_auth::server::{
    CredentialExtractor, FixedTokens, InMemoryAuthenticator, ServerAuthenticator, TokenFile,
};
use otlp_auth::{Decision, DenyReason};

use crate::receivers::{TEAM_A, extractor, teams};

fn decide(
    extractor: &CredentialExtractor,
    authenticator: &impl InMemoryAuthenticator,
    headers: &HeaderMap,
    uri: &Uri,
) -> Decision {
    match extractor.extract(headers, uri) {
        Ok(credential) => authenticator.decide(&credential).unwrap(),
        Err(reason) => Decision::Deny(reason.into()),
    }
}

// Scenario: a request is decided from memory: a hit among many, an unknown, a malformed, a missing,
// a conflicting one, by a set, a chain and a file. Guarantee: no allocation.
#[test]
fn a_decision_allocates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tokens"), format!("team-a={TEAM_A}\n")).unwrap();
    let file = TokenFile::open(directory.path().join("tokens")).unwrap();
    let many = FixedTokens::new(
        (0..1000)
            .map(|i| (format!("name-{i}"), format!("iapikeyok-number-{i}")))
            .chain([("team-a".to_owned(), TEAM_A.to_owned())]),
    );
    let chain = many.unwrap().or(teams()).or(file);
    let (default, agent) = (CredentialExtractor::default(), extractor());
    let long = format!("StackState {}", "x".repeat(4097));
    let good = format!("StackState {TEAM_A}");
    let cases: &[(&[&str], Result<&str, DenyReason>)] = &[
        (&[&good], Ok("team-a")),
        (&[&good, &good], Ok("team-a")),
        (&[&format!(" sTACKsTATE   {TEAM_A}\t")], Ok("team-a")),
        (&["StackState iapikeyok-of-nobody"], Err(DenyReason::Unknown)),
        (&["StackState"], Err(DenyReason::Malformed)),
        (&["Bearer iapikeyok-of-team-a"], Err(DenyReason::Malformed)),
        (&["StackState one, StackState two"], Err(DenyReason::Malformed)),
        (&[&long], Err(DenyReason::Malformed)),
        (&[&good, "StackState iapikeyok-of-nobody"], Err(DenyReason::Conflicting)),
        (&[], Err(DenyReason::Missing)),
    ];
    let uri = Uri::from_static("/v1/traces?x=y");
    for (values, expected) in cases {
        let headers: HeaderMap = values
            .iter()
            .map(|value| (http::header::AUTHORIZATION, HeaderValue::from_str(value).unwrap()))
            .collect();
        for extractor in [&default, &agent] {
            // What is set up at its first use is not counted.
            let first = decide(extractor, &chain, &headers, &uri);
            match (&first, expected) {
                (Decision::Allow(identity), Ok(name)) => assert_eq!(identity.name(), *name),
                (Decision::Deny(denial), Err(expected)) => assert_eq!(denial.reason(), *expected),
                other => panic!("{other:?}"),
            }
            let allocations = allocation_counter::measure(|| {
                black_box(decide(black_box(extractor), &chain, black_box(&headers), &uri));
            });
            assert_eq!(allocations.count_total, 0, "{values:?}");
        }
    }
    let allocations = allocation_counter::measure(|| drop(black_box(vec![0_u8; 10])));
    assert_eq!(allocations.count_total, 1, "they are counted");
}
