//! Changes valid bytes into bytes that a careless or hostile sender could send.

use fastrand::Rng;

/// The largest input that mutations make, in bytes. Inputs that start larger do not grow.
const MAX_LEN: usize = 256 << 10;

/// Bytes that end or begin something in one of the formats: text, protobuf, and compressed data.
const EDGES: [u8; 16] = [
    0x00, 0x01, 0x0a, 0x0d, 0x20, b'"', b'%', b',', b':', b'{', b'}', 0x7f, 0x80, 0xbf, 0xfe, 0xff,
];

/// Changes the bytes in one to eight places. `words` are parts that have a meaning in the format.
pub(crate) fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, words: &[&[u8]]) {
    mutate_once(rng, bytes, words);
    while rng.u8(..3) == 0 {
        mutate_once(rng, bytes, words);
    }
}

/// Mutates text. Bytes that are not UTF-8 afterwards are replaced.
pub(crate) fn mutate_text(rng: &mut Rng, text: &str, words: &[&[u8]]) -> String {
    let mut bytes = text.as_bytes().to_owned();
    mutate(rng, &mut bytes, words);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns one of the items, which must not be empty.
pub(crate) fn pick<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.usize(..items.len())]
}

fn mutate_once(rng: &mut Rng, bytes: &mut Vec<u8>, words: &[&[u8]]) {
    let len = bytes.len();
    let (start, end) = range(rng, len);
    match rng.u8(..12) {
        0 if len > 0 => bytes[rng.usize(..len)] ^= 1 << rng.u8(..8),
        1 if len > 0 => bytes[rng.usize(..len)] = *pick(rng, &EDGES),
        2 => drop(bytes.drain(start..end)),
        3 => bytes.truncate(start),
        4 => insert(bytes, start, &random(rng)),
        5 => insert(bytes, start, &length(rng)),
        6 => overwrite(bytes, start, &length(rng)),
        7 | 8 if !words.is_empty() => {
            let word = *pick(rng, words);
            if rng.bool() {
                bytes.drain(start..end);
            }
            insert(bytes, start, word);
        }
        9 => {
            let part = bytes[start..end].to_owned();
            overwrite(bytes, rng.usize(..=len), &part);
        }
        10 => {
            let part = bytes[start..end].to_owned();
            insert(bytes, start, &part);
        }
        11 => {
            // A long repetition costs time, so it is rare.
            let times = if rng.u8(..16) == 0 { 4096 } else { 8 };
            let part =
                bytes[start..end].repeat(rng.usize(1..=times).min(MAX_LEN / (end - start + 1)));
            insert(bytes, start, &part);
        }
        _ => insert(bytes, start, &[rng.u8(..)]),
    }
}

/// Returns a range that is usually short.
fn range(rng: &mut Rng, len: usize) -> (usize, usize) {
    let start = rng.usize(..=len);
    let longest = if rng.bool() { 8 } else { len };
    (start, start + rng.usize(..=longest.min(len - start)))
}

fn random(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..=8)).map(|_| rng.u8(..)).collect()
}

/// Returns a number in an encoding that lengths have in one of the formats. The number is near a
/// limit.
fn length(rng: &mut Rng) -> Vec<u8> {
    let edge = 1_u64.checked_shl(rng.u32(..65)).unwrap_or(0);
    let number = edge.wrapping_add(rng.u64(..3)).wrapping_sub(1);
    let bytes = number.to_be_bytes();
    match rng.u8(..6) {
        0 => bytes[6..].to_owned(),
        1 => bytes[4..].to_owned(),
        2 => number.to_le_bytes()[..4].to_owned(),
        3 => number.to_le_bytes().to_vec(),
        4 => number.to_string().into_bytes(),
        _ => varint(number),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    if bytes.len() + part.len() <= MAX_LEN {
        bytes.splice(at..at, part.iter().copied());
    }
}

fn overwrite(bytes: &mut [u8], at: usize, part: &[u8]) {
    for (old, new) in bytes[at..].iter_mut().zip(part) {
        *old = *new;
    }
}
