//! Runs the targets, several at a time, and reports what they find.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;

use crate::credentials::Credentials;
use crate::listener::Listener;
use crate::management::Management;
use crate::otlp::Otlp;
use crate::target::{Current, Finding, Target};
use crate::watchdog::{self, Watchdog};
use crate::yaml::Yaml;

/// A target stops after this many findings, because most of them have the same reason.
const MAX_FINDINGS: u64 = 5;

/// How many bytes of an input a report shows as text.
const MAX_TEXT: usize = 256;

/// How many bytes of an input a report shows in Base64.
const MAX_SHOWN: usize = 1024;

/// What to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) time: Duration,
    pub(crate) targets: Vec<Which>,
    pub(crate) seed: u64,
    pub(crate) is_one_input: bool,
}

/// A target by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    Credentials,
    Yaml,
    Otlp,
    Management,
    Listener,
}

/// Messages of panics, on any thread, each with the name of its thread.
static PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

impl Which {
    /// All targets. Those that need more than one thread come first.
    pub(crate) const ALL: [Self; 5] =
        [Self::Listener, Self::Management, Self::Otlp, Self::Yaml, Self::Credentials];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Yaml => "yaml",
            Self::Otlp => "otlp",
            Self::Management => "management",
            Self::Listener => "listener",
        }
    }

    fn start(self) -> Result<Box<dyn Target>> {
        Ok(match self {
            Self::Credentials => Box::new(Credentials::new()?),
            Self::Yaml => Box::new(Yaml::new()?),
            Self::Otlp => Box::new(Otlp::new(self.name())?),
            Self::Management => Box::new(Management::new()?),
            Self::Listener => Box::new(Listener::new()?),
        })
    }
}

/// Runs the plan and returns the number of findings.
pub(crate) fn run(plan: &Plan) -> Result<u64> {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current().name().unwrap_or_default().to_owned();
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push((thread, panic.to_string()));
    }));
    let threads = thread::available_parallelism().context("the number of processors")?.get();
    println!("seed {}: {} s for each target, {threads} at a time", plan.seed, plan.time.as_secs());
    let queue = Mutex::new(VecDeque::from(plan.targets.clone()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let watchdog = Watchdog::start();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(plan.targets.len()))
            .map(|_| {
                scope.spawn(|| {
                    let mut findings = 0;
                    while let Some(which) = next() {
                        findings += run_named(plan, which, &watchdog)?;
                    }
                    Ok(findings)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(Ok(1))).sum()
    })
}

/// Runs a target on a thread that has the name of the target, so that panics can be assigned.
fn run_named(plan: &Plan, which: Which, watchdog: &Watchdog) -> Result<u64> {
    thread::scope(|scope| {
        let named = thread::Builder::new().name(which.name().to_owned());
        let running = named.spawn_scoped(scope, || run_target(plan, which, watchdog))?;
        running.join().unwrap_or(Ok(1))
    })
}

fn run_target(plan: &Plan, which: Which, watchdog: &Watchdog) -> Result<u64> {
    let mut target = which.start().with_context(|| which.name())?;
    let current = Current::default();
    current.set_stats(watchdog::stats(target.process())?);
    let _watched = watchdog.watch(which, &current);
    let start = Instant::now();
    let (mut runs, mut findings) = (0_u64, 0);
    loop {
        let seed = plan.seed.wrapping_add(runs);
        current.begin(seed);
        let mut rng = Rng::with_seed(seed);
        let ended = catch_unwind(AssertUnwindSafe(|| target.run(&mut rng, &current)));
        runs += 1;
        let mut found = panics_of(which);
        if let Ok(Err(finding)) = ended {
            found.push(finding);
        }
        for finding in found {
            report(which, &current, &finding);
            findings += 1;
        }
        if plan.is_one_input || findings >= MAX_FINDINGS || start.elapsed() >= plan.time {
            break;
        }
    }
    let (seconds, accepted) = (start.elapsed().as_secs_f64(), current.accepted());
    if accepted == 0 && !plan.is_one_input {
        report(which, &current, "no input was accepted, so that the target tests little");
        findings += 1;
    }
    let (name, rate) = (which.name(), runs as f64 / seconds);
    println!(
        "{name:<12} {runs:>9} inputs in {seconds:.0} s, {rate:.0}/s, {accepted} accepted, \
         {findings} findings"
    );
    Ok(findings)
}

/// Takes the panics of the threads that have the name of the target.
fn panics_of(which: Which) -> Vec<Finding> {
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    panics.extract_if(.., |(thread, _)| thread == which.name()).map(|(_, panic)| panic).collect()
}

/// Prints a finding, its input, and the command that repeats it.
pub(crate) fn report(which: Which, current: &Current, finding: &str) {
    let (name, seed, input) = (which.name(), current.seed(), current.input());
    let shown = &input[..input.len().min(MAX_SHOWN)];
    println!(
        "FINDING in {name}: {finding}\n  input of {} bytes, as text: {}\n  the first {} in Base64: {}\n  \
         again: cargo xtask fuzz --target {name} --input {seed}",
        input.len(),
        shown[..shown.len().min(MAX_TEXT)].escape_ascii(),
        shown.len(),
        STANDARD.encode(shown),
    );
}
