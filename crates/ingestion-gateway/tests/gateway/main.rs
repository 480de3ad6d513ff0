//! Tests of the program. Each test runs it on free ports and with its own state directory.
//!
//! | module | guards |
//! |---|---|
//! | `metrics` | which metrics there are, and that their document is complete |
//! | `management` | every call of the management API, with and without a credential |
//! | `followers` | tokens of followers, and what a follower gets |
//! | `admission` | which keys are allowed on OTLP, agent and authorize routes |
//! | `forward_auth` | what other proxies are answered about requests |
//! | `authorize_outage` | that an outage never looks like a decision to many callers |
//! | `transport` | that each OTLP port serves both transports |
//! | `bombs` | small bodies that become large when they are decompressed |
//! | `agent` | OTLP and Prometheus remote write on the agent listener |
//! | `agent_upstream` | what agents send on its way to an upstream |
//! | `payload` | bodies of telemetry: compression, limits, counts |
//! | `cors` | requests from web pages |
//! | `health` | the health check of gRPC |
//! | `forward_http`, `forward_grpc` | what an upstream may do wrong, and what the sender sees |
//! | `streams` | long streams and large bodies: their keys, and a side that is slow |
//! | `smuggling` | what reaches an upstream of requests that an attacker has written |
//! | `malformed`, `malformed_http2` | requests and connections that break the rules of HTTP |
//! | `log` | that a caller who is refused cannot fill the log |
//! | `usage` | which answers count as accepted and which as failed |
//! | `storage` | backups of the key database |
//! | `postgres` | keys in a PostgreSQL database, also while it is down |
//! | `refusals` | refusals that a sender has to be able to read while it still writes |
//! | `runtimes` | that management and health do not wait for senders |
//! | `capacity` | how many connections there may be, and which of them give way |
//! | `stopping` | which connections and requests are waited for at the end |
//! | `secrets` | that no secret is written anywhere |
//! | `stalled` | peers that do not read responses or do not finish requests |
//! | `tls` | certificates of listeners and of clients, versions, reloads, handshakes |
//! | `upstream_tls` | which upstreams are trusted, and how the gateway identifies itself |
//! | `process` | configuration, exit codes, restart, stopping |
//! | `listeners` | which addresses the program listens on |
//! | `ready` | the ready file with the addresses of all listeners |

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod admission;
mod agent;
mod agent_upstream;
mod authorize_outage;
mod bombs;
mod calls;
mod capacity;
mod certificates;
mod cors;
mod followers;
mod forward_auth;
mod forward_grpc;
mod forward_http;
mod health;
mod http2;
mod limits;
mod listeners;
mod log;
mod malformed;
mod malformed_http2;
mod management;
mod metrics;
mod payload;
mod plain_http1;
mod postgres;
mod process;
mod program;
mod raw;
mod ready;
mod refusals;
mod runtimes;
mod scripted;
mod secrets;
mod smuggling;
mod stalled;
mod stopping;
mod storage;
mod streams;
mod tls;
mod transport;
mod upstream_tls;
mod usage;
