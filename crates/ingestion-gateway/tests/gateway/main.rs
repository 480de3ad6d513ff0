//! Tests of the program. Each test runs it on free ports and with its own state directory.
//!
//! | module | guards |
//! |---|---|
//! | `management` | every call of the management API, with and without a credential |
//! | `admission` | which keys are allowed on OTLP, agent and authorize routes |
//! | `payload` | bodies of telemetry: compression, limits, counts |
//! | `refusals` | refusals that a sender has to be able to read while it still writes |
//! | `runtimes` | that management and health do not wait for senders |
//! | `secrets` | that no secret is written anywhere |
//! | `stalled` | peers that do not read responses or do not finish requests |
//! | `process` | configuration, exit codes, restart, stopping |
//! | `ready` | the ready file with the addresses of all listeners |
//! | `stopping` | which connections and requests are waited for at the end |

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod admission;
mod http2;
mod management;
mod payload;
mod process;
mod program;
mod ready;
mod refusals;
mod runtimes;
mod secrets;
mod stalled;
mod stopping;
