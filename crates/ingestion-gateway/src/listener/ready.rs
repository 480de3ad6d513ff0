//! Writes the ready file, which says that every listener is bound, and to which address.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

/// The ready file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the ready file {path} cannot be written")]
pub struct ReadyFileError {
    /// The path of the ready file.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// The address of each listener, or `None` if the listener is off.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) otlp_grpc: Option<SocketAddr>,
    pub(crate) otlp_http: Option<SocketAddr>,
    pub(crate) agent: Option<SocketAddr>,
    pub(crate) management: Option<SocketAddr>,
    pub(crate) authorize: Option<SocketAddr>,
    pub(crate) telemetry: Option<SocketAddr>,
}

/// Removes the ready file of the last run, and checks that a new ready file can be written.
pub(crate) fn prepare(ready_file: &Path) -> Result<(), ReadyFileError> {
    let removed = match fs::remove_file(ready_file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    removed.and_then(|()| unnamed(ready_file).map(drop)).map_err(failed(ready_file))
}

fn failed(ready_file: &Path) -> impl FnOnce(io::Error) -> ReadyFileError {
    |source| ReadyFileError { path: ready_file.to_owned(), source }
}

/// Creates an empty temporary file in the directory of the ready file, so that the temporary file
/// can be renamed to the ready file.
fn unnamed(ready_file: &Path) -> io::Result<NamedTempFile> {
    let directory = ready_file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // The process that waits for the file may run as another user. The file contains no secret.
    let permissions = Permissions::from_mode(0o644);
    let file = tempfile::Builder::new().permissions(permissions).tempfile_in(directory);
    // The error of the library names the temporary file, of which no user knows.
    file.map_err(|error| error.kind().into())
}

impl Addresses {
    /// Writes the addresses to the ready file, and then logs them in one line. The ready file is
    /// complete as soon as it exists.
    pub(crate) fn announce(&self, ready_file: Option<&Path>) -> Result<(), ReadyFileError> {
        if let Some(path) = ready_file {
            self.write(path).map_err(failed(path))?;
        }
        // A listener that is off is left out of the line.
        tracing::info!(
            otlp_grpc = self.otlp_grpc.map(tracing::field::display),
            otlp_http = self.otlp_http.map(tracing::field::display),
            agent = self.agent.map(tracing::field::display),
            management = self.management.map(tracing::field::display),
            authorize = self.authorize.map(tracing::field::display),
            telemetry = self.telemetry.map(tracing::field::display),
            "ready"
        );
        Ok(())
    }

    fn write(&self, ready_file: &Path) -> io::Result<()> {
        let mut file = unnamed(ready_file)?;
        serde_json::to_writer(&mut file, self)?;
        writeln!(file)?;
        file.persist(ready_file)?;
        Ok(())
    }
}
