//! `cargo xtask test`.

use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, ci};
use crate::quickstart::build_programs;
use crate::{fuzz, peers};

/// The package of the tests that need peers.
const END_TO_END: &str = "otlp-auth-tests";

/// The seed of the fuzzing. It is always the same, so that a finding comes from a change and not
/// from luck. `cargo xtask fuzz` takes another seed each time.
const FUZZ_SEED: &str = "1";

/// The number of tests with each result.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// The number of `cargo test` runs that failed without a failed test, because something did not
    /// compile or crashed.
    broken: u64,
}

/// Runs every test, and then fuzzing, which counts as one test. Prints the number of tests with
/// each result in the last line. Fails unless every test passed. In CI, a skipped test is a failure
/// too.
pub(crate) fn run_tests() -> Result<()> {
    let peers = peers::build()?;
    build_programs()?;
    let mut counts = run_and_count(&mut cargo([
        "test",
        "--locked",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
        "--exclude",
        END_TO_END,
    ]))?;
    let mut end_to_end =
        cargo(["test", "--locked", "--package", END_TO_END, "--no-fail-fast", "--"]);
    for peer in &peers.missing {
        end_to_end.args(["--skip", &format!("{peer}::")]);
    }
    counts += run_and_count(end_to_end.env("OTLP_AUTH_PEERS", &peers.directory))?;

    counts += match fuzz::run_fuzz(&["--seed", FUZZ_SEED].map(str::to_owned)) {
        Ok(()) => Counts { passed: 1, ..Counts::default() },
        Err(error) => {
            eprintln!("{error:#}");
            Counts { failed: 1, ..Counts::default() }
        }
    };

    let Counts { passed, failed, skipped, broken } = counts;
    let complete = broken == 0 && failed == 0 && !(ci() && skipped > 0);
    let failed = failed + broken;
    match skipped {
        0 => println!("{passed} passed, {failed} failed"),
        skipped => println!("{passed} passed, {failed} failed, {skipped} skipped"),
    }
    ensure!(complete, "not every test passed");
    Ok(())
}

/// Runs `cargo test`, prints its output, and adds up the summaries of its test binaries.
fn run_and_count(command: &mut Command) -> Result<Counts> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not run cargo test")?;
    let mut counts = Counts::default();
    let stdout = child.stdout.take().context("the output of cargo test")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("the output of cargo test")?;
        println!("{line}");
        if let Some(summary) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                let field =
                    summary.split([';', '.']).find_map(|field| field.trim().strip_suffix(what));
                field.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
            };
            counts += Counts {
                passed: count("passed"),
                failed: count("failed"),
                skipped: count("ignored") + count("filtered out"),
                broken: 0,
            };
        }
    }
    let status = child.wait().context("cargo test")?;
    if !status.success() && counts.failed == 0 {
        counts.broken += 1;
    }
    Ok(counts)
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken += other.broken;
    }
}
