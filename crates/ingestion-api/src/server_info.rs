//! Information about a server.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::null_as_default;

/// The response of [`SERVER_INFO`](crate::route::SERVER_INFO). Absent fields and null are
/// deserialized as empty values, as in the original client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(description = "Information about a server.")
)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerInfo {
    /// The version of the API. Clients compare it with the version that they need.
    #[serde(deserialize_with = "null_as_default")]
    pub version: Version,
    /// `SelfHosted` or `Saas`. Clients only display it.
    #[serde(deserialize_with = "null_as_default")]
    pub deployment_mode: String,
    /// The version of the platform. Clients only display it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
}

/// A version. `Display` writes the text that the original client parses as a semantic version. A
/// `commit` or `is_dev` without a `diff` makes the text a pre-release. A pre-release is older than
/// the version without the suffix.
///
/// # Examples
///
/// ```
/// let version = ingestion_api::Version { major: 6, minor: 1, patch: 2, ..Default::default() };
/// assert_eq!(version.to_string(), "6.1.2");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(
        description = "A version. `diff`, `commit` and `isDev` are set for builds that are not \
             releases."
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct Version {
    /// The major version.
    #[serde(deserialize_with = "null_as_default")]
    pub major: i32,
    /// The minor version.
    #[serde(deserialize_with = "null_as_default")]
    pub minor: i32,
    /// The patch version.
    #[serde(deserialize_with = "null_as_default")]
    pub patch: i32,
    /// The difference from a release. It is empty for a release.
    #[serde(deserialize_with = "null_as_default")]
    pub diff: String,
    /// The commit of the build. It is empty for a release.
    #[serde(deserialize_with = "null_as_default")]
    pub commit: String,
    /// Whether a developer made the build.
    #[serde(deserialize_with = "null_as_default")]
    pub is_dev: bool,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch, diff, commit, is_dev } = self;
        write!(f, "{major}.{minor}.{patch}")?;
        if !diff.is_empty() {
            write!(f, "+{diff}")?;
        }
        if !commit.is_empty() {
            write!(f, "-{commit}")?;
        }
        if *is_dev { f.write_str("-dev") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a response lacks some fields and has unknown fields. In another response, every
    // field is null.
    // Guarantee: absent fields and null are empty. Unknown fields are ignored.
    #[test]
    fn a_sparse_response_is_deserialized() {
        let info: ServerInfo =
            serde_json::from_str(r#"{"version":{"major":5,"x":1},"platformVersion":null,"y":{}}"#)
                .unwrap();
        assert_eq!(
            info,
            ServerInfo {
                version: Version { major: 5, ..Version::default() },
                ..ServerInfo::default()
            }
        );
        for text in [
            r#"{"version":null,"deploymentMode":null,"platformVersion":null}"#,
            r#"{"version":{"major":null,"minor":null,"patch":null,"diff":null,"commit":null,"isDev":null}}"#,
        ] {
            assert_eq!(serde_json::from_str::<ServerInfo>(text).unwrap(), ServerInfo::default());
        }
    }

    // Scenario: the information about a release is serialized.
    // Guarantee: the JSON has every field that the original client reads.
    #[test]
    fn a_release_has_every_field() {
        let version = Version { major: 6, ..Version::default() };
        let info = ServerInfo {
            version,
            deployment_mode: "SelfHosted".to_owned(),
            platform_version: Some("6.0.0".to_owned()),
        };
        let expected = r#"{"version":{"major":6,"minor":0,"patch":0,"diff":"","commit":"","isDev":false},"deploymentMode":"SelfHosted","platformVersion":"6.0.0"}"#;
        assert_eq!(serde_json::to_string(&info).unwrap(), expected);
    }

    // Scenario: versions with every suffix are formatted.
    // Guarantee: the suffixes are in the same order as in the original client.
    #[test]
    fn suffixes_follow_the_numbers() {
        let version = |diff: &str, commit: &str, is_dev| {
            Version {
                major: 5,
                minor: 1,
                patch: 0,
                diff: diff.to_owned(),
                commit: commit.to_owned(),
                is_dev,
            }
            .to_string()
        };
        assert_eq!(version("", "", false), "5.1.0");
        assert_eq!(version("7", "abc", true), "5.1.0+7-abc-dev");
        assert_eq!(version("", "abc", false), "5.1.0-abc");
    }
}
