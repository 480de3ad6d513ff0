//! A port that belongs to this process.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

/// A reserved port of 127.0.0.1, which the system chose.
///
/// A bound socket reserves it without listening, with `SO_REUSEADDR`. While that socket exists, the
/// system gives the port to nobody: neither to a listener that asks for any port nor to an outgoing
/// connection. A listener with the same option can still bind the port by its number, as often as
/// it likes; PostgreSQL and the standard library set that option. So nobody takes the port of a
/// server that was killed and is to be started again.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddrV4,
    _reservation: OwnedFd,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .expect("a socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = getsockname(&socket).expect("the address of a bound socket");
        let address = address.try_into().expect("an IPv4 address");
        Self { address, _reservation: socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.into()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::io::Errno;

    use super::*;

    // Scenario: a port is reserved. A socket that shares no port wants it. A listener that shares
    // ports listens on it, and later again.
    // Guarantee: the socket does not get it, and both listeners do. In between, clients are
    // refused.
    #[test]
    fn a_port_is_reserved() {
        let port = Port::reserve();
        for _ in 0..2 {
            let other =
                socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            assert_eq!(bind(other.unwrap(), &port.address), Err(Errno::ADDRINUSE));
            assert!(TcpStream::connect(port.address()).is_err());
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            drop(listener);
        }
    }
}
