//! Counts the items of a request in protobuf.

use bytes::{Buf, Bytes};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

use super::Step;

/// Counts the messages at the end of `path`. The path begins at `message`.
pub(super) fn count(path: &[Step], mut message: Bytes) -> Result<usize, DecodeError> {
    let Some((step, below)) = path.split_first() else {
        skip_fields(message)?;
        return Ok(1);
    };
    let mut count = 0;
    while message.has_remaining() {
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        if step.fields.iter().any(|(field, _)| *field == number) {
            encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
            let mut inner = Bytes::new();
            encoding::bytes::merge(wire_type, &mut inner, &mut message, DecodeContext::default())?;
            count += self::count(below, inner)?;
        } else {
            encoding::skip_field(wire_type, number, &mut message, DecodeContext::default())?;
        }
    }
    Ok(count)
}

fn skip_fields(mut message: Bytes) -> Result<(), DecodeError> {
    while message.has_remaining() {
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        encoding::skip_field(wire_type, number, &mut message, DecodeContext::default())?;
    }
    Ok(())
}
