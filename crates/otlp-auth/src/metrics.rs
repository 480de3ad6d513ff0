//! The metric instruments of the library. They use the OpenTelemetry metrics API.
//!
//! The documentation of the crate lists the instruments and their attributes. No attribute contains
//! data of a request.

#[cfg(feature = "server")]
mod decisions;
#[cfg(feature = "token-file")]
mod reloads;
#[cfg(feature = "client")]
mod resends;

#[cfg(feature = "server")]
pub(crate) use self::decisions::{Decisions, Routes};
#[cfg(feature = "token-file")]
pub(crate) use self::reloads::Reloads;
#[cfg(feature = "client")]
pub(crate) use self::resends::Resends;
