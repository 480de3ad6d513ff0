//! Ports for programs that cannot be told to take any free port.

use std::net::TcpListener;

/// Chooses a port that is free now, and that the operating system gives to nobody who asks for any
/// free port.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(10_000..32_000))
        .find(is_free)
        .expect("an endless iterator")
}
