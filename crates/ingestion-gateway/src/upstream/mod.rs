//! Where accepted telemetry goes: it is forwarded to an upstream, or counted and discarded.
//!
//! A request is forwarded as it comes, frame by frame, in both directions. The task that serves the
//! request drives everything, except for the HTTP/2 connections, which have tasks of their own.

mod answer;
mod body;
mod connect;
pub(crate) mod debug;
mod grpc;
pub(crate) mod headers;
mod http1;
mod outage_log;
mod target;
pub(crate) mod targets;
pub(crate) mod tls;
mod watch;

pub(crate) use body::{Payload, ResponseBody};
pub(crate) use grpc::{Call, ForwardGrpc};
pub(crate) use http1::ForwardHttp;
pub(crate) use targets::Destination;
