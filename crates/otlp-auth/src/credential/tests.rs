use http::HeaderValue;
use proptest::prelude::*;

use super::CredentialError::{
    Empty, IllegalScheme, IllegalToken, MissingToken, SchemeTooLong, TokenTooLong,
};
use super::*;

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap()
}

/// Reads a header value and returns its scheme and token.
fn read(bytes: &[u8]) -> Result<(String, String), CredentialError> {
    let value = value(bytes);
    let credential = Credential::from_header_value(&value)?;
    Ok((credential.scheme().to_owned(), credential.expose_token().to_owned()))
}

// Scenario: a sender puts a value into the header that is not one credential. The test has all
// known kinds of such values.
// Guarantee: each value gives its documented error. No value causes a panic or is read as a
// credential.
#[test]
fn a_bad_header_value_is_refused_for_its_reason() {
    let megabyte = [b"StackState ".as_slice(), &vec![b'a'; 1 << 20]].concat();
    let long_scheme = [b"s".repeat(MAX_SCHEME_LEN + 1).as_slice(), b" token"].concat();
    let long_token = [b"StackState ".as_slice(), &b"t".repeat(MAX_TOKEN_LEN + 1)].concat();
    let cases: &[(&[u8], CredentialError)] = &[
        (b"", Empty),
        (b" ", Empty),
        (b" \t  \t", Empty),
        (b"StackState", MissingToken),
        (b"StackState ", MissingToken),
        (b"StackState\t", MissingToken),
        (b"  StackState  \t", MissingToken),
        (b"StackState\ttoken", MissingToken),
        (b"StackState\t token", IllegalScheme),
        (b"StackState \ttoken", IllegalToken),
        (b"StackState to\tken", IllegalToken),
        (b"StackState to ken", IllegalToken),
        (b"StackState token, StackState token", IllegalToken),
        (b"StackState token,StackState", IllegalToken),
        (b"StackState one,two", IllegalToken),
        (b"StackState \"token\"", IllegalToken),
        (b"StackState to\"ken", IllegalToken),
        ("StackState tökén".as_bytes(), IllegalToken),
        (b"StackState t\xffken", IllegalToken),
        (b"StackState \x80", IllegalToken),
        ("StäckState token".as_bytes(), IllegalScheme),
        (b"Stack,State token", IllegalScheme),
        (b"\"StackState\" token", IllegalScheme),
        (b"Stack/State token", IllegalScheme),
        (&long_scheme, SchemeTooLong),
        (&long_token, TokenTooLong),
        (&megabyte, TokenTooLong),
        (&megabyte[11..], TokenTooLong),
    ];
    for (bytes, error) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(read(bytes), Err(*error), "{shown:?}");
    }
}

// Scenario: a sender tries to put a NUL, a line break or another control character into a header
// value.
// Guarantee: no header value with such a character can be made.
#[test]
fn control_characters_are_no_header_value() {
    for byte in (0..0x20).filter(|byte| *byte != b'\t').chain([0x7f]) {
        let bytes = [b"StackState to".as_slice(), &[byte], b"ken"].concat();
        assert!(HeaderValue::from_bytes(&bytes).is_err(), "{byte:#x}");
    }
}

// Scenario: the same credential arrives with its scheme in another case, with more spaces, or with
// blanks at its ends. HTTP/2 keeps such blanks.
// Guarantee: every such value is read as the same credential.
#[test]
fn spelling_makes_no_other_credential() {
    let plain = value(b"StackState token");
    let plain = Credential::from_header_value(&plain).unwrap();
    for bytes in [
        b"StackState token".as_slice(),
        b"stackstate token",
        b"STACKSTATE token",
        b"sTACKsTATE       token",
        b"StackState token ",
        b"StackState token\t",
        b"\t StackState  token \t ",
    ] {
        let value = value(bytes);
        let credential = Credential::from_header_value(&value).unwrap();
        assert!(
            credential.has_scheme("StackState") && plain.has_scheme(credential.scheme()),
            "{value:?}"
        );
        assert!(credential.same_token(&plain) && credential.expose_token() == "token", "{value:?}");
    }
    let padded = [b" ".repeat(9000).as_slice(), b"StackState token", &b"\t".repeat(9000)].concat();
    assert_eq!(read(&padded), read(b"StackState token"), "blanks at the ends have no length");
    assert!(
        !plain.same_token(&Credential::new("StackState", "Token").unwrap()),
        "tokens do have a case"
    );
    assert!(!plain.same_token(&Credential::new("StackState", "toke").unwrap()));
}

// Scenario: a scheme or a token has the maximum length, or one byte more.
// Guarantee: the maximum length is legal, and one byte more is an error. This holds for reading a
// credential, for making one, and for a token without a scheme.
#[test]
fn lengths_are_exact() {
    let scheme = "s".repeat(MAX_SCHEME_LEN);
    let token = "t".repeat(MAX_TOKEN_LEN);
    let longest = format!("{scheme} {token}");
    assert_eq!(read(longest.as_bytes()), Ok((scheme.clone(), token.clone())));
    assert_eq!(read(format!("{scheme} {token}t").as_bytes()), Err(TokenTooLong));
    assert_eq!(read(format!("{scheme}s {token}").as_bytes()), Err(SchemeTooLong));
    assert!(Credential::new(&scheme, &token).is_ok());
    assert_eq!(Credential::new(&scheme, &format!("{token}t")).unwrap_err(), TokenTooLong);
    assert_eq!(Credential::new(&format!("{scheme}s"), &token).unwrap_err(), SchemeTooLong);
    assert!(Credential::from_bare_header_value(&value(token.as_bytes())).is_ok());
    assert_eq!(
        Credential::from_bare_header_value(&value(format!("{token}t").as_bytes())).unwrap_err(),
        TokenTooLong
    );
}

// Scenario: tokens have each byte value as their first, middle or last byte. Their lengths are
// close to the number of bytes that are checked together.
// Guarantee: visible ASCII without comma and quote is legal at every position, and every other byte
// is illegal.
#[test]
fn every_byte_of_a_token_is_looked_at() {
    for len in [1, 2, 15, 16, 17, 31, 32, 33, 43, 48, 100] {
        for position in [0, len / 2, len - 1] {
            for byte in 0..=u8::MAX {
                let mut token = vec![b'a'; len];
                token[position] = byte;
                let legal = (0x21..=0x7e).contains(&byte) && byte != b',' && byte != b'"';
                assert_eq!(legal_token(&token).is_ok(), legal, "{byte:#x} at {position} of {len}");
            }
        }
    }
}

// Scenario: a header carries the token alone.
// Guarantee: blanks at the ends of the value are trimmed, a blank inside the token is illegal, and
// the credential has no scheme.
#[test]
fn a_bare_value_is_a_token() {
    let bare = |bytes: &[u8]| {
        Credential::from_bare_header_value(&value(bytes))
            .map(|credential| credential.expose_token().to_owned())
    };
    assert_eq!(bare(b"\t token "), Ok("token".to_owned()));
    assert_eq!(bare(b"StackState token"), Err(IllegalToken));
    assert_eq!(bare(b"one,two"), Err(IllegalToken));
    assert_eq!(bare(b""), Err(Empty));
    assert_eq!(bare(b" \t "), Err(Empty));
    let token = value(b"token");
    assert_eq!(Credential::from_bare_header_value(&token).unwrap().scheme(), "");
    assert_eq!(Credential::new("", "token").unwrap().to_header_value(), "token");
}

// Scenario: a credential, its header value and every error are written to a log.
// Guarantee: the log does not show the token. The header value is marked sensitive, so that HTTP/2
// does not keep it.
#[test]
fn a_token_is_never_shown() {
    const CANARY: &str = "canary-3141592653589793";
    let credential = Credential::new("StackState", CANARY).unwrap();
    let value = credential.to_header_value();
    assert!(value.is_sensitive());
    let decoded = Credential::decoded("Basic", CANARY).unwrap();
    let wrong = HeaderValue::try_from(format!("StackState {CANARY} {CANARY}")).unwrap();
    let error = Credential::from_header_value(&wrong).unwrap_err();
    for shown in [
        format!("{credential:?}"),
        format!("{credential:#?}"),
        format!("{value:?}"),
        format!("{decoded:?}"),
        format!("{error:?} {error}"),
    ] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}

proptest! {
    // Scenario: any legal scheme and token are written as a header value, which is read again.
    // Guarantee: the result is the same scheme and token, even with blanks around and between them.
    #[test]
    fn a_header_value_is_read_as_it_was_written(
        scheme in "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}",
        token in r"[!#-+\--~]{1,200}",
        before in "[ \t]{0,3}", between in " {1,3}", after in "[ \t]{0,3}",
    ) {
        let credential = Credential::new(&scheme, &token).unwrap();
        let written = credential.to_header_value();
        prop_assert_eq!(read(written.as_bytes()), Ok((scheme.clone(), token.clone())));
        let spaced = format!("{before}{scheme}{between}{token}{after}");
        prop_assert_eq!(read(spaced.as_bytes()), Ok((scheme, token)));
    }

    // Scenario: a header value has any bytes.
    // Guarantee: nothing panics. If a credential is read, it has one legal scheme and one legal
    // token, and the value contains both.
    #[test]
    fn whatever_is_read_is_legal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        if let Ok(credential) = Credential::from_header_value(&value) {
            prop_assert!(Credential::new(credential.scheme(), credential.expose_token()).is_ok());
            prop_assert!(!credential.scheme().is_empty());
            let ends = format!(" {}", credential.expose_token());
            let text = value.to_str().unwrap().trim_matches([' ', '\t']);
            prop_assert!(text.starts_with(credential.scheme()) && text.ends_with(&ends));
        }
        if let Ok(credential) = Credential::from_bare_header_value(&value) {
            prop_assert_eq!(value.to_str().unwrap().trim_matches([' ', '\t']), credential.expose_token());
        }
    }

    // Scenario: a header value is printable text that is similar to a credential.
    // Guarantee: a credential is read exactly if the text is `scheme SP+ token` between optional
    // blanks.
    #[test]
    fn reading_is_the_grammar(text in "[ \t]{0,2}[Aa/,]{0,3}[ \t]{0,2}[Bb,\" ]{0,3}[ \t]{0,2}") {
        let trimmed = text.trim_matches([' ', '\t']);
        let legal = trimmed.split_once(' ').is_some_and(|(scheme, rest)| {
            let token = rest.trim_start_matches(' ');
            let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| matches!(c, 'A' | 'a' | 'B' | 'b'));
            is_scheme && !token.is_empty() && token.chars().all(|c| matches!(c, 'A' | 'a' | 'B' | 'b' | '/'))
        });
        prop_assert_eq!(read(text.as_bytes()).is_ok(), legal);
    }
}
