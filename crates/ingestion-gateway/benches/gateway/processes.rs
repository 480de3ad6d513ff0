//! The programs between senders and sink: on which processor they run, and what they cost.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tempfile::TempDir;

use crate::cpu::cpu;
use crate::job::Protocol;
use crate::memory::resident_megabytes;

/// The processor of the program that is measured.
const MIDDLE: usize = 0;

/// The processor of senders and sink.
const ENDS: usize = 1;

/// How long a program may take to start.
pub(crate) const START: Duration = Duration::from_secs(60);

/// Where the programs send what they let in.
#[derive(Clone, Copy)]
pub(crate) struct Sink {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Sink {
    pub(crate) const fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Grpc => self.grpc,
            Protocol::Http => self.http,
        }
    }
}

/// A running program that forwards what it lets in to the sink. Dropping this value ends it.
pub(crate) struct Middle {
    pub(crate) name: String,
    /// `None` if the program is ours.
    pub(crate) version: Option<String>,
    /// The keys that it lets in.
    pub(crate) keys: Vec<String>,
    /// Where it receives OTLP over gRPC and over HTTP.
    pub(crate) addresses: [SocketAddr; 2],
    /// Where it receives what it compresses again, if it has a place of its own for that.
    pub(crate) gzip_addresses: Option<[SocketAddr; 2]>,
    pub(crate) process: Process,
}

impl Middle {
    /// Returns the address for a request.
    pub(crate) fn address(&self, protocol: Protocol, is_gzip: bool) -> SocketAddr {
        let [grpc, http] = self.gzip_addresses.filter(|_| is_gzip).unwrap_or(self.addresses);
        match protocol {
            Protocol::Grpc => grpc,
            Protocol::Http => http,
        }
    }

    /// Returns whether the program passes bodies unchanged.
    pub(crate) const fn is_transparent(&self) -> bool {
        self.gzip_addresses.is_none()
    }
}

/// A process and its files.
pub(crate) struct Process {
    child: Child,
    pub(crate) directory: TempDir,
}

impl Process {
    /// Starts the program on the processor of the programs that are measured.
    pub(crate) fn start(command: &mut Command, directory: TempDir) -> Self {
        // A process begins with the processors of the thread that starts it.
        run_on(MIDDLE);
        let child = command.spawn();
        run_on(ENDS);
        let child = child.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Self { child, directory }
    }

    /// Calls `ready` until it returns a value.
    pub(crate) fn wait_until<T>(&mut self, mut ready: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + START;
        loop {
            if let Some(value) = ready() {
                return value;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("a program ended at its start: {status}");
            }
            assert!(Instant::now() < end, "a program is not ready");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Returns the processor time that the process and its children have used so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.ids().into_iter().map(cpu).sum()
    }

    /// Returns the resident memory in megabytes (10^6 bytes).
    pub(crate) fn resident_megabytes(&self) -> f64 {
        self.ids().into_iter().map(resident_megabytes).sum()
    }

    /// Returns the ids of the process and of its children.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let mut ids = vec![self.child.id()];
        let mut at = 0;
        while let Some(id) = ids.get(at) {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            let children = children.unwrap_or_default();
            ids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            at += 1;
        }
        ids
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The first process of nginx ends the others when it is asked to end, and not if it is
        // killed.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts senders and sink on their processor.
pub(crate) fn run_on_own_processor() {
    run_on(ENDS);
}

fn run_on(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).expect("the benchmark needs two processors");
}

/// Returns an address that is free. It stays free for a while, because the kernel chooses ports at
/// random.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
