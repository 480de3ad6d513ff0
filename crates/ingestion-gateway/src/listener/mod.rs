//! Sockets and connections: what a request passes before it reaches a router.

mod activity;
pub(crate) mod client_address;
mod connection;
mod connections;
mod date;
pub(crate) mod descriptors;
mod http1;
mod http2;
mod metrics;
mod protocol;
pub(crate) mod ready;
mod request_body;
mod request_head;
pub(crate) mod response_body;
mod seldom;
pub(crate) mod server;
pub(crate) mod sockets;
mod stream;
pub(crate) mod tls;
pub(crate) mod workers;
