//! Tests that a decision allocates nothing.

use std::hint::black_box;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Uri};
use otlp_auth::server::{
    CredentialExtractor, FixedTokens, InMemoryAuthenticator, ServerAuthenticator, TokenFile,
};
use otlp_auth::{Decision, Denial, DenyReason, Identity};

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

// Scenario: a chain of a large set of tokens, a small set and a token file decides requests. The
// credential of a request is known, unknown, malformed, missing or conflicting.
// Guarantee: the decision allocates nothing.
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
            // The first use may allocate, so it is not measured.
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

// Scenario: a denial with an identity is made, for each reason that concerns a known key.
// Guarantee: the denial allocates nothing. A denial with a `retry_after` allocates once.
#[test]
fn a_denial_of_a_known_key_allocates_nothing() {
    let identity = Identity::new("team-a").with_id(7);
    for reason in [
        DenyReason::Revoked,
        DenyReason::Expired,
        DenyReason::NotPermitted,
        DenyReason::LimitExceeded,
    ] {
        let deny = || Denial::new(reason).with_identity(identity.clone());
        let allocations = allocation_counter::measure(|| drop(black_box(deny())));
        assert_eq!(allocations.count_total, 0, "{reason}");
        let allocations = allocation_counter::measure(|| {
            drop(black_box(deny().with_retry_after(Duration::from_secs(1))));
        });
        assert_eq!(allocations.count_total, 1, "{reason}");
    }
}
