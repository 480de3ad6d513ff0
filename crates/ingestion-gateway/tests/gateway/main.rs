//! Tests of the program. Each test runs it on free ports and with its own state directory.
//!
//! | module | guards |
//! |---|---|
//! | `management` | every call of the management API, with and without a credential |
//! | `admission` | which keys are allowed on OTLP, agent and authorize routes |
//! | `payload` | bodies of telemetry: compression, limits, counts |
//! | `usage` | which answers count as accepted and which as failed |
//! | `storage` | backups of the key database |
//! | `secrets` | that no secret is written anywhere |
//! | `stalled` | peers that do not read responses or do not finish requests |
//! | `process` | configuration, exit codes, restart, stopping |
//! | `ready` | the ready file with the addresses of all listeners |

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod admission;
mod management;
mod payload;
mod process;
mod program;
mod ready;
mod secrets;
mod stalled;
mod storage;
mod usage;
