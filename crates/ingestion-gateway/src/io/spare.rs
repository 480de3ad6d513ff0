//! Buffers that the connections of a thread lend to each other.
//!
//! Almost always, a buffer is filled and emptied within one poll of one connection. A few buffers
//! for each thread are therefore enough for any number of connections, and they stay in the
//! processor's cache.

use std::cell::RefCell;

use bytes::BytesMut;

/// The number of empty buffers of each kind that a thread keeps.
const KEPT: usize = 4;

/// The largest capacity of a buffer that is kept, in bytes.
const MAX_KEPT: usize = 512 << 10;

/// The number of buffers that a thread keeps of those whose parts may be in use.
const KEPT_SHARED: usize = 8;

/// The length of a buffer for reading.
pub(crate) const READ_BYTES: usize = 64 << 10;

thread_local! {
    static READING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static WRITING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SHARED: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Takes a buffer for reading, which has `READ_BYTES` bytes of any content.
pub(super) fn take_for_reading() -> Vec<u8> {
    READING.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_BYTES])
}

/// Gives back a buffer for reading.
pub(super) fn give_back_read(buffer: Vec<u8>) {
    READING.with_borrow_mut(|kept| keep(kept, buffer));
}

/// Takes an empty buffer for reading, which has room for `READ_BYTES` bytes behind `more` others.
pub(crate) fn take_shared(more: usize) -> BytesMut {
    let capacity = READ_BYTES + more;
    let reclaimed = SHARED.with_borrow_mut(|kept| {
        let free = kept.iter_mut().position(|buffer| buffer.try_reclaim(capacity));
        free.map(|free| kept.swap_remove(free))
    });
    reclaimed.unwrap_or_else(|| BytesMut::with_capacity(capacity))
}

/// Gives back a buffer, of which others may still use parts that were split off. It is taken again
/// once these parts are dropped.
pub(crate) fn give_back_shared(mut buffer: BytesMut) {
    buffer.clear();
    SHARED.with_borrow_mut(|kept| {
        // The oldest one is perhaps used for long.
        if kept.len() == KEPT_SHARED {
            kept.remove(0);
        }
        kept.push(buffer);
    });
}

/// Takes an empty buffer for writing.
pub(crate) fn take_for_writing() -> Vec<u8> {
    WRITING.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives back a buffer for writing.
pub(crate) fn give_back_written(mut buffer: Vec<u8>) {
    buffer.clear();
    WRITING.with_borrow_mut(|kept| keep(kept, buffer));
}

fn keep(kept: &mut Vec<Vec<u8>>, buffer: Vec<u8>) {
    if kept.len() < KEPT && (1..=MAX_KEPT).contains(&buffer.capacity()) {
        kept.push(buffer);
    }
}
