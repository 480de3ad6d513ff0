//! An archive of an empty data directory, which is made once on each machine.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use rustix::process::geteuid;

use crate::installation::{Installation, as_server_user, give_to_server_user, run};

/// Makes the data directory of a new server.
///
/// The superuser is `postgres` without a password, and the locale is C.UTF-8.
pub(crate) fn unpack(data: &Path) {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    let archive = ARCHIVE.get_or_init(make);
    run(as_server_user("install").args(["-d", "-m", "0700"]).arg(data), Stdio::null());
    // The archive is opened here, because the user of the server may not be allowed to read it.
    let archive = File::open(archive).expect("the archive");
    run(as_server_user("tar").arg("-x").arg("-C").arg(data), archive);
}

/// Returns the path of the archive, which is made if it does not exist.
///
/// It is one file and not a directory, so that whatever cleans the directory of temporary files
/// removes it as a whole.
fn make() -> PathBuf {
    let installation = Installation::get();
    let user = geteuid().as_raw();
    let name = format!("test-postgres-{}-{user}.tar", installation.version());
    let archive = env::temp_dir().join(name);
    if let Ok(metadata) = fs::symlink_metadata(&archive) {
        assert_eq!(metadata.uid(), user, "{} belongs to another user", archive.display());
        return archive;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("data");
    give_to_server_user(directory.path());
    let mut initdb = installation.server("initdb");
    initdb.args(["--username=postgres", "--auth=trust", "--locale=C.UTF-8", "--encoding=UTF8"]);
    run(initdb.args(["--no-sync", "--no-instructions", "-D"]).arg(&data), Stdio::null());
    // The new name is of the same file system. Whoever else makes the archive at the same time
    // makes an equal one.
    let new = archive.with_extension(format!("{}.new", std::process::id()));
    let mut tar = Command::new("tar");
    run(tar.arg("-C").arg(&data).arg("--sparse").arg("-cf").arg(&new).arg("."), Stdio::null());
    fs::rename(&new, &archive).expect("the archive gets its name");
    archive
}
