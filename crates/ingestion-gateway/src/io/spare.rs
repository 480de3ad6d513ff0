//! Buffers that the connections of a thread lend to each other.
//!
//! Almost always, a buffer is filled and emptied within one poll of one connection. A few buffers
//! for each thread are therefore enough for any number of connections, and they stay in the
//! processor's cache.

use std::cell::RefCell;

/// The number of empty buffers of each kind that a thread keeps.
const KEPT: usize = 4;

/// The length of a buffer for reading.
pub(super) const READ_BYTES: usize = 64 << 10;

thread_local! {
    static READING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static WRITING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Takes a buffer for reading, which has `READ_BYTES` bytes of any content.
pub(super) fn take_for_reading() -> Vec<u8> {
    READING.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_BYTES])
}

/// Gives back a buffer for reading.
pub(super) fn give_back_read(buffer: Vec<u8>) {
    READING.with_borrow_mut(|kept| keep(kept, buffer));
}

/// Takes an empty buffer for writing.
pub(super) fn take_for_writing() -> Vec<u8> {
    WRITING.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives back a buffer for writing.
pub(super) fn give_back_written(mut buffer: Vec<u8>) {
    buffer.clear();
    WRITING.with_borrow_mut(|kept| keep(kept, buffer));
}

fn keep(kept: &mut Vec<Vec<u8>>, buffer: Vec<u8>) {
    if kept.len() < KEPT && buffer.capacity() != 0 {
        kept.push(buffer);
    }
}
