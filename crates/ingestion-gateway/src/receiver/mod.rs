//! The routes on which telemetry comes in, each behind an authenticator.

pub(crate) mod agent;
pub(crate) mod otlp;
