//! What the end-to-end tests stand on: programs under test, certificates, and telemetry whose items
//! are counted.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a failure here is a failed test"
)]

mod certificate;
mod gateway;
mod items;
mod program;
mod sender;

pub use certificate::Certificate;
pub use gateway::{Gateway, Home, Key, Outcome};
pub use items::{Discarded, Items, Totals};
pub use program::{Program, example, path, peer};
pub use sender::send;

/// How long anything may take before a test gives up on it. No test passes because of it.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
