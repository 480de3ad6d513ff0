//! What each command does. Each module also defines the flags of its command.

mod context;
mod follower;
mod ingestion_api_key;
mod key;
mod time;
mod value;
pub(crate) mod version;

use crate::client::{Connection, Server};
use crate::config::{ConfigFile, ConnectionFlags, Settings};
use crate::environment::Environment;
use crate::error::{Failure, FailureKind};
use crate::printer::Printer;

pub(crate) use context::ContextCommand;
pub(crate) use follower::FollowerCommand;
pub(crate) use ingestion_api_key::KeyCommand;

/// What every command needs: the flags, the environment and the printer.
pub(crate) struct Session<'a> {
    pub(crate) flags: &'a ConnectionFlags,
    pub(crate) environment: &'a Environment,
    pub(crate) printer: Printer,
}

impl Session<'_> {
    /// Connects to the server. It is a failure if the server does not accept the token or is too
    /// old.
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

/// Returns a failure that says that the arguments of `command` are wrong. The usage of the command
/// is printed after the message.
fn usage_error(message: impl Into<String>, command: &[&str]) -> Failure {
    Failure::new(FailureKind::Usage, message)
        .with_usage(command.iter().map(|part| (*part).to_owned()).collect())
}
