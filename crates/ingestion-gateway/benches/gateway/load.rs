//! The sender and the sink: one thread with one epoll, which gives a proxy as many requests as it
//! takes, and verifies each of them at both ends.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{Timespec, epoll::Event};

use crate::http1;
use crate::http2;
use crate::job::{Job, Protocol};
use crate::pipe::Pipe;
use crate::processes::Sink;

/// The fewest answers of a measurement. While other programs use the processors, it takes up to
/// [`PHASES`] times its duration.
const ENOUGH: u64 = 200;

const PHASES: u32 = 10;

/// What the senders have seen.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) answers: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) reconnects: u64,
    /// From when a request was due to its answer, in nanoseconds.
    latencies: Option<Vec<u64>>,
}

impl Tally {
    pub(crate) fn answer(&mut self, good: bool, due: Instant, what: impl FnOnce() -> String) {
        self.answers += 1;
        if !good {
            self.fail(&what());
        }
        if let Some(latencies) = &mut self.latencies {
            latencies.push(due.elapsed().as_nanos() as u64);
        }
    }

    pub(crate) fn fail(&mut self, what: &str) {
        match self.failures.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.failures.insert(what.to_owned(), 1);
            }
        }
    }
}

/// What the sink has seen, and what it should see.
#[derive(Default)]
pub(crate) struct Expected {
    /// The body of every request. `None` if a proxy writes bodies of its own.
    body: Option<Rc<Job>>,
    pub(crate) requests: u64,
    pub(crate) failures: BTreeMap<String, u64>,
}

impl Expected {
    fn body(&self, protocol: Protocol) -> Option<&[u8]> {
        self.body.as_ref().map(|job| match protocol {
            Protocol::Grpc => &*job.grpc_body,
            Protocol::Http => &*job.http_body,
        })
    }

    /// A part of a body has arrived, `at` bytes after the beginning of the body.
    pub(crate) fn part(&mut self, protocol: Protocol, at: usize, part: &[u8]) {
        if let Some(body) = self.body(protocol)
            && body.get(at..at + part.len()) != Some(part)
        {
            self.fail("a body was changed on the way");
        }
    }

    /// A request has arrived whole.
    pub(crate) fn request(&mut self, protocol: Protocol, length: usize) {
        self.requests += 1;
        if self.body(protocol).is_some_and(|body| body.len() != length) || length == 0 {
            self.fail("a body has another length");
        }
    }

    pub(crate) fn fail(&mut self, what: &str) {
        *self.failures.entry(what.to_owned()).or_default() += 1;
    }
}

/// How much load a proxy gets.
pub(crate) struct Load {
    /// The request of each connection. The connections take them in turn.
    pub(crate) jobs: Vec<Rc<Job>>,
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Requests in flight, over all connections.
    pub(crate) in_flight: usize,
    /// Requests a second. `None`: the next request is sent when an answer has come.
    pub(crate) rate: Option<f64>,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Whether the proxy passes bodies unchanged.
    pub(crate) is_transparent: bool,
}

/// What was measured between the warm-up and the end.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// Processor time of the proxy.
    pub(crate) cpu: Duration,
    /// Sorted.
    pub(crate) latencies: Vec<u64>,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) reconnects: u64,
}

impl Measured {
    /// Returns the microseconds of processor time that one request took.
    pub(crate) fn microseconds(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// Returns the latency that this part of the requests did not exceed, in microseconds.
    pub(crate) fn latency(&self, part: f64) -> f64 {
        self.latencies[(self.latencies.len() as f64 * part) as usize] as f64 / 1e3
    }

    /// Returns the answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

enum Slot {
    Listener(TcpListener, Protocol),
    Sink1(http1::Server),
    Sink2(http2::Server),
    Client1(http1::Client),
    Client2(http2::Client),
}

pub(crate) struct World {
    epoll: OwnedFd,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Where the sink listens.
    pub(crate) sink: Sink,
    expected: Expected,
    tally: Tally,
}

/// The part of a load that is under way.
struct Run<'a> {
    load: &'a Load,
    clients: Vec<usize>,
    /// Requests in flight on each connection while the load goes on.
    depth: usize,
}

impl World {
    /// Binds the two listeners of the sink.
    pub(crate) fn new() -> io::Result<Self> {
        let [grpc, http] = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let mut world = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: Vec::new(),
            free: Vec::new(),
            sink: Sink { grpc: grpc.local_addr()?, http: http.local_addr()? },
            expected: Expected::default(),
            tally: Tally::default(),
        };
        for (listener, protocol) in [(grpc, Protocol::Grpc), (http, Protocol::Http)] {
            listener.set_nonblocking(true)?;
            world.add(Slot::Listener(listener, protocol))?;
        }
        Ok(world)
    }

    fn add(&mut self, slot: Slot) -> io::Result<usize> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(at as u64);
        match &slot {
            Slot::Listener(listener, _) => epoll::add(&self.epoll, listener, data, EventFlags::IN)?,
            Slot::Sink1(http1::Server { pipe, .. })
            | Slot::Sink2(http2::Server { pipe, .. })
            | Slot::Client1(http1::Client { pipe, .. })
            | Slot::Client2(http2::Client { pipe, .. }) => {
                epoll::add(&self.epoll, pipe, data, flags)?;
            }
        }
        self.slots[at] = Some(slot);
        Ok(at)
    }

    /// Puts the load on a proxy, or on the sink itself. `cpu` returns the processor time that the
    /// proxy has used so far.
    pub(crate) fn run(
        &mut self,
        load: &Load,
        mut cpu: impl FnMut() -> Duration,
    ) -> io::Result<Measured> {
        self.expected = Expected::default();
        self.expected.body = load.is_transparent.then(|| Rc::clone(&load.jobs[0]));
        self.tally = Tally::default();
        let mut run =
            Run { load, clients: Vec::new(), depth: load.in_flight.div_ceil(load.connections) };
        for number in 0..load.connections {
            let client = self.client(load, number)?;
            run.clients.push(client);
        }
        self.phase(&mut run, load.warm_up)?;
        let before = (self.tally.answers, cpu());
        self.tally.latencies = load.rate.map(|_| Vec::new());
        let started = Instant::now();
        for _ in 0..PHASES {
            self.phase(&mut run, load.duration)?;
            if self.tally.answers >= before.0 + ENOUGH {
                break;
            }
        }
        let elapsed = started.elapsed();
        let requests = self.tally.answers - before.0;
        let cpu = cpu() - before.1;
        let mut latencies = self.tally.latencies.take().unwrap_or_default();
        latencies.sort_unstable();
        self.drain(&mut run)?;
        for client in run.clients {
            self.slots[client] = None;
            self.free.push(client);
        }
        let tally = std::mem::take(&mut self.tally);
        let mut failures = tally.failures;
        failures.extend(std::mem::take(&mut self.expected.failures));
        let received = self.expected.requests;
        if received != tally.answers && !load.jobs[0].is_refused {
            failures.insert(format!("{} answers, {received} at the sink", tally.answers), 1);
        }
        if received != 0 && load.jobs[0].is_refused {
            failures.insert(format!("{received} refused requests at the sink"), received);
        }
        Ok(Measured { requests, elapsed, cpu, latencies, failures, reconnects: tally.reconnects })
    }

    fn client(&mut self, load: &Load, number: usize) -> io::Result<usize> {
        let job = &load.jobs[number % load.jobs.len()];
        let client = match job.protocol {
            Protocol::Grpc => Slot::Client2(http2::Client::new(load.address, job)?),
            Protocol::Http => Slot::Client1(http1::Client::new(load.address, job)?),
        };
        self.add(client)
    }

    fn phase(&mut self, run: &mut Run<'_>, duration: Duration) -> io::Result<()> {
        let started = Instant::now();
        let end = started + duration;
        let interval = run.load.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let mut due = started;
        let mut turn = 0;
        if interval.is_none() {
            for at in run.clients.clone() {
                self.top_up(at, run);
            }
        }
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if let Some(interval) = interval {
                while due <= now {
                    let at = run.clients[turn % run.clients.len()];
                    turn += 1;
                    if let Some(slot) = &mut self.slots[at] {
                        slot.demand(due);
                        slot.flush();
                    }
                    due += interval;
                }
                // A processor of its own waits for the next moment without sleeping.
                self.events(run, Duration::ZERO, true)?;
            } else {
                self.events(run, end - now, true)?;
            }
        }
    }

    /// Waits for the answers that are missing.
    fn drain(&mut self, run: &mut Run<'_>) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let in_flight: usize = run
                .clients
                .iter()
                .filter_map(|at| self.slots[*at].as_ref())
                .map(Slot::in_flight)
                .sum();
            if in_flight == 0 {
                return Ok(());
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                self.tally.fail(&format!("{in_flight} requests were not answered"));
                return Ok(());
            };
            self.events(run, left, false)?;
        }
    }

    fn events(&mut self, run: &mut Run<'_>, wait: Duration, goes_on: bool) -> io::Result<()> {
        let mut events = [const { std::mem::MaybeUninit::<Event>::uninit() }; 256];
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let ready = match epoll::wait(&self.epoll, &mut events, Some(&wait)) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in ready {
            self.event(run, event.data.u64() as usize, goes_on)?;
        }
        Ok(())
    }

    fn event(&mut self, run: &mut Run<'_>, at: usize, goes_on: bool) -> io::Result<()> {
        let Some(slot) = &mut self.slots[at] else { return Ok(()) };
        let is_open = match slot {
            Slot::Listener(listener, protocol) => {
                let protocol = *protocol;
                let Ok((tcp, _)) = listener.accept() else { return Ok(()) };
                let pipe = Pipe::new(tcp)?;
                self.add(match protocol {
                    Protocol::Grpc => Slot::Sink2(http2::Server::new(pipe)),
                    Protocol::Http => Slot::Sink1(http1::Server::new(pipe)),
                })?;
                return Ok(());
            }
            Slot::Sink1(server) => server.read(&mut self.expected),
            Slot::Sink2(server) => server.read(&mut self.expected),
            Slot::Client1(client) => client.read(&mut self.tally),
            Slot::Client2(client) => client.read(&mut self.tally),
        };
        if is_open {
            if goes_on && run.load.rate.is_none() && slot.is_client() {
                slot.top_up(run.depth);
            }
            slot.flush();
            return Ok(());
        }
        slot.flush();
        let backlog = slot.take_backlog();
        let was_client = slot.is_client();
        self.slots[at] = None;
        self.free.push(at);
        if let (true, Some(position)) =
            (was_client, run.clients.iter().position(|client| *client == at))
        {
            self.tally.reconnects += 1;
            if self.tally.failures.values().sum::<u64>() > 100_000 {
                return Err(io::Error::other(format!("{:?}", self.tally.failures)));
            }
            let client = self.client(run.load, position)?;
            run.clients[position] = client;
            if let Some(slot) = &mut self.slots[client] {
                backlog.into_iter().for_each(|due| slot.demand(due));
                slot.flush();
            }
            if goes_on && run.load.rate.is_none() {
                self.top_up(client, run);
            }
        }
        Ok(())
    }

    fn top_up(&mut self, at: usize, run: &Run<'_>) {
        if let Some(slot) = &mut self.slots[at] {
            slot.top_up(run.depth);
            slot.flush();
        }
    }
}

impl Slot {
    fn is_client(&self) -> bool {
        matches!(self, Self::Client1(_) | Self::Client2(_))
    }

    fn top_up(&mut self, depth: usize) {
        while self.in_flight() < depth {
            self.demand(Instant::now());
        }
    }

    fn demand(&mut self, due: Instant) {
        match self {
            Self::Client1(client) => client.demand(due),
            Self::Client2(client) => client.demand(due),
            _ => {}
        }
    }

    fn in_flight(&self) -> usize {
        match self {
            Self::Client1(client) => client.in_flight(),
            Self::Client2(client) => client.in_flight(),
            _ => usize::MAX,
        }
    }

    fn take_backlog(&mut self) -> VecDeque<Instant> {
        match self {
            Self::Client1(client) => client.take_backlog(),
            Self::Client2(client) => client.take_backlog(),
            _ => VecDeque::new(),
        }
    }

    fn flush(&mut self) {
        match self {
            Self::Listener(..) => {}
            Self::Sink1(http1::Server { pipe, .. })
            | Self::Sink2(http2::Server { pipe, .. })
            | Self::Client1(http1::Client { pipe, .. })
            | Self::Client2(http2::Client { pipe, .. }) => pipe.flush(),
        }
    }
}
