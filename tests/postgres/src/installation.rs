//! Finds the programs of PostgreSQL, and runs them as a user that PostgreSQL accepts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use rustix::process::geteuid;

/// The oldest major version that is supported.
const OLDEST: u32 = 14;

/// The user that the servers of root run as. The packages of PostgreSQL create it.
const USER: &str = "postgres";

/// An installed PostgreSQL.
#[derive(Debug)]
pub(crate) struct Installation {
    bin: PathBuf,
    /// The version, for example `15.18`.
    version: String,
}

impl Installation {
    /// Returns the installation that all servers of this process use.
    pub(crate) fn get() -> &'static Self {
        static FOUND: OnceLock<Installation> = OnceLock::new();
        FOUND.get_or_init(|| {
            let bin = find().unwrap_or_else(|| {
                panic!("PostgreSQL {OLDEST} or later is not installed: apt-get install postgresql")
            });
            let version = version(&bin);
            let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
            assert!(
                major.is_some_and(|major| major >= OLDEST),
                "PostgreSQL {version} in {} is older than {OLDEST}",
                bin.display()
            );
            Self { bin, version }
        })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Returns a command that runs a client of PostgreSQL as the present user.
    pub(crate) fn client(&self, program: &str) -> Command {
        quiet(Command::new(self.bin.join(program)))
    }

    /// Returns a command that runs a program of PostgreSQL as the user of the server. The process
    /// id of the command is the one of the program, because `setpriv` replaces itself with it.
    pub(crate) fn server(&self, program: &str) -> Command {
        as_server_user(self.bin.join(program))
    }
}

/// Returns a command that runs a program as the user of the server.
pub(crate) fn as_server_user(program: impl AsRef<OsStr>) -> Command {
    if !geteuid().is_root() {
        return quiet(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}"));
    command.arg("--init-groups").arg(program);
    quiet(command)
}

/// Gives a directory to the user of the server.
pub(crate) fn give_to_server_user(directory: &Path) {
    if geteuid().is_root() {
        run(Command::new("chown").arg(format!("{USER}:")).arg(directory), Stdio::null());
    }
}

/// Runs a command that has to succeed, and returns what it printed.
pub(crate) fn run(command: &mut Command, stdin: impl Into<Stdio>) -> String {
    let output = command.stdin(stdin).output();
    // The environment, which can contain a password, is not part of the message.
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    let output = output.unwrap_or_else(|error| panic!("could not run {words:?}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{words:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Takes the settings and files of the user's own PostgreSQL and the user's language from the
/// environment, and leaves the present directory, which the user of the server may not enter.
fn quiet(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent").current_dir("/");
    command
}

/// Returns the directory of the first server in the `PATH`, or else of the newest version where
/// Debian and Ubuntu install them.
fn find() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "this is how a program is found")]
    let path = env::var_os("PATH").unwrap_or_default();
    let is_complete = |bin: &PathBuf| {
        ["initdb", "postgres", "psql", "pg_basebackup"]
            .iter()
            .all(|program| bin.join(program).is_file())
    };
    if let Some(bin) = env::split_paths(&path).find(is_complete) {
        return Some(bin);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    versions
        .filter_map(|entry| {
            let major: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .filter(|(major, bin)| *major >= OLDEST && is_complete(bin))
        .max_by_key(|(major, _)| *major)
        .map(|(_, bin)| bin)
}

/// Returns the version that the server prints, as in `postgres (PostgreSQL) 15.18 (Debian ..)`.
fn version(bin: &Path) -> String {
    let printed = run(Command::new(bin.join("postgres")).arg("--version"), Stdio::null());
    let version = printed.split_whitespace().nth(2);
    version.unwrap_or_else(|| panic!("{} has no version: {printed}", bin.display())).to_owned()
}
