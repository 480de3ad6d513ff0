//! What each command does.

mod context;
mod ingestion_api_key;
mod version;

use clap::CommandFactory;
use ingestion_api::KEY_PREFIX;
use ingestion_api_key::{check, create, delete, describe, list, rotate, update};

use crate::cli::{Cli, Command, ContextCommand, GlobalFlags, KeyCommand, help, unknown};
use crate::client::{Connection, Server};
use crate::config::{ConfigFile, Settings};
use crate::environment::Environment;
use crate::error::{Failure, Kind};
use crate::printer::Printer;

/// Does what was asked for.
pub(crate) fn run(cli: &Cli, environment: &Environment, printer: Printer) -> Result<(), Failure> {
    let session = Session { flags: &cli.flags, environment, printer };
    match &cli.command {
        None => Ok(printer.text(&help([]))?),
        Some(Command::Completion(args)) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "sts", &mut script);
            Ok(printer.text(&String::from_utf8_lossy(&script))?)
        }
        Some(Command::Context { command: None }) => Ok(printer.text(&help(["context"]))?),
        Some(Command::Context { command: Some(command) }) => session.context(command),
        Some(Command::Help(args)) => session.help(&args.command),
        Some(Command::IngestionApiKey { command: None }) => {
            Ok(printer.text(&help(["ingestion-api-key"]))?)
        }
        Some(Command::IngestionApiKey { command: Some(command) }) => session.key(command),
        Some(Command::Version) => version::run(&session),
    }
}

/// What every command works with.
struct Session<'a> {
    flags: &'a GlobalFlags,
    environment: &'a Environment,
    printer: Printer,
}

impl Session<'_> {
    fn context(&self, command: &ContextCommand) -> Result<(), Failure> {
        match command {
            ContextCommand::Delete(args) => context::delete(self, &args.name),
            ContextCommand::List => context::list(self),
            ContextCommand::Save(args) => context::save(self, args),
            ContextCommand::Set(args) => context::set(self, &args.name),
            ContextCommand::Show => context::show(self),
            ContextCommand::Validate(args) => context::validate(self, args.name.as_deref()),
        }
    }

    fn help(&self, path: &[String]) -> Result<(), Failure> {
        let Some((name, known)) = unknown(path) else {
            return Ok(self.printer.text(&help(path.iter().map(String::as_str)))?);
        };
        let known = known.iter().map(String::as_str).collect::<Vec<_>>();
        if name.contains(KEY_PREFIX) {
            return Err(self.misuse(
                "a key is never an argument: others could read it; use API_KEY or standard input",
                &known,
            ));
        }
        let command = [&["sts"], &known[..]].concat().join(" ");
        Err(self.misuse(format!("unknown command {name:?} for {command:?}"), &known))
    }

    fn key(&self, command: &KeyCommand) -> Result<(), Failure> {
        match command {
            KeyCommand::Check(args) => check::run(self, args),
            KeyCommand::Create(args) => create::run(self, args),
            KeyCommand::Delete(args) => delete::run(self, args),
            KeyCommand::Describe(args) => describe::run(self, args.id),
            KeyCommand::List(args) => list::run(self, args),
            KeyCommand::Rotate(args) => rotate::run(self, args),
            KeyCommand::Update(args) => update::run(self, args),
        }
    }

    /// A server that takes the token and is new enough.
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

    /// An argument that makes no sense.
    fn misuse(&self, message: impl Into<String>, command: &[&str]) -> Failure {
        Failure::new(Kind::Usage, message)
            .with_usage(command.iter().map(|part| (*part).to_owned()).collect())
    }
}
