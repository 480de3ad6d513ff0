//! Counts the items of a request in JSON.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Step;

/// How deep objects and lists may be nested.
pub(super) const MAX_DEPTH: usize = 128;

/// Counts the objects at the end of `path`. The path begins at the request.
pub(super) fn count(path: &[Step], request: &[u8]) -> serde_json::Result<usize> {
    if is_nested_deeper(request, MAX_DEPTH) {
        return Err(Error::custom("nested too deep"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(request);
    let count = Message(path).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(count)
}

/// Returns whether objects and lists are nested deeper than `limit`.
///
/// serde_json limits the depth of values that it builds, but not of values that it skips. This
/// function does not decode strings, because some senders cut strings within a character, and
/// serde_json cannot decode such strings.
fn is_nested_deeper(json: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' if depth == limit => return true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// Counts the items in one object. The steps lead from this object to the items.
#[derive(Clone, Copy)]
struct Message<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(usize::from(self.0.is_empty()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let (fields, is_list, below) = match self.0.split_first() {
            Some((step, below)) => (step.fields, step.is_list, below),
            None => (&[][..], false, self.0),
        };
        let mut count = usize::from(self.0.is_empty());
        while let Some(is_wanted) = map.next_key_seed(OneOf(fields))? {
            count += match is_wanted {
                true if is_list => map.next_value_seed(Messages(below))?,
                true => map.next_value_seed(Message(below))?,
                false => map.next_value::<IgnoredAny>().map(|_| 0)?,
            };
        }
        Ok(count)
    }
}

/// Counts the items in a list of objects. The steps lead from each object to its items.
struct Messages<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<usize, A::Error> {
        let mut sum = 0;
        while let Some(count) = list.next_element_seed(Message(self.0))? {
            sum += count;
        }
        Ok(sum)
    }
}

/// Reads a key, and returns whether it is the name of one of these fields.
struct OneOf(&'static [(u32, &'static str)]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0.iter().any(|(_, name)| *name == key))
    }
}
