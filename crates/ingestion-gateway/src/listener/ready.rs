//! Writes the ready file, which says that every listener is bound, and to which address.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;
use tempfile::NamedTempFile;

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
pub(crate) fn prepare(ready_file: &Path) -> io::Result<()> {
    match fs::remove_file(ready_file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    unnamed(ready_file).map(drop)
}

/// Creates an empty temporary file in the directory of the ready file, so that the temporary file
/// can be renamed to the ready file.
fn unnamed(ready_file: &Path) -> io::Result<NamedTempFile> {
    let directory = ready_file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // The process that waits for the file may run as another user. The file contains no secret.
    tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(directory)
}

impl Addresses {
    /// Writes the addresses to the ready file, and then logs them in one line. The ready file is
    /// complete as soon as it exists.
    pub(crate) fn announce(&self, ready_file: Option<&Path>) -> io::Result<()> {
        if let Some(path) = ready_file {
            let mut file = unnamed(path)?;
            serde_json::to_writer(&mut file, self)?;
            writeln!(file)?;
            file.persist(path)?;
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
}
