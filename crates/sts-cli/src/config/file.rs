//! Reading and writing the configuration file.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Config, NamedContext, StsContext};
use crate::environment::Environment;
use crate::error::{Failure, Kind};
use crate::printer::escape;

/// As many links as systems follow.
const MAX_LINKS: usize = 40;

/// The file, wherever it is.
pub(crate) struct ConfigFile {
    path: PathBuf,
}

/// Held from reading the file to writing it. The system lets go of it with the process.
pub(crate) struct Lock(
    #[expect(dead_code, reason = "it is locked as long as it is open")] fs::File,
);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    #[error("cannot read {} ({source})", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Where in the file; what stands there may be a token.
    #[error("{} is not a configuration file (line {line}, column {column})", path.display())]
    Malformed { path: PathBuf, line: u64, column: u64 },
}

impl ConfigFile {
    /// The one that is named, or else the user's.
    pub(crate) fn locate(
        named: Option<PathBuf>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let directory = || {
            environment
                .path("XDG_CONFIG_HOME")
                .or_else(|| Some(environment.path("HOME")?.join(".config")))
        };
        let path = named.or_else(|| Some(directory()?.join("stackstate-cli").join("config.yaml")));
        let path = path.ok_or_else(|| {
            Failure::new(
                Kind::Configuration,
                "there is no place for a configuration file: set HOME, or use --config",
            )
        })?;
        Ok(Self { path })
    }

    /// What it says.
    pub(crate) fn read(&self) -> Result<Config, ReadError> {
        let path = || self.path.clone();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ReadError::Missing(path()));
            }
            Err(source) => return Err(ReadError::Unreadable { path: path(), source }),
        };
        parse(&text).map_err(|error| {
            let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
            ReadError::Malformed { path: path(), line, column }
        })
    }

    /// What it says, or why the command cannot go on.
    pub(crate) fn require(&self) -> Result<Config, Failure> {
        self.read().map_err(|error| error.to_failure())
    }

    /// Keeps other commands from changing it until the lock is dropped. The lock's file stays:
    /// another command may have it open.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        self.try_lock().map(Lock).map_err(|error| self.write_failure(&error))
    }

    /// What it says; nothing if there is none yet. One that cannot be read is an error: it would be
    /// lost.
    pub(crate) fn read_to_change(&self) -> Result<Config, Failure> {
        match self.read() {
            Err(ReadError::Missing(_)) => Ok(Config::default()),
            result => result.map_err(|error| error.to_failure()),
        }
    }

    /// Replaces it as a whole, for its owner only.
    pub(crate) fn write(&self, config: &Config) -> Result<(), Failure> {
        self.replace(config).map_err(|error| self.write_failure(&error))
    }

    fn write_failure(&self, error: &io::Error) -> Failure {
        Failure::new(
            Kind::Write,
            format!("cannot write to file {} ({error})", escape(&self.path.to_string_lossy())),
        )
    }

    fn try_lock(&self) -> io::Result<fs::File> {
        let path = self.target();
        fs::create_dir_all(directory(&path))?;
        let mut name = path.into_os_string();
        name.push(".lock");
        let file = fs::File::options().create(true).truncate(false).write(true).open(name)?;
        file.lock()?;
        Ok(file)
    }

    /// What the links lead to, be it there or not: that is replaced, and not a link.
    fn target(&self) -> PathBuf {
        let mut path = self.path.clone();
        for _ in 0..MAX_LINKS {
            let Ok(next) = fs::read_link(&path) else { break };
            path = directory(&path).join(next);
        }
        path
    }

    fn replace(&self, config: &Config) -> io::Result<()> {
        let options = serde_saphyr::ser_options! { indent_step: 4, compact_list_indent: false, prefer_block_scalars: false };
        let text =
            serde_saphyr::to_string_with_options(config, options).map_err(io::Error::other)?;
        let text = as_the_original(&text);
        let path = self.target();
        let directory = directory(&path);
        fs::create_dir_all(directory)?;
        // Created 0600, and renamed over the old one once it is on the disk.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }
}

impl ReadError {
    pub(crate) fn to_failure(&self) -> Failure {
        let failure = Failure::new(
            Kind::Configuration,
            format!("could not load StackState CLI config\n{self}"),
        );
        match self {
            Self::Missing(_) => {
                failure.with_hint("You do not have a config file. To create one try running `sts context save --help`")
            }
            Self::Unreadable { .. } => failure.with_hint("Make it readable, or name another one with --config"),
            Self::Malformed { .. } => failure.with_hint("Correct it, or move it away and run `sts context save --help`"),
        }
    }
}

/// The keys below `context:` by four to the left: a list is no level of its own in the original's
/// file.
fn as_the_original(text: &str) -> String {
    let mut is_contexts = false;
    let lines = text.split_inclusive('\n').map(|line| {
        if !line.starts_with(' ') {
            is_contexts = line.starts_with("contexts:");
        }
        if is_contexts && line.starts_with("            ") { &line[4..] } else { line }
    });
    lines.collect()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The original's formats: contexts, or of old the one context as the whole file.
fn parse(text: &str) -> Result<Config, serde_saphyr::Error> {
    #[derive(Deserialize)]
    struct Probe {
        contexts: Option<Value>,
    }
    let Some(probe) = serde_saphyr::from_str::<Option<Probe>>(text)? else {
        return Ok(Config::default());
    };
    if probe.contexts.is_some() {
        return serde_saphyr::from_str(text);
    }
    let name = "default".to_owned();
    let context: StsContext = serde_saphyr::from_str(text)?;
    Ok(Config {
        contexts: vec![NamedContext { name: name.clone(), context }],
        current_context: name,
        ..Config::default()
    })
}
