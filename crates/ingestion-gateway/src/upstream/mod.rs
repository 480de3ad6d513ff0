//! Where telemetry goes once it was let in.

pub(crate) mod debug;
