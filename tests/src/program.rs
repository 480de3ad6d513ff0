//! Programs under test: their output line by line, and their end.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// One of our programs, built before the tests.
pub fn example(name: &str) -> Command {
    Command::new(path(name))
}

/// Where such a program lies.
pub fn path(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the path of this test");
    // A test lies in target/debug/deps, the programs in target/debug.
    let path = tests.ancestors().map(|directory| directory.join(name)).find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("{name} is not built: run the tests with `cargo xtask test`"))
}

/// A program that nobody here wrote.
pub fn peer(name: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "how the test command tells where they are")]
    let directory = std::env::var_os("OTLP_AUTH_PEERS").map(PathBuf::from);
    Command::new(
        directory
            .expect("OTLP_AUTH_PEERS is not set: run the tests with `cargo xtask test`")
            .join(name),
    )
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// Everything it has printed so far, for the message of a failure.
    seen: Vec<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, |_| {})
    }

    /// Starts it and shows what it prints, each line behind `label`.
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

    /// Which process it is.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line with `text` in it, on stdout or stderr.
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_until(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// What `look` finds in one of the next lines.
    pub fn wait_until<T>(&mut self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Ok(line) =
                self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            else {
                panic!("{} did not say `{what}`; it said:\n{}", self.name, self.seen.join("\n"));
            };
            let found = look(&line);
            self.seen.push(line);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Asks it to stop, and returns everything it printed. It has to end without an error.
    pub fn stop(self) -> Vec<String> {
        kill_process(self.pid(), Signal::TERM).expect("the program runs");
        let (name, code, seen) = self.ended();
        assert_eq!(code, Some(0), "{name} ended with an error; it said:\n{}", seen.join("\n"));
        seen
    }

    /// Waits for its end; returns its exit code and everything it printed.
    pub fn end(self) -> (Option<i32>, Vec<String>) {
        let (_, code, seen) = self.ended();
        (code, seen)
    }

    fn ended(mut self) -> (String, Option<i32>, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        // Both ends of its output are closed when it has ended.
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        assert!(
            Instant::now() < deadline,
            "{} does not end; it said:\n{}",
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
