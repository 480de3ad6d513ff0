//! The configuration: the file with its contexts, and the settings that are in force.

mod file;
mod flags;
mod settings;
mod token;
mod validation;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ingestion_api::route::API_PATH;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Failure, FailureKind};

pub(crate) use file::ConfigFile;
pub(crate) use flags::ConnectionFlags;
pub(crate) use settings::{Settings, tls_settings};
pub(crate) use token::{Token, of_flag, problem};

/// The content of the configuration file. The fields are in the order of the original command.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) contexts: Vec<NamedContext>,
    #[serde(default)]
    pub(crate) current_context: String,
    /// Fields that this version does not know. They are kept when the file is written.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NamedContext {
    pub(crate) name: String,
    pub(crate) context: StsContext,
}

/// The address of a server, and how to connect to it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StsContext {
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub(crate) api_token: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub(crate) service_token: Option<SecretString>,
    #[serde(default = "default_api_path")]
    pub(crate) api_path: String,
    /// A setting of the original command. It is kept in the file, but not used.
    #[serde(default)]
    pub(crate) admin_api_path: String,
    #[serde(default)]
    pub(crate) skip_ssl: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_cert_path: Option<PathBuf>,
    /// Fields that this version does not know. They are kept when the file is written.
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

impl Config {
    /// Returns the context with this name.
    pub(crate) fn context(&self, name: &str) -> Result<&StsContext, Failure> {
        let found = self.contexts.iter().find(|context| context.name == name);
        found.map(|found| &found.context).ok_or_else(|| unknown_context(name))
    }

    /// Adds the context, or replaces the context with the same name, and makes it the current one.
    pub(crate) fn save(&mut self, name: &str, context: StsContext) {
        match self.contexts.iter_mut().find(|found| found.name == name) {
            Some(found) => found.context = context,
            None => self.contexts.push(NamedContext { name: name.to_owned(), context }),
        }
        name.clone_into(&mut self.current_context);
    }

    /// Removes the context with this name.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Failure> {
        let at = self
            .contexts
            .iter()
            .position(|context| context.name == name)
            .ok_or_else(|| unknown_context(name))?;
        self.contexts.remove(at);
        Ok(())
    }
}

fn unknown_context(name: &str) -> Failure {
    Failure::new(
        FailureKind::UnknownContext,
        format!("Context with name '{}' not found", crate::printer::escape(name)),
    )
    .with_hint("To see the contexts run `sts context list`")
}

fn default_api_path() -> String {
    API_PATH.to_owned()
}

/// Serializes a token in clear text. The file needs the clear text. `-o json` also prints contexts
/// with their tokens, as the original command does.
fn expose<S: Serializer>(token: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    token.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}
