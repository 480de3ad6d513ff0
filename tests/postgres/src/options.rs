//! How a server is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Postgres;

/// Settings of the server that suit tests. They apply before those of [`Options::setting`].
const SETTINGS: [(&str, &str); 5] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    // Many tests and replicas share a server.
    ("max_connections", "300"),
    // Files in the data directory are removed with it, unlike files in /dev/shm.
    ("dynamic_shared_memory_type", "mmap"),
    ("log_min_messages", "warning"),
];

/// Options of a server, from [`Postgres::options`].
#[derive(Clone, Default)]
pub struct Options {
    settings: Vec<(String, String)>,
    durable: bool,
    password: Option<String>,
    tls: Option<(PathBuf, PathBuf)>,
    disk: Option<usize>,
}

impl Options {
    /// Sets a parameter of the server, as `-c name=value` does.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the server call `fsync`, as in production.
    ///
    /// Only a measurement of its cost needs this. Without it the server loses nothing when its
    /// processes are killed, because what they wrote is in the memory of the operating system.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Gives the user `postgres` this password, which every user then needs (SCRAM-SHA-256).
    /// Without this option the server asks nobody for a password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Lets the server accept only connections over TLS. The files contain a certificate chain and
    /// its key in PEM; the server gets copies that only it can read.
    #[must_use]
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    /// Gives the data of the server a disk of this many megabytes, which is in memory. An empty
    /// server takes about 40. It has to be possible to mount a file system in a user namespace.
    #[must_use]
    pub fn disk(mut self, megabytes: usize) -> Self {
        self.disk = Some(megabytes);
        self
    }

    /// Starts the server and waits until it accepts connections.
    #[must_use]
    pub fn start(self) -> Postgres {
        Postgres::start_with(self)
    }

    pub(crate) fn get_disk(&self) -> Option<usize> {
        self.disk
    }

    pub(crate) fn get_password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Gives a client of the server the password.
    pub(crate) fn authenticate(&self, client: &mut Command) {
        if let Some(password) = &self.password {
            client.env("PGPASSWORD", password);
        }
    }

    /// Returns the certificate and the key.
    pub(crate) fn get_tls(&self) -> Option<(&Path, &Path)> {
        self.tls.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()))
    }

    /// Writes the rules by which clients are let in.
    pub(crate) fn write_access_rules(&self, data: &Path) {
        let connection = if self.tls.is_some() { "hostssl" } else { "host" };
        let method = if self.password.is_some() { "scram-sha-256" } else { "trust" };
        let rules = ["all", "replication"]
            .map(|database| format!("{connection} {database} all 127.0.0.1/32 {method}\n"));
        fs::write(data.join("pg_hba.conf"), rules.concat()).expect("the access rules");
    }

    /// Adds the settings to the arguments of the server.
    pub(crate) fn add_to(&self, server: &mut Command) {
        let mut set = |name: &str, value: &str| {
            server.arg("-c").arg(format!("{name}={value}"));
        };
        for (name, value) in SETTINGS {
            set(name, value);
        }
        if !self.durable {
            set("fsync", "off");
            set("full_page_writes", "off");
        }
        for (name, value) in &self.settings {
            set(name, value);
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { settings, durable, password: _, tls, disk } = self;
        f.debug_struct("Options")
            .field("settings", settings)
            .field("durable", durable)
            .field("tls", tls)
            .field("disk", disk)
            .finish_non_exhaustive()
    }
}
