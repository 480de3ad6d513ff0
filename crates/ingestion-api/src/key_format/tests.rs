use std::convert::Infallible;

use proptest::prelude::*;
use regex::Regex;

use super::KeyFormatError::{Character, Checksum, Grouping, Length, Prefix};
use super::*;

/// Generates a key from pseudorandom bytes.
fn key_of(seed: u64) -> IngestionKey {
    // SplitMix64 returns all byte values, so `generate` must skip some of them.
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
    // Scenario: keys are generated from random bytes.
    // Guarantee: each key has 43 characters and passes the check. The published expression matches
    // the key alone, and finds it inside a longer text.
    #[test]
    fn a_generated_key_is_valid(seed: u64) {
        let key = key_of(seed);
        let text = key.expose_secret();
        prop_assert_eq!(text.len(), KEY_LEN);
        prop_assert_eq!(KEY_LEN, 43);
        prop_assert_eq!(check(text), Ok(()));
        prop_assert!(IngestionKey::has_checksum(text.as_bytes()));
        let pattern = Regex::new(KEY_PATTERN).unwrap();
        let config = format!("token: \"{text}\"");
        prop_assert_eq!(pattern.find(&config).map(|found| found.as_str()), Some(text));
        prop_assert_eq!(&text[10..14], key.start());
    }

    // Scenario: one character of a key is replaced by another character.
    // Guarantee: the text is not a key.
    #[test]
    fn one_wrong_character_is_detected(seed: u64, at in 0..KEY_LEN, other in "[!-~]") {
        let key = key_of(seed);
        let mut text = key.expose_secret().to_owned();
        prop_assume!(text[at..=at] != other);
        text.replace_range(at..=at, &other);
        prop_assert!(check(&text).is_err());
    }

    // Scenario: arbitrary bytes are checked. Arbitrary texts with the form of a key are checked
    // too.
    // Guarantee: the checks do not panic. They accept a text only if its checksum is correct.
    #[test]
    fn anything_can_be_checked(
        bytes: Vec<u8>,
        formed in "iapikeyok-([0-9A-Za-z]{8}-){3}[0-9A-Za-z]{6}",
    ) {
        prop_assert!(IngestionKey::has_checksum(&bytes) || IngestionKey::check(&bytes).is_err());
        let is_key = check(&formed).is_ok();
        prop_assert_eq!(IngestionKey::has_checksum(formed.as_bytes()), is_key);
        let (checked, checksum) = formed.as_bytes().split_at(CHECKSUM_AT);
        prop_assert_eq!(is_key, checksum == digits(crc32fast::hash(checked)));
    }

    // Scenario: a number is formatted in base 62 and parsed again.
    // Guarantee: the parsed number is the original one.
    #[test]
    fn digits_are_parsed_back(value: u32) {
        prop_assert_eq!(number(&digits(value)), Some(value));
    }
}

// Scenario: the test checks a key that was written down when the format was defined.
// Guarantee: the key is valid, so the format has not changed.
#[test]
fn the_format_is_fixed() {
    assert_eq!(check("iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN"), Ok(()));
}

// Scenario: truncated keys, mistyped keys and other texts are parsed as keys.
// Guarantee: each kind of invalid text is reported with its own error.
#[test]
fn each_error_is_reported() {
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

// Scenario: most random bytes are at or above the largest multiple of 62 that fits into a byte.
// Guarantee: these bytes are skipped, and the generator requests more bytes.
#[test]
fn bytes_above_the_largest_multiple_are_skipped() {
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

// Scenario: the random source fails.
// Guarantee: `generate` returns the error of the source.
#[test]
fn an_error_of_the_random_source_is_returned() {
    assert_eq!(IngestionKey::generate(|_| Err("no entropy")).unwrap_err(), "no entropy");
}

// Scenario: a key is formatted with `Debug`. Each error of parsing a key is formatted too.
// Guarantee: no output contains a part of the key.
#[test]
fn a_key_is_not_printed() {
    let key = key_of(1);
    assert_eq!(format!("{key:?}"), "IngestionKey(..)");
    for end in 0..KEY_LEN {
        let error = IngestionKey::parse(&key.expose_secret()[..end]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(key.start()), "{end}");
    }
}
