mod collector;
mod exporter;
mod property;

use otel_confmap::ConfigError;

use super::{CollectorConfig, ExporterConfig};

/// Looks up a variable in an environment with one ingestion key.
fn env(name: &str) -> Option<String> {
    (name == "API_KEY").then(|| "iapikeyok-aaaaa-bbbb-ccccc-ddddd".to_owned())
}

fn collector(text: &str) -> Result<CollectorConfig, ConfigError> {
    CollectorConfig::from_yaml(text, &env)
}

/// Reads a file with one exporter that has these settings, one on each line.
fn exporter(id: &str, settings: &str) -> Result<(ExporterConfig, String), String> {
    let settings = settings.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let config = collector(&format!("exporters:\n  {id}:\n{settings}"))
        .map_err(|error| error.to_string())?;
    let warnings = config.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Ok((config.exporter(None).unwrap().clone(), warnings))
}
