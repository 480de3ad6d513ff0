//! Reads and writes of connections, gathered so that few system calls are needed.

mod cork;
mod read_ahead;
pub(crate) mod spare;

pub(crate) use cork::{Cork, Corked};
pub(crate) use read_ahead::ReadAhead;
