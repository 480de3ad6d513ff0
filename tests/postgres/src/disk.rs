//! A small disk for the data of a server.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::installation::{as_server_user, run};

/// Mounts a file system in memory and waits until stdin is closed.
const MOUNT: &str = r#"mount -t tmpfs -o size="$1",mode=700 none "$0" &&
    mkdir "$0/data" && echo mounted && exec cat"#;

/// A file system of a limited size. It is gone when this value is dropped and the server has ended.
///
/// A process of the user of the server mounts it in a mount namespace of its own, which needs no
/// privileges. Everybody else reaches it through the directory of that process in `/proc`.
#[derive(Debug)]
pub(crate) struct Disk {
    holder: Child,
    root: PathBuf,
    megabytes: usize,
}

impl Disk {
    /// Mounts a disk of this many megabytes, and makes `data` in this directory a link to a
    /// directory on it.
    pub(crate) fn mount(directory: &Path, megabytes: usize) -> Self {
        let place = directory.join("disk");
        run(as_server_user("mkdir").arg(&place), Stdio::null());
        let mut unshare = as_server_user("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]);
        unshare.arg(&place).arg(format!("{megabytes}m"));
        let mut holder =
            unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut said = [0; 7];
        let said = holder.stdout.as_mut().expect("piped").read_exact(&mut said);
        said.expect("users without privileges may make user namespaces");
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let root = root.join(place.strip_prefix("/").expect("an absolute path"));
        symlink(root.join("data"), directory.join("data")).expect("a link to the data");
        Self { holder, root, megabytes }
    }

    /// Fills the disk.
    pub(crate) fn fill(&self) {
        let mut dd = as_server_user("dd");
        dd.args(["if=/dev/zero", "bs=4k", "status=none"]);
        dd.arg(format!("count={}", self.megabytes * 256));
        dd.arg(format!("of={}", self.filler().display()));
        let failed = dd.stderr(Stdio::null()).status().expect("dd runs");
        assert!(!failed.success(), "the disk is full when dd ends");
    }

    /// Frees what [`fill`](Self::fill) took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ended = self.holder.wait();
    }
}
