//! Measures the requests of senders: how long each took, by route and status, and how many are in
//! flight.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use opentelemetry::{KeyValue, Value};

use super::keys::SharedKeyUse;
use super::route::Route;

/// The boundaries of durations, in seconds. The semantic conventions begin at 5 ms, which is longer
/// than most requests to an upstream nearby take.
pub(super) const BOUNDARIES: [f64; 14] =
    [5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The HTTP statuses for which instruments are bound. All others are looked up for each request.
pub(super) const HTTP_STATUSES: [u16; 18] =
    [200, 202, 204, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 500, 501, 502, 503, 504];

/// The names of the gRPC statuses, by their codes.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of bound instruments of each route.
const SLOTS: usize = HTTP_STATUSES.len() + GRPC_STATUSES.len();

type Slots = [OnceLock<BoundHistogram<f64>>; SLOTS];

/// The header, or the field of the trailers, that has the status of a gRPC call.
pub(crate) const GRPC_STATUS: &str = "grpc-status";

/// The instruments of requests. Each worker has a value of its own, so that workers share no
/// reference count.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    instruments: Arc<Instruments>,
    /// The requests in flight of this worker. They are in a list that the observer reads.
    active: Arc<AtomicI64>,
    /// The bound instruments of each route. Those of a route that nobody uses take no memory.
    bound: [OnceLock<Box<Slots>>; Route::COUNT],
}

/// What all workers share.
#[derive(Debug)]
struct Instruments {
    http: Histogram<f64>,
    grpc: Histogram<f64>,
    active: Arc<Mutex<Vec<Arc<AtomicI64>>>>,
    shared_key: Arc<SharedKeyUse>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole response was sent. It is not a gRPC response.
    Http(StatusCode),
    /// The whole response of a gRPC call was sent. The code may be unknown.
    Grpc(Option<u8>),
    /// The sender went away, or the response broke off.
    Incomplete,
}

impl RequestMetrics {
    pub(crate) fn new(meter: &Meter, shared_key: Arc<SharedKeyUse>) -> Self {
        let duration = |name: &'static str, description: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(BOUNDARIES.into())
                .build()
        };
        let active = Arc::<Mutex<Vec<Arc<AtomicI64>>>>::default();
        let observed = Arc::clone(&active);
        meter
            .i64_observable_up_down_counter("http.server.active_requests")
            .with_unit("{request}")
            .with_description("Requests of senders that were let in and have not ended")
            .with_callback(move |gauge| {
                let cells = observed.lock().unwrap_or_else(PoisonError::into_inner);
                gauge.observe(cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum(), &[]);
            })
            .build();
        Self::of(Arc::new(Instruments {
            http: duration("http.server.request.duration", "Duration of HTTP requests of senders"),
            grpc: duration("rpc.server.call.duration", "Duration of gRPC calls of senders"),
            active,
            shared_key,
        }))
    }

    /// Returns a value for another worker, which records to the same instruments.
    pub(crate) fn for_worker(&self) -> Self {
        Self::of(Arc::clone(&self.instruments))
    }

    fn of(instruments: Arc<Instruments>) -> Self {
        let active = Arc::<AtomicI64>::default();
        let mut cells = instruments.active.lock().unwrap_or_else(PoisonError::into_inner);
        cells.push(Arc::clone(&active));
        drop(cells);
        Self { instruments, active, bound: Default::default() }
    }

    /// Counts the answer to a request with the shared key.
    pub(crate) fn add_shared_key_answer(&self, success: bool) {
        self.instruments.shared_key.add_answer(success);
    }

    /// Counts a request as in flight, until [`end`](Self::end) is called for it.
    pub(crate) fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request as not in flight any more.
    pub(crate) fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Records how long a request took. `is_grpc` says whether it is a gRPC call.
    pub(crate) fn record(
        &self,
        route: Route,
        method: &Method,
        is_grpc: bool,
        end: End,
        elapsed: Duration,
    ) {
        let seconds = elapsed.as_secs_f64();
        let slot = match end {
            End::Grpc(Some(code)) if is_grpc => Some(usize::from(code)),
            End::Http(status) if !is_grpc && *method == Method::POST => {
                let known = HTTP_STATUSES.iter().position(|known| *known == status.as_u16());
                known.map(|index| GRPC_STATUSES.len() + index)
            }
            End::Incomplete if is_grpc => Some(1),
            _ => None,
        };
        let cell = slot.and_then(|slot| {
            let of_route = self.bound.get(route.index())?;
            of_route.get_or_init(|| Box::new([const { OnceLock::new() }; SLOTS])).get(slot)
        });
        match cell {
            Some(cell) => {
                let bind = || self.instruments.bind(route, method, is_grpc, end);
                cell.get_or_init(bind).record(seconds);
            }
            None => self.instruments.record(route, method, is_grpc, end, seconds),
        }
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        let mut cells = self.instruments.active.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|cell| !Arc::ptr_eq(cell, &self.active));
    }
}

impl Instruments {
    fn bind(&self, route: Route, method: &Method, is_grpc: bool, end: End) -> BoundHistogram<f64> {
        let attributes = attributes(route, method, is_grpc, end);
        if is_grpc { self.grpc.bind(&attributes) } else { self.http.bind(&attributes) }
    }

    fn record(&self, route: Route, method: &Method, is_grpc: bool, end: End, seconds: f64) {
        let attributes = attributes(route, method, is_grpc, end);
        let duration = if is_grpc { &self.grpc } else { &self.http };
        duration.record(seconds, &attributes);
    }
}

/// Returns the attributes of the semantic conventions. Their values come from fixed sets, apart
/// from the status of an upstream's response.
fn attributes(route: Route, method: &Method, is_grpc: bool, end: End) -> Vec<KeyValue> {
    if is_grpc {
        let name = route.name().and_then(|path| path.strip_prefix('/')).unwrap_or("_OTHER");
        let (status, error) = match end {
            End::Grpc(Some(code)) => (GRPC_STATUSES.get(usize::from(code)).copied(), None),
            End::Grpc(None) => (None, Some(Value::from("_OTHER"))),
            End::Http(status) => (None, Some(Value::from(status.as_u16().to_string()))),
            End::Incomplete => (Some(GRPC_STATUSES[1]), None),
        };
        let error = error.or(status.filter(|status| *status != "OK").map(Value::from));
        return [KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", name)]
            .into_iter()
            .chain(status.map(|status| KeyValue::new("rpc.response.status_code", status)))
            .chain(error.map(|error| KeyValue::new("error.type", error)))
            .collect();
    }
    let method = match *method {
        Method::POST => "POST",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "_OTHER",
    };
    let (status, error) = match end {
        End::Http(status) if status.is_server_error() => {
            (Some(status), Some(Value::from(status.as_u16().to_string())))
        }
        End::Http(status) => (Some(status), None),
        End::Grpc(_) | End::Incomplete => (None, Some(Value::from("incomplete"))),
    };
    [KeyValue::new("http.request.method", method)]
        .into_iter()
        .chain(route.name().map(|name| KeyValue::new("http.route", name)))
        .chain(
            status.map(|status| {
                KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
            }),
        )
        .chain(error.map(|error| KeyValue::new("error.type", error)))
        .collect()
}

/// Returns the status of a gRPC call, or `None` if the fields have no status. A status that is not
/// a code of gRPC is returned as 2, which is `UNKNOWN`.
pub(crate) fn grpc_status(fields: &HeaderMap) -> Option<u8> {
    let status = fields.get(GRPC_STATUS)?.to_str().ok().and_then(|status| status.parse().ok());
    Some(status.filter(|code| usize::from(*code) < GRPC_STATUSES.len()).unwrap_or(2))
}
