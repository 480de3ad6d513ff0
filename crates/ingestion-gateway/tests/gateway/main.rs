//! The program itself, on free ports in a directory of its own.
//!
//! | module | guards |
//! |---|---|
//! | `management` | every call of the management API, with and without a credential |
//! | `admission` | who is let in where: OTLP, agents, authorize |
//! | `payload` | what is received: compression, limits, counts |
//! | `secrets` | that no secret is anywhere but where it belongs |
//! | `stalled` | that nobody has to read what is written, or write what was begun |
//! | `process` | configuration, exit codes, restart, stopping |
//! | `ready` | the file that tells where everything listens |

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod admission;
mod management;
mod payload;
mod process;
mod program;
mod ready;
mod secrets;
mod stalled;
