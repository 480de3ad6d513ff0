//! Header values that the requests of one thread have needed lately.
//!
//! Most requests of a thread come from few peers and with few keys, so their values are rarely
//! written anew. A clone of a value allocates nothing.

use std::cell::RefCell;
use std::net::IpAddr;

use http::HeaderValue;
use otlp_auth::Identity;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The number of values of one kind. Values whose keys have the same slot take turns.
const SLOTS: usize = 64;

/// What stays as it is in an encoded name: the unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Keys and their values, each in the slot of its key.
struct Recent<K, V>(Vec<Option<(K, V)>>);

/// An id and a name.
type Key = (Option<u64>, String);

thread_local! {
    static ADDRESSES: RefCell<Recent<IpAddr, HeaderValue>> = const { Recent::new() };
    static IDENTITIES: RefCell<Recent<Key, (HeaderValue, HeaderValue)>> =
        const { Recent::new() };
    static TEXTS: RefCell<Recent<String, Option<HeaderValue>>> = const { Recent::new() };
}

impl<K, V: Clone> Recent<K, V> {
    const fn new() -> RefCell<Self> {
        RefCell::new(Self(Vec::new()))
    }

    /// Returns the value in `slot` if `is_key` says that its key is the wanted one. Otherwise puts
    /// a new key with its value there.
    fn get(
        &mut self,
        slot: usize,
        is_key: impl FnOnce(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> V {
        if self.0.is_empty() {
            self.0.resize_with(SLOTS, || None);
        }
        let slot = &mut self.0[slot % SLOTS];
        match slot {
            Some((key, value)) if is_key(key) => value.clone(),
            _ => slot.insert(make()).1.clone(),
        }
    }
}

/// Returns the id and the name of an identity. The name is percent-encoded. What an identity does
/// not have is empty.
pub(super) fn identity(identity: Option<&Identity>) -> (HeaderValue, HeaderValue) {
    let (id, name) = identity.map_or((None, ""), |identity| (identity.id(), identity.name()));
    let make = || {
        let encoded = utf8_percent_encode(name, RESERVED).to_string();
        // An encoded name has only visible characters.
        let empty = || HeaderValue::from_static("");
        let values = (
            id.map_or_else(empty, HeaderValue::from),
            HeaderValue::try_from(encoded).unwrap_or_else(|_| empty()),
        );
        ((id, name.to_owned()), values)
    };
    let slot = id.unwrap_or_default() as usize;
    IDENTITIES
        .with_borrow_mut(|recent| recent.get(slot, |key| (key.0, &*key.1) == (id, name), make))
}

/// Returns the text of an address.
pub(super) fn address(address: IpAddr) -> HeaderValue {
    let make = || {
        // The text of an address has only visible characters.
        let text = HeaderValue::try_from(address.to_string());
        (address, text.unwrap_or_else(|_| HeaderValue::from_static("")))
    };
    let slot = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    ADDRESSES.with_borrow_mut(|recent| recent.get(slot.into(), |key| *key == address, make))
}

/// Returns a text as a value, if it is legal as one.
pub(super) fn text(text: &str) -> Option<HeaderValue> {
    let make = || (text.to_owned(), HeaderValue::from_str(text).ok());
    TEXTS.with_borrow_mut(|recent| recent.get(text.len(), |key| key == text, make))
}
