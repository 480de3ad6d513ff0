//! A process that outlives the test process and cleans up after it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// A shell that kills a server and removes its directory when this value is dropped, or when this
/// process ends in whatever way. It notices the end because its stdin is closed then.
///
/// `PR_SET_PDEATHSIG` would be no substitute: it is bound to the thread that started the server, it
/// does not reach stopped children of the postmaster, and it removes no files.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
}

impl Supervisor {
    /// Starts a supervisor that owns the directory from now on. The data directory is its
    /// subdirectory `data`.
    pub(crate) fn start(directory: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", include_str!("supervisor.sh"), "supervisor"]).arg(directory);
        shell.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // The interrupt key of a terminal ends the test process and not its supervisor.
        shell.process_group(0);
        Self { shell: shell.spawn().expect("sh runs") }
    }

    /// Says which postmaster runs now.
    pub(crate) fn watch(&mut self, postmaster: Pid) {
        self.write(&format!("{}\n", Pid::as_raw(Some(postmaster))));
    }

    /// Says that no postmaster runs. It has to be said before the process id of the last one is
    /// free for another process.
    pub(crate) fn watch_none(&mut self) {
        self.write("\n");
    }

    fn write(&mut self, line: &str) {
        let stdin = self.shell.stdin.as_mut().expect("piped");
        stdin.write_all(line.as_bytes()).expect("the supervisor runs");
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _cleaned_up = self.shell.wait();
    }
}
