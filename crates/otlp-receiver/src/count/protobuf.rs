//! Counts the items of a request in protobuf.

use prost::encoding::{self, DecodeContext, WireType};

use super::{Malformed, Step};

/// Counts the messages at the end of `path`. The path begins at `message`.
pub(super) fn count(path: &[Step], mut message: &[u8]) -> Result<usize, Malformed> {
    let Some((step, below)) = path.split_first() else {
        skip_fields(message)?;
        return Ok(1);
    };
    let mut count = 0;
    while !message.is_empty() {
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        if step.fields.iter().any(|(field, _)| *field == number) {
            encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
            let length = encoding::decode_varint(&mut message)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            let (inner, rest) = message.split_at_checked(length).ok_or(Malformed)?;
            message = rest;
            // An empty message has no items, and is the cheapest way to keep a receiver busy.
            if !inner.is_empty() || below.is_empty() {
                count += self::count(below, inner)?;
            }
        } else {
            encoding::skip_field(wire_type, number, &mut message, DecodeContext::default())?;
        }
    }
    Ok(count)
}

fn skip_fields(mut message: &[u8]) -> Result<(), Malformed> {
    while !message.is_empty() {
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        encoding::skip_field(wire_type, number, &mut message, DecodeContext::default())?;
    }
    Ok(())
}
