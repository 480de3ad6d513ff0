use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::server::InMemoryAuthenticator;

/// Returns the name that `tokens` gives to `token`, if `token` is allowed.
fn name_of(tokens: &FixedTokens, token: &str) -> Option<String> {
    match tokens.decide(&Credential::new("StackState", token).unwrap()) {
        Ok(Decision::Allow(identity)) => Some(identity.name().to_owned()),
        Ok(Decision::Deny(denial)) if denial.reason() == DenyReason::Unknown => None,
        other => panic!("{other:?}"),
    }
}

// Scenario: requests carry tokens of the set, and similar texts: a prefix of a token, a longer
// text, and a token in another case.
// Guarantee: exactly the tokens of the set are allowed, under their names. The scheme does not
// matter.
#[test]
fn only_the_tokens_of_the_set_are_allowed() {
    let tokens = FixedTokens::new([
        ("team-a", "token-of-team-a-0"),
        ("team-b", "token-of-team-b-0"),
        ("team-b", "token-of-team-b-1"),
    ])
    .unwrap();
    assert_eq!(tokens.len(), 3);
    assert_eq!(name_of(&tokens, "token-of-team-a-0").as_deref(), Some("team-a"));
    assert_eq!(name_of(&tokens, "token-of-team-b-0").as_deref(), Some("team-b"));
    assert_eq!(
        name_of(&tokens, "token-of-team-b-1").as_deref(),
        Some("team-b"),
        "a name may have two tokens, as in a rotation"
    );
    for near in [
        "token-of-team-a-",
        "token-of-team-a-00",
        "Token-of-team-a-0",
        "team-a",
        "token-of-team-c-0",
        "0",
    ] {
        assert_eq!(name_of(&tokens, near), None, "{near}");
    }
    assert!(matches!(
        tokens.decide(&Credential::new("Other", "token-of-team-a-0").unwrap()),
        Ok(Decision::Allow(_))
    ));
}

// Scenario: the first set has no tokens. The second set is made of a list that has a token twice,
// with the same name.
// Guarantee: the first set denies every credential. The second set has the token once.
#[test]
fn empty_and_repeated() {
    let none = FixedTokens::new::<&str, &str>([]).unwrap();
    assert!(none.is_empty() && name_of(&none, "token").is_none());
    let twice = FixedTokens::new([("a", "token-of-16-chars"), ("a", "token-of-16-chars")]).unwrap();
    assert_eq!((twice.len(), twice.is_empty()), (1, false));
}

// Scenario: a set has one token under two names, or a text that is not a token.
// Guarantee: the error shows the names; neither the error nor `Debug` of a set shows a token.
#[test]
fn a_set_that_cannot_be_is_refused_by_name() {
    let error =
        FixedTokens::new([("one", "canary-token-0001"), ("two", "canary-token-0001")]).unwrap_err();
    assert_eq!(error.to_string(), "one token has two names, one and two");
    assert!(!format!("{error:?}").contains("canary"));
    for token in [
        "",
        "canary token",
        "canary,token",
        "canary\"",
        "canary\n",
        "canary\0",
        "canäry",
        &"canary".repeat(1000),
    ] {
        let error = FixedTokens::new([("good", "token-of-16-chars"), ("bad", token)]).unwrap_err();
        assert_eq!(error.to_string(), "the token named bad is not a token");
        assert!(std::error::Error::source(&error).is_some());
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    let tokens = FixedTokens::new([("a", "canary-token-0001")]).unwrap();
    assert_eq!(format!("{tokens:?}"), "FixedTokens { len: 1, .. }");
}

// Scenario: a set has ten thousand tokens.
// Guarantee: each token is found under its own name, and 20,000 other tokens are not found.
#[test]
fn every_one_of_many_is_found() {
    let tokens = FixedTokens::new(
        (0..10_000).map(|i| (format!("name-{i}"), format!("token-number-{i:08}"))),
    )
    .unwrap();
    for i in 0..10_000 {
        assert_eq!(name_of(&tokens, &format!("token-number-{i:08}")), Some(format!("name-{i}")));
        assert_eq!(name_of(&tokens, &format!("token-number-{:08}", i + 10_000)), None);
        assert_eq!(name_of(&tokens, &format!("token-number-{i:09}")), None);
    }
}

proptest! {
    // Scenario: a set is made from arbitrary tokens, and is asked about these tokens and others.
    // Guarantee: the set allows exactly the tokens that it was made from. `authenticate` gives the
    // same verdict as `decide`.
    #[test]
    fn a_set_decides_as_a_map(tokens in prop::collection::hash_map(r"[!#-+\--~]{1,40}", "[a-z]{1,3}", 0..20), other in r"[!#-+\--~]{1,3}") {
        let set = FixedTokens::new(tokens.iter().map(|(token, name)| (name.as_str(), token.as_str()))).unwrap();
        prop_assert_eq!(set.len(), tokens.len());
        let expected: HashMap<_, _> = tokens.iter().map(|(token, name)| (token.as_str(), Some(name.as_str()))).collect();
        for token in tokens.keys().chain([&other]) {
            let name = name_of(&set, token);
            prop_assert_eq!(name.as_deref(), expected.get(token.as_str()).copied().flatten());
            let credential = Credential::new("", token).unwrap();
            let future = set.authenticate(&credential).into_inner();
            prop_assert_eq!(matches!(future, Ok(Decision::Allow(_))), name.is_some());
        }
    }
}
