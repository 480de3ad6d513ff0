//! What the end-to-end tests share: programs under test, certificates, and telemetry whose items
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

/// How long a test waits for anything before it fails. No test passes because this time is over.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
