//! What a server is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer of [`SERVER_INFO`](crate::route::SERVER_INFO). What is missing is empty when it is
/// read, as the original client reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema), schema(description = "What a server is."))]
#[serde(rename_all = "camelCase", default)]
pub struct ServerInfo {
    /// The version of the API, which clients compare with the one they need.
    pub version: Version,
    /// `SelfHosted` or `Saas`; clients show it and no more.
    pub deployment_mode: String,
    /// The version of the platform, shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
}

/// A version. `Display` writes it as the original client does before it reads it as a semantic
/// version: a `commit` or `is_dev` without a `diff` makes it a pre-release, which is older than the
/// version itself.
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
        description = "A version; `diff`, `commit` and `isDev` are those of a build that is no release."
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct Version {
    /// The first number.
    pub major: i32,
    /// The second number.
    pub minor: i32,
    /// The third number.
    pub patch: i32,
    /// What differs from a release; empty for a release.
    pub diff: String,
    /// The commit it was built from; empty for a release.
    pub commit: String,
    /// Whether it is a build of a developer.
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

    // Scenario: a server sends less than it should, and more.
    // Guarantee: what is missing is empty, what is unknown is ignored.
    #[test]
    fn a_sparse_answer_is_read() {
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
    }

    // Scenario: a release is written.
    // Guarantee: every field that the original client reads is there.
    #[test]
    fn a_release_is_written_whole() {
        let version = Version { major: 6, ..Version::default() };
        let info = ServerInfo {
            version,
            deployment_mode: "SelfHosted".to_owned(),
            platform_version: Some("6.0.0".to_owned()),
        };
        let expected = r#"{"version":{"major":6,"minor":0,"patch":0,"diff":"","commit":"","isDev":false},"deploymentMode":"SelfHosted","platformVersion":"6.0.0"}"#;
        assert_eq!(serde_json::to_string(&info).unwrap(), expected);
    }

    // Scenario: versions with every suffix.
    // Guarantee: they are written in the original's order.
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
