//! Programs under test: starts them, reads their output line by line, and ends them.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// Returns a command that runs one of our programs. `cargo xtask test` builds them before the
/// tests.
pub fn example(name: &str) -> Command {
    Command::new(path(name))
}

/// Returns the path of one of our programs.
pub fn path(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the path of this test");
    // The tests are in target/debug/deps, and the programs are in target/debug.
    let path = tests.ancestors().map(|directory| directory.join(name)).find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("{name} is not built: run the tests with `cargo xtask test`"))
}

/// Returns a command that runs a program of another project. `cargo xtask test` builds these
/// programs, too.
pub fn peer(name: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the test command sets this variable")]
    let directory = std::env::var_os("OTLP_AUTH_PEERS").map(PathBuf::from);
    Command::new(
        directory
            .expect("OTLP_AUTH_PEERS is not set: run the tests with `cargo xtask test`")
            .join(name),
    )
}

/// A running program. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// All lines that the program has printed so far. They are part of the message if a test fails.
    seen: Vec<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, |_| {})
    }

    /// Starts the program and prints each line of its output behind `label`.
    pub fn start_shown(command: &mut Command, label: &'static str) -> Self {
        Self::start_with(command, move |line| println!("{label:>9} | {line}"))
    }

    fn start_with(command: &mut Command, show: impl Fn(&str) + Clone + Send + 'static) -> Self {
        let name = command
            .get_program()
            .to_string_lossy()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("could not start {name}: {error}"));
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take().expect("piped"), sender.clone(), show.clone());
        forward(child.stderr.take().expect("piped"), sender, show);
        Self { name, child, lines, seen: Vec::new() }
    }

    /// Returns the id of the process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the next line that contains `text`, on stdout or stderr, and returns it.
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_until(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Waits until `look` returns a value for one of the next lines, and returns this value.
    pub fn wait_until<T>(&mut self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Ok(line) =
                self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            else {
                panic!(
                    "{} did not print `{what}`; it printed:\n{}",
                    self.name,
                    self.seen.join("\n")
                );
            };
            let found = look(&line);
            self.seen.push(line);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Sends SIGTERM and returns everything that the program printed. The exit code must be 0.
    pub fn stop(self) -> Vec<String> {
        kill_process(self.pid(), Signal::TERM).expect("the program runs");
        let (name, code, seen) = self.ended();
        assert_eq!(code, Some(0), "{name} ended with an error; it printed:\n{}", seen.join("\n"));
        seen
    }

    /// Waits until the program ends, and returns its exit code and everything that it printed.
    pub fn end(self) -> (Option<i32>, Vec<String>) {
        let (_, code, seen) = self.ended();
        (code, seen)
    }

    fn ended(mut self) -> (String, Option<i32>, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        // The channel is closed when the program has closed stdout and stderr. This happens when
        // the program ends.
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        assert!(
            Instant::now() < deadline,
            "{} does not end; it printed:\n{}",
            self.name,
            self.seen.join("\n")
        );
        let status = self.child.wait().expect("the program was started");
        (std::mem::take(&mut self.name), status.code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(
    stream: impl Read + Send + 'static,
    lines: Sender<String>,
    show: impl Fn(&str) + Send + 'static,
) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            show(&line);
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}
