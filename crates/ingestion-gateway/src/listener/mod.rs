//! Sockets and connections: what a request passes before it reaches a router.

pub(crate) mod activity;
pub(crate) mod client_address;
pub(crate) mod ready;
pub(crate) mod server;
pub(crate) mod sockets;
