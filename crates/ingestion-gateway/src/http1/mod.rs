//! HTTP/1.1 as the listeners and the upstreams have it in common: what is read, what is written,
//! and the headers and chunks in between.
//!
//! The gateway forwards most requests of HTTP/1.1 with these parts, and not with `hyper`, because a
//! body then goes from one connection to the other without a copy, a queue or a second task.

pub(crate) mod chunks;
pub(crate) mod headers;
pub(crate) mod input;
pub(crate) mod output;
