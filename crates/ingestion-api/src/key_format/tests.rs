use std::convert::Infallible;

use proptest::prelude::*;
use regex::Regex;

use super::KeyFormatError::{Character, Checksum, Grouping, Length, Prefix};
use super::*;

/// A key from random bytes that are given.
fn key_of(seed: u64) -> IngestionKey {
    // SplitMix64: spread over all bytes, so that rejection is met.
    let mut state = seed;
    let random = |bytes: &mut [u8]| -> Result<(), Infallible> {
        bytes.fill_with(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 40) as u8
        });
        Ok(())
    };
    IngestionKey::generate(random).unwrap()
}

fn check(text: &str) -> Result<(), KeyFormatError> {
    IngestionKey::check(text.as_bytes())
}

proptest! {
    // Scenario: keys are generated from any randomness. Guarantee: each is 43 characters, matches
    // the published expression as a whole and inside a text, and passes the check.
    #[test]
    fn what_is_generated_is_a_key(seed: u64) {
        let key = key_of(seed);
        let text = key.expose_secret();
        prop_assert_eq!(text.len(), KEY_LEN);
        prop_assert_eq!(KEY_LEN, 43);
        prop_assert_eq!(check(text), Ok(()));
        prop_assert!(IngestionKey::has_checksum(text.as_bytes()));
        let pattern = Regex::new(KEY_PATTERN).unwrap();
        prop_assert_eq!(pattern.find(&format!("token: \"{text}\"")).map(|found| found.as_str().to_owned()), Some(text.to_owned()));
        prop_assert_eq!(&text[10..14], key.start());
    }

    // Scenario: one character of a key is replaced by any other.
    // Guarantee: it is no key any more.
    #[test]
    fn one_wrong_character_is_noticed(seed: u64, at in 0..KEY_LEN, other in "[!-~]") {
        let key = key_of(seed);
        let mut text = key.expose_secret().to_owned();
        prop_assume!(text[at..=at] != other);
        text.replace_range(at..=at, &other);
        prop_assert!(check(&text).is_err());
    }

    // Scenario: any bytes are checked, and any text of the form of a key.
    // Guarantee: the checks do not panic, and say yes only where the checksum is that of the rest.
    #[test]
    fn anything_can_be_checked(bytes: Vec<u8>, formed in "iapikeyok-([0-9A-Za-z]{8}-){3}[0-9A-Za-z]{6}") {
        prop_assert!(IngestionKey::has_checksum(&bytes) || IngestionKey::check(&bytes).is_err());
        let is_key = check(&formed).is_ok();
        prop_assert_eq!(IngestionKey::has_checksum(formed.as_bytes()), is_key);
        prop_assert_eq!(is_key, formed.as_bytes()[CHECKSUM_AT..] == digits(crc32fast::hash(&formed.as_bytes()[..CHECKSUM_AT])));
    }

    // Scenario: any number is written in base 62.
    // Guarantee: it is read as the same.
    #[test]
    fn digits_are_read_back(value: u32) {
        prop_assert_eq!(number(&digits(value)), Some(value));
    }
}

// Scenario: a key that was written down with the format.
// Guarantee: the format has not changed.
#[test]
fn the_format_is_fixed() {
    assert_eq!(check("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN"), Ok(()));
}

// Scenario: keys that are cut, mistyped or something else.
// Guarantee: each is refused for what is wrong with it.
#[test]
fn what_is_wrong_is_said() {
    for (text, wrong) in [
        ("", Prefix),
        ("iapikeyo", Prefix),
        ("svctok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN", Prefix),
        ("iapikeyok-", Length),
        ("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUae", Length),
        ("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN4", Length),
        ("iapikeyok-123456789-ABCDEFG-HIJKLMNO-4UUaeN", Grouping),
        ("iapikeyok-1234567_-9ABCDEFG-HIJKLMNO-4UUaeN", Character),
        ("iapikeyok-1234-678-9ABCDEFG-HIJKLMNO-4UUaeN", Character),
        ("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUae_", Checksum),
        ("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUae ", Checksum),
        ("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-zzzzzz", Checksum),
        ("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-------", Checksum),
    ] {
        assert_eq!(check(text), Err(wrong), "{text}");
    }
}

// Scenario: random bytes of which most are above the largest multiple of 62.
// Guarantee: they are thrown away, and more are asked for.
#[test]
fn unfair_bytes_are_thrown_away() {
    let mut asked = 0;
    let random = |bytes: &mut [u8]| -> Result<(), Infallible> {
        asked += 1;
        bytes.fill(248);
        bytes[0] = 61;
        Ok(())
    };
    let key = IngestionKey::generate(random).unwrap();
    assert!(key.expose_secret().starts_with("iapikeyok-zzzzzzzz-zzzzzzzz-zzzzzzzz-"));
    assert_eq!(asked, 24);
}

// Scenario: the source of randomness fails.
// Guarantee: there is no key.
#[test]
fn no_randomness_is_no_key() {
    assert_eq!(IngestionKey::generate(|_| Err("no entropy")).unwrap_err(), "no entropy");
}

// Scenario: a key and every error of parsing it are printed.
// Guarantee: nothing of the key is in it.
#[test]
fn a_key_is_not_printed() {
    let key = key_of(1);
    assert_eq!(format!("{key:?}"), "IngestionKey(..)");
    for end in 0..KEY_LEN {
        let error = IngestionKey::parse(&key.expose_secret()[..end]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(key.start()), "{end}");
    }
}
