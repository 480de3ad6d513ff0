//! The cases in which the program and its peers are compared.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::job::{Job, Protocol};
use crate::keys::{UNKNOWN, key};
use crate::load::Load;
use crate::payload;

/// The connections of the senders.
const CONNECTIONS: usize = 4;

/// The requests in flight in the cases that measure what one processor can do.
const MANY: usize = 16;

/// How long the load lasts before the measurement begins.
const WARM_UP: Duration = Duration::from_millis(60);

/// A request, and how many of them are in flight.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) protocol: Protocol,
    pub(crate) spans: usize,
    pub(crate) is_gzip: bool,
    pub(crate) is_refused: bool,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

impl Case {
    /// Returns an export of this many spans, with one request in flight on each connection.
    pub(crate) const fn new(protocol: Protocol, spans: usize) -> Self {
        Self {
            protocol,
            spans,
            is_gzip: false,
            is_refused: false,
            connections: CONNECTIONS,
            in_flight: CONNECTIONS,
        }
    }

    /// Returns every case whose requests are let in.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let protocols = [Protocol::Grpc, Protocol::Http].into_iter();
        let sized =
            protocols.flat_map(|protocol| [1, 100, 1000].map(|spans| Self::new(protocol, spans)));
        sized.flat_map(|case| [case, Self { is_gzip: true, ..case }])
    }

    /// Returns the two cases whose requests are refused.
    pub(crate) fn refused() -> impl Iterator<Item = Self> {
        let refused = |protocol| Self { is_refused: true, ..Self::new(protocol, 100) };
        [Protocol::Grpc, Protocol::Http].into_iter().map(refused)
    }

    /// Returns the case with this many requests in flight. Over HTTP/1.1 each of them has a
    /// connection of its own.
    pub(crate) fn with_in_flight(self, in_flight: usize) -> Self {
        let connections = match self.protocol {
            Protocol::Grpc => self.connections,
            Protocol::Http => self.connections.max(in_flight),
        };
        Self { connections, in_flight, ..self }
    }

    /// Returns the case with many requests in flight.
    pub(crate) fn saturated(self) -> Self {
        self.with_in_flight(MANY)
    }

    pub(crate) fn name(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
        };
        if self.is_refused {
            return format!("{protocol}_refused");
        }
        let encoding = if self.is_gzip { "gzip" } else { "identity" };
        format!("{protocol}_{}_{encoding}", self.spans)
    }

    /// Returns the load of this case for the program at `address`, which lets in `keys`.
    pub(crate) fn load(&self, address: SocketAddr, keys: &[String], duration: Duration) -> Load {
        let (http_body, grpc_body) = payload::export(self.spans, self.is_gzip);
        let unknown = [key(UNKNOWN)];
        let keys = if self.is_refused { &unknown } else { keys };
        let job = |key: &String| {
            Rc::new(Job {
                protocol: self.protocol,
                credential: format!("StackState {key}"),
                is_gzip: self.is_gzip,
                http_body: Rc::clone(&http_body),
                grpc_body: Rc::clone(&grpc_body),
                is_refused: self.is_refused,
            })
        };
        Load {
            jobs: keys.iter().map(job).collect(),
            address,
            connections: self.connections,
            in_flight: self.in_flight,
            rate: None,
            warm_up: WARM_UP,
            duration,
            is_transparent: true,
        }
    }
}
