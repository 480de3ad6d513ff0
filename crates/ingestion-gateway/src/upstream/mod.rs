//! Where accepted telemetry goes.

pub(crate) mod debug;
