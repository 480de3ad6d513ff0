//! As much of HPACK (RFC 7541) as the load needs: blocks of fields that are written once and sent
//! many times, and the status codes in the answers.
//!
//! A real client names a field once and refers to it by its index afterwards, and so do these
//! blocks. They decide how much a proxy has to decode.

/// The index of the newest entry of the dynamic table.
const NEWEST: usize = 62;

/// The most entries that a table of the default size holds. Each entry counts at least 32 bytes.
const ENTRIES: usize = 4096 / 32;

/// The same fields as two blocks: the first one on a connection fills the table of the peer, and
/// every later one refers to it.
pub(crate) struct Blocks {
    pub(crate) first: Vec<u8>,
    pub(crate) later: Vec<u8>,
}

/// Returns the blocks of a message. `fixed` are the indices of fields in the static table. `table`
/// tells whether the peer keeps a table; if it does not, both blocks contain every field.
pub(crate) fn blocks(fixed: &[u8], fields: &[(&str, &str)], table: bool) -> Blocks {
    let fixed: Vec<u8> = fixed.iter().map(|index| 0x80 | index).collect();
    let mut first = fixed.clone();
    let mut later = fixed;
    for (position, (name, value)) in fields.iter().enumerate() {
        // 0x40 adds the field to the table, 0x00 does not.
        let literal = if table { 0x40 } else { 0x00 };
        let start = first.len();
        first.push(literal);
        for text in [name, value] {
            string(&mut first, text.as_bytes());
        }
        if table {
            let index = NEWEST + fields.len() - 1 - position;
            later.push(0x80 | u8::try_from(index).unwrap());
        } else {
            later.extend_from_slice(&first[start..]);
        }
    }
    Blocks { first, later }
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(u8::try_from(text.len()).unwrap());
    } else {
        out.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            out.push(0x80 | (rest % 128) as u8);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text);
}

/// The two fields of an answer that say how a request ended.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) http: Option<u16>,
    pub(crate) grpc: Option<u16>,
}

#[derive(Clone, Copy)]
enum Name {
    Http,
    Grpc,
    Other,
}

/// Reads the blocks of one connection. It keeps the newest entries that the table of the writer can
/// have, instead of counting sizes, because a writer refers only to entries that still exist.
#[derive(Default)]
pub(crate) struct Decoder {
    /// The newest entry is the last one.
    table: Vec<(Name, Option<u16>)>,
}

impl Decoder {
    /// Returns the statuses in a block, or `None` if the block is malformed.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Option<Status> {
        let mut status = Status::default();
        let mut block = block;
        while let Some(&first) = block.first() {
            let (name, value) = match first {
                0x80.. => self.entry(integer(&mut block, 7)?)?,
                0x40..0x80 => {
                    let entry = self.literal(&mut block, 6)?;
                    if self.table.len() == 2 * ENTRIES {
                        self.table.drain(..ENTRIES);
                    }
                    self.table.push(entry);
                    entry
                }
                0x20..0x40 => {
                    integer(&mut block, 5)?;
                    continue;
                }
                _ => self.literal(&mut block, 4)?,
            };
            match name {
                Name::Http => status.http = value,
                Name::Grpc => status.grpc = value,
                Name::Other => {}
            }
        }
        Some(status)
    }

    fn entry(&self, index: usize) -> Option<(Name, Option<u16>)> {
        const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match index {
            0 => None,
            8..=14 => Some((Name::Http, Some(STATUSES[index - 8]))),
            1..NEWEST => Some((Name::Other, None)),
            _ => self.table.len().checked_sub(index - NEWEST + 1).map(|at| self.table[at]),
        }
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Option<(Name, Option<u16>)> {
        let name = match integer(block, prefix)? {
            0 => match text(block)? {
                (false, b"grpc-status") | (true, GRPC_STATUS) => Name::Grpc,
                (false, b":status") => Name::Http,
                _ => Name::Other,
            },
            index => self.entry(index)?.0,
        };
        let (packed, value) = text(block)?;
        Some((name, if packed { packed_number(value) } else { number(value) }))
    }
}

/// `grpc-status` in the Huffman code of RFC 7541.
const GRPC_STATUS: &[u8] = &[0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];

fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let mask = (1_usize << prefix) - 1;
    let (&first, mut rest) = block.split_first()?;
    let mut value = usize::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return None;
            }
        }
    }
    *block = rest;
    Some(value)
}

/// Returns a string and whether it is in the Huffman code.
fn text<'a>(block: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let packed = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some((packed, text))
}

fn number(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a number of at most five digits in the Huffman code, where 0, 1 and 2 have five bits and
/// the other digits have six.
fn packed_number(text: &[u8]) -> Option<u16> {
    if text.is_empty() || text.len() > 4 {
        return None;
    }
    let mut bits = text.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    let mut left = 8 * text.len() as u32;
    bits <<= 64 - left;
    let mut value = 0_u16;
    while left >= 5 {
        let (digit, length) = match (bits >> 59, bits >> 58) {
            (digit @ 0..=2, _) => (digit, 5),
            (_, digit @ 0b01_1001..=0b01_1111) => (digit - 0b01_1001 + 3, 6),
            // The rest of the last byte is padding, all ones.
            _ => break,
        };
        value = value.checked_mul(10)?.checked_add(digit as u16)?;
        bits <<= length;
        left -= length;
    }
    (left < 8 && bits.leading_ones() >= left).then_some(value)
}
