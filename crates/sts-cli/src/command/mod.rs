//! What each command does. The flags of a command stand in its module.

mod context;
mod ingestion_api_key;
pub(crate) mod version;

use crate::client::{Connection, Server};
use crate::config::{ConfigFile, ConnectionFlags, Settings};
use crate::environment::Environment;
use crate::error::{Failure, FailureKind};
use crate::printer::Printer;

pub(crate) use context::ContextCommand;
pub(crate) use ingestion_api_key::KeyCommand;

/// What every command works with: its flags, its environment and its printer.
pub(crate) struct Session<'a> {
    pub(crate) flags: &'a ConnectionFlags,
    pub(crate) environment: &'a Environment,
    pub(crate) printer: Printer,
}

impl Session<'_> {
    /// Connects to the server, which must accept the token and must not be too old.
    fn connect(&self) -> Result<Server, Failure> {
        let settings = Settings::load(self.flags, self.environment, &self.printer)?;
        let server = self.server(&settings)?;
        server.connect()?;
        Ok(server)
    }

    fn server(&self, settings: &Settings) -> Result<Server, Failure> {
        let connection = Connection {
            skip_ssl: settings.skip_ssl,
            ca_cert: settings.ca_cert.clone(),
            timeout: self.flags.timeout,
        };
        Server::new(settings, &connection, self.printer)
    }

    fn config_file(&self) -> Result<ConfigFile, Failure> {
        ConfigFile::locate(self.flags.config.clone(), self.environment)
    }
}

/// A failure because the arguments of `command` are wrong; its usage is printed too.
fn usage_error(message: impl Into<String>, command: &[&str]) -> Failure {
    Failure::new(FailureKind::Usage, message)
        .with_usage(command.iter().map(|part| (*part).to_owned()).collect())
}
