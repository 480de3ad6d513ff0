//! Shared code of the end-to-end tests: programs under test, certificates, and telemetry whose
//! items are counted.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a failure here is a failed test"
)]

mod certificate;
mod cluster;
mod compress;
mod gateway;
mod items;
mod port;
mod program;
mod sender;

pub use certificate::Certificate;
pub use cluster::{Cluster, REPLICAS};
pub use compress::{COMPRESSIONS, compress, grpc_frame};
pub use gateway::{Gateway, Home, Key, Outcome};
pub use items::{Discarded, Items, Totals};
pub use port::free_port;
pub use program::{Program, example, path, peer};
pub use sender::send;

/// The time after which a waiting test fails. No test passes because this time is over.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
