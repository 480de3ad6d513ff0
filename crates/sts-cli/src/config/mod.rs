//! The configuration file: contexts, and which one is current.

mod file;
mod flags;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ingestion_api::route::API_PATH;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Failure, Kind};

pub(crate) use file::ConfigFile;
pub(crate) use flags::ConnectionFlags;
pub(crate) use settings::{Settings, Token, given, tls};

/// What the file says. The order of the fields is that of the original's.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) contexts: Vec<NamedContext>,
    #[serde(default)]
    pub(crate) current_context: String,
    /// Whatever a newer version wrote.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NamedContext {
    pub(crate) name: String,
    pub(crate) context: StsContext,
}

/// Where a server is, and how it is asked.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StsContext {
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub(crate) api_token: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub(crate) service_token: Option<SecretString>,
    #[serde(default = "api_path")]
    pub(crate) api_path: String,
    /// The original's; nothing here uses it.
    #[serde(default)]
    pub(crate) admin_api_path: String,
    #[serde(default)]
    pub(crate) skip_ssl: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_cert_path: Option<PathBuf>,
    /// Whatever a newer version wrote.
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

impl Config {
    /// The context of this name.
    pub(crate) fn context(&self, name: &str) -> Result<&StsContext, Failure> {
        let found = self.contexts.iter().find(|context| context.name == name);
        found.map(|found| &found.context).ok_or_else(|| unknown(name))
    }

    /// Adds the context, or puts it in place of the one with its name, and makes it the current
    /// one.
    pub(crate) fn save(&mut self, name: &str, context: StsContext) {
        match self.contexts.iter_mut().find(|found| found.name == name) {
            Some(found) => found.context = context,
            None => self.contexts.push(NamedContext { name: name.to_owned(), context }),
        }
        name.clone_into(&mut self.current_context);
    }

    /// Takes the context away.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Failure> {
        let at = self
            .contexts
            .iter()
            .position(|context| context.name == name)
            .ok_or_else(|| unknown(name))?;
        self.contexts.remove(at);
        Ok(())
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(
        Kind::UnknownContext,
        format!("Context with name '{}' not found", crate::printer::escape(name)),
    )
    .with_hint("The contexts that there are: `sts context list`")
}

fn api_path() -> String {
    API_PATH.to_owned()
}

/// The one place where a token is written: into the file, and where the original prints it.
fn expose<S: Serializer>(token: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    token.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}
