//! The routes that receive telemetry, each behind an authenticator.

pub(crate) mod agent;
pub(crate) mod cors;
pub(crate) mod health;
pub(crate) mod otlp;
mod remote_write;
