//! The file with the tokens of administrators.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use otlp_auth::server::{OpenTokenFileError, TokenFile};
use secrecy::{ExposeSecret, SecretString};

/// The number of random bytes in a token.
const TOKEN_LEN: usize = 32;

/// The admin token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokensError {
    /// The file does not exist and cannot be created.
    #[error("the admin token file {path} cannot be created")]
    Create {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file cannot be read, or is not a token file.
    #[error("the admin token file {path} cannot be used")]
    Open {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: OpenTokenFileError,
    },
}

/// Opens the admin token file at `path`. If the file does not exist, creates it first, with one
/// random token. That is expected only at `default_path`: elsewhere the path may be mistyped, and a
/// warning says that no token of another file is accepted.
pub(crate) fn open(path: &Path, default_path: &Path) -> Result<TokenFile, AdminTokensError> {
    let created = create_if_absent(path)
        .map_err(|source| AdminTokensError::Create { path: path.to_owned(), source })?;
    if created && path == default_path {
        tracing::info!(path = %path.display(), "an admin token file with a random token was created");
    } else if created {
        tracing::warn!(path = %path.display(), "management.admin_token_file did not exist: it was created with a random token, which is the only one that is accepted");
    } else {
        tracing::info!(path = %path.display(), "admin tokens");
        if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
            tracing::warn!(path = %path.display(), "the admin token file is open to others than its owner: chmod 600");
        }
    }
    TokenFile::open(path).map_err(|source| AdminTokensError::Open { path: path.to_owned(), source })
}

fn create_if_absent(path: &Path) -> io::Result<bool> {
    if path.try_exists()? {
        return Ok(false);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Only the owner can read the temporary file. The file gets its final name once its content is
    // complete.
    let file = tempfile::Builder::new().prefix(".admin-tokens-").tempfile_in(directory);
    // The error of the library names the temporary file, of which no user knows.
    let mut file = file.map_err(|error| io::Error::from(error.kind()))?;
    writeln!(file, "{}", random_token()?.expose_secret())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        // Another process has created the file in the meantime.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

fn random_token() -> io::Result<SecretString> {
    let mut bytes = [0; TOKEN_LEN];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut token = String::with_capacity(2 * TOKEN_LEN);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            token.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: neither the file nor its directory exists. The file is opened twice.
    // Guarantee: the first call creates the file with one token of 256 bits in hexadecimal. Only
    // the owner can read the file. The second call does not change the file.
    #[test]
    fn a_missing_file_is_created_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/admin-tokens");
        open(&path, &path).unwrap();
        let content = fs::read_to_string(&path).unwrap();
        assert!(
            content.len() == 65 && content.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{}",
            content.len()
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        open(&path, &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    // Scenario: the file does not exist, and its directory takes no files.
    // Guarantee: the error names the file, and not the temporary file that would have become it.
    #[test]
    fn a_file_that_cannot_be_created_is_named() {
        let error = open(Path::new("/proc/admin-tokens"), Path::new("/")).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(error.to_string(), "the admin token file /proc/admin-tokens cannot be created");
        assert!(!source.contains("/proc"), "{source}");
    }

    // Scenario: the file exists and has no token.
    // Guarantee: opening the file fails, and the file is not changed.
    #[test]
    fn an_empty_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin-tokens");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(
            open(&path, &path),
            Err(AdminTokensError::Open {
                source: OpenTokenFileError::File(otlp_auth::TokenFileError::Empty),
                ..
            })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "\n");
    }
}
