//! Measures one server decision on fixed tokens, from a header map to the verdict. `cargo xtask
//! bench verdict` runs this program beside its peers.
//!
//! The peer `siphash_43` is the yardstick of each case. It computes one SipHash-1-3-128 hash of 43
//! bytes, which is the length of an ingestion key. A decision in a large set needs such a hash. The
//! ratio of a case to the yardstick depends little on the machine.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

mod measure;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use otlp_auth::server::{CredentialExtractor, FixedTokens, InMemoryAuthenticator};
use otlp_auth::{Decision, Verdict};
use siphasher::sip128::SipHasher13;

use measure::timed;

/// The number of tokens that the case `fixed_100k_hit` presents in turn.
const HOT: usize = 64;

/// The number of a token that is in no set. This token is as long as the others.
const UNKNOWN: usize = 99_999_999;

fn main() {
    hits("fixed_1_hit", 1, &[0]);
    hits("fixed_10_hit", 10, &[9]);
    hits("fixed_1k_hit", 1000, &[999]);
    // The range of token numbers is divided into 64 equal parts. For each part, the token with the
    // middle number is presented.
    hits(
        "fixed_100k_hit",
        100_000,
        &std::array::from_fn::<_, HOT, _>(|part| (2 * part + 1) * 100_000 / (2 * HOT)),
    );
    let thousand = tokens(1000);
    case("fixed_1k_unknown", &thousand, &[headers(&token(UNKNOWN))], false);
    case("malformed", &thousand, &[headers("iapikeyok-malformed,token")], false);
}

fn hits(name: &str, size: usize, presented: &[usize]) {
    let presented: Vec<_> = presented.iter().map(|&index| headers(&token(index))).collect();
    case(name, &tokens(size), &presented, true);
}

fn case(name: &str, tokens: &FixedTokens, presented: &[HeaderMap], allowed: bool) {
    let extractor = CredentialExtractor::default();
    let uri = Uri::from_static("/v1/traces");
    let decide = |headers: &HeaderMap| -> Verdict {
        match extractor.extract(headers, &uri) {
            Ok(credential) => tokens.decide(&credential),
            Err(reason) => Ok(Decision::Deny(reason.into())),
        }
    };
    for headers in presented {
        // Checks the verdict, because the time of a wrong decision would be worthless.
        assert_eq!(matches!(decide(headers), Ok(Decision::Allow(_))), allowed, "{name}");
    }
    let mut next = presented.iter().cycle();
    let mut operation = || decide(std::hint::black_box(next.next().unwrap()));
    let allocations = measure::allocations(&mut operation);
    let hasher = SipHasher13::new_with_key(&[7; 16]);
    let presented = token(0);
    let siphash = || hasher.hash(std::hint::black_box(presented.as_bytes())).as_u128();
    let [ours, siphash] = measure::nanoseconds([&mut timed(operation), &mut timed(siphash)]);
    measure::report(name, Some("siphash_43"), siphash, None);
    measure::report(name, None, ours, allocations);
}

/// Returns the token with this number. The Go peer uses the same tokens.
fn token(index: usize) -> String {
    format!("iapikeyok-{index:08}-Zq3LrT8w-mK2vB6xY-{:06}", index % 1_000_000)
}

fn tokens(size: usize) -> FixedTokens {
    FixedTokens::new((0..size).map(|index| (format!("sender-{index}"), token(index)))).unwrap()
}

fn headers(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("StackState {token}")).unwrap(),
    )])
}
