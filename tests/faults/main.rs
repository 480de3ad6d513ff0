//! Tests of the gateway when something around it fails.
//!
//! | module | fault |
//! |---|---|
//! | `kill` | the gateway is killed in the middle of changes, many times |
//! | `disk` | files cannot grow, or may only be read |
//! | `small_disk` | the disk is full |
//! | `database` | the database is missing, replaced, damaged, too new, or in use |
//! | `admin_tokens` | the admin token file is only half written |
//! | `memory` | a sender presents a million keys that do not exist |
//! | `bombs` | requests become much larger when they are decompressed |
//! | `decoding` | requests are expensive to decode |
//! | `connections` | thousands of idle or short connections, and of requests that are reset |
//! | `followers` | a thousand followers of one gateway |
//! | `silent` | thousands of connections say nothing |
//! | `log` | a caller is refused very often |
//! | `replicas` | what three gateways on one PostgreSQL database need, or they themselves |
//!
//! The modules share `gateway` (the gateway under test and its files), `keys` (the assertions after
//! a fault) and `http` (a client that never repeats a request).

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test, and the tests print what they measure"
)]

mod admin_tokens;
mod bombs;
mod connections;
mod database;
mod decoding;
mod disk;
mod followers;
mod gateway;
mod http;
mod keys;
mod kill;
mod log;
mod memory;
mod replicas;
mod silent;
mod small_disk;
