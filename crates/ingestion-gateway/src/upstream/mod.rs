//! Where telemetry goes once it is accepted.

pub(crate) mod debug;
