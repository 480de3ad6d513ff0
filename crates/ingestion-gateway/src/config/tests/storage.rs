//! Tests of the database of keys.

use super::*;

/// Loads a configuration whose section `storage` has these settings.
fn load_storage(storage: &str) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    load(&format!("storage: {{{storage}}}"))
}

/// Returns the problems of a configuration, as text.
fn problems(storage: &str) -> Vec<String> {
    load_storage(storage).unwrap_err().iter().map(ToString::to_string).collect()
}

// Scenario: a PostgreSQL database is configured, with a password in its URL, and with a password
// file.
// Guarantee: the printed configuration, the name of the database and `Debug` have no password. What
// is printed can be read again.
#[test]
fn a_url_is_shown_without_its_password() {
    const SHOWN: &str = "postgres://keys@one:5432,two/keys?sslmode=verify-full&sslrootcert=/ca.crt";
    let canary = SHOWN.replace("keys@", "keys:canary@").replace("&", "&password=canary&");
    for storage in [format!("url: '{canary}'"), format!("url: '{SHOWN}', password_file: /p")] {
        let (config, _) = load_storage(&storage).unwrap();
        assert_eq!(config.storage.database.to_string(), SHOWN);
        let printed = config.to_yaml().unwrap();
        assert!(!format!("{config:?}{printed}").contains("canary"), "{printed}");
        assert!(printed.contains(SHOWN), "{printed}");
        assert_eq!(printed.contains("password_file: /p"), storage.contains("/p"), "{printed}");
        assert_eq!(load(&printed).unwrap().0.to_yaml().unwrap(), printed);
    }
}

// Scenario: URLs of databases and password files have mistakes.
// Guarantee: each mistake is reported once, with its path, and without the URL.
#[test]
fn mistakes_are_reported() {
    const NEITHER: &str =
        "expected sqlite:///path/to/keys.db or postgres://user@host:port/database";
    for (storage, path, expected) in [
        ("url: 'mysql://canary'", "url", NEITHER),
        ("url: 'sqlite://canary'", "url", NEITHER),
        (
            "url: 'postgres://u:canary@h/keys?sslmode=canary'",
            "url",
            "`sslmode` must be disable, prefer, require, verify-ca or verify-full",
        ),
        (
            "url: 'postgres:///canary'",
            "url",
            "the URL names no host: expected postgres://user@host:port/database",
        ),
        (
            "url: 'postgres://u:canary@h/keys', password_file: /p",
            "password_file",
            "`storage.url` has a password, too: give one of them",
        ),
        ("url: 'postgres://u@h/keys', password_file: ''", "password_file", "is empty"),
        (
            "url: 'sqlite:///canary.db', password_file: /p",
            "password_file",
            "is only for PostgreSQL, and `storage.url` names no such database",
        ),
        (
            "password_file: /p",
            "password_file",
            "is only for PostgreSQL, and `storage.url` names no such database",
        ),
        ("url: 'mysql://canary', password_file: /p", "url", NEITHER),
    ] {
        assert_eq!(problems(storage), [format!("storage.{path}: {expected} (line 1)")]);
    }
}

// Scenario: a PostgreSQL database is configured, with and without an admin token file, without a
// management API, and without a state directory.
// Guarantee: without a file, the default is in the state directory, with a warning that its tokens
// are those of one replica. If there is no state directory, a file must be given.
#[test]
fn the_default_admin_token_file_is_of_one_replica() {
    let postgres = "storage: {url: 'postgres://u@h/keys'}\n";
    let (config, warnings) = load(postgres).unwrap();
    let file = config.management.unwrap().admin_token_file;
    assert_eq!(file, PathBuf::from("/home/ops/.local/state/ingestion-gateway/admin-tokens"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].path(), "management.admin_token_file");
    assert!(warnings[0].message().contains("this replica's only"), "{warnings:?}");
    for more in ["management: {admin_token_file: /etc/tokens}", "management: null"] {
        assert!(load(&format!("{postgres}{more}")).unwrap().1.is_empty(), "{more}");
    }
    let without_state = |sets: &[&str]| {
        let sets = sets.iter().map(|&set| set.to_owned()).collect();
        Config::load(&Sources { files: Vec::new(), sets }, &|_| None)
    };
    let url = "storage.url=postgres://u@h/keys";
    let problems = without_state(&[url]).unwrap_err();
    assert_eq!(problems[0].path(), "management.admin_token_file", "{problems:?}");
    assert!(without_state(&[url, "management.admin_token_file=/etc/tokens"]).is_ok());
    assert!(without_state(&[url, "management=null"]).is_ok());
}
