//! Where accepted telemetry goes.

pub(crate) mod debug;
pub(crate) mod headers;
pub(crate) mod tls;
