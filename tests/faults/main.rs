//! What the gateway does when something around it fails: it is killed, its disk is full, its
//! database is gone, or its files and requests are nonsense.
//!
//! | module | what happens |
//! |---|---|
//! | `kill` | it is killed in the middle of changes, again and again |
//! | `disk` | the disk is full, or may only be read |
//! | `database` | its database is gone, replaced, damaged, newer, or another gateway's |
//! | `admin_tokens` | its admin token file is half written |
//! | `memory` | a million keys that were never issued are presented to it |
//!
//! They share `gateway` (a gateway under test, with a directory of its own), `keys` (what has to
//! hold after every fault) and `http` (a client that notices that its connection was cut).

#![expect(clippy::expect_used, clippy::panic, reason = "a failure here is a failed test")]

mod admin_tokens;
mod database;
mod disk;
mod gateway;
mod http;
mod keys;
mod kill;
mod memory;
