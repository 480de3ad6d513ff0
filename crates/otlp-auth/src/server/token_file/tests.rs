use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::decision::Decision;
use crate::denial::DenyReason;
use crate::server::FixedTokensError;
use crate::server::InMemoryAuthenticator;

/// A polling interval that no test reaches, so that only the watch can find a change.
const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(5);

/// A directory with a token file.
struct Directory(TempDir);

impl Directory {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        fs::write(directory.tokens(), content).unwrap();
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tokens(&self) -> PathBuf {
        self.path("tokens")
    }

    /// Renames a new file with `content` over the token file.
    fn rename_over(&self, content: impl AsRef<[u8]>) {
        fs::write(self.path("tokens.new"), content).unwrap();
        fs::rename(self.path("tokens.new"), self.tokens()).unwrap();
    }
}

fn name_of(file: &TokenFile, token: &str) -> Option<String> {
    match file.decide(&Credential::new("StackState", token).unwrap()) {
        Ok(Decision::Allow(identity)) => Some(identity.name().to_owned()),
        Ok(Decision::Deny(denial)) if denial.reason() == DenyReason::Unknown => None,
        other => panic!("{other:?}"),
    }
}

/// Waits until `token` is allowed. The time limit makes the test fail instead of hang.
async fn in_force(file: &TokenFile, token: &str) {
    let mut generation = file.generation();
    let wait = async {
        while name_of(file, token).is_none() {
            generation.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the token comes into force");
}

// Scenario: a file has tokens with and without a name.
// Guarantee: each token is allowed under its name. A token without a name is named after its
// position.
#[test]
fn tokens_are_named() {
    let directory = Directory::new(
        "\u{feff}team-a=token-of-team-a-0\r\n\r\ntoken-in-third-line\nteam-a=token-of-team-a-1\nYmFzZTY0IHBhZGRpbmc=",
    );
    let file = TokenFile::open(directory.tokens()).unwrap();
    assert_eq!(name_of(&file, "token-of-team-a-0").as_deref(), Some("team-a"));
    assert_eq!(name_of(&file, "token-of-team-a-1").as_deref(), Some("team-a"));
    assert_eq!(name_of(&file, "token-in-third-line").as_deref(), Some("token-2"));
    assert_eq!(name_of(&file, "YmFzZTY0IHBhZGRpbmc=").as_deref(), Some("token-4"));
    for not_a_token in ["team-a", "team-a=token-of-team-a-0", "token-1", "YmFzZTY0IHBhZGRpbmc"] {
        assert_eq!(name_of(&file, not_a_token), None, "{not_a_token}");
    }
    assert!(!format!("{file:?}").contains("token-of"), "{file:?}");
}

// Scenario: the file to open is missing, a directory, empty, blank or too long, or has an illegal
// line.
// Guarantee: the error says what is wrong, and no authenticator is made.
#[test]
fn a_bad_file_is_not_opened() {
    let open = |directory: &Directory| TokenFile::open(directory.tokens()).unwrap_err();
    let directory = Directory::new("");
    assert!(matches!(open(&directory), OpenTokenFileError::File(TokenFileError::Empty)));
    for blank in ["\n\n", " \r\n\t\r\n", "\u{feff}", "\u{feff}\n"] {
        assert!(
            matches!(open(&Directory::new(blank)), OpenTokenFileError::File(TokenFileError::Empty)),
            "{blank:?}"
        );
    }
    File::create(directory.tokens()).unwrap().set_len(crate::token_file::MAX_FILE_LEN + 1).unwrap();
    assert!(matches!(open(&directory), OpenTokenFileError::File(TokenFileError::TooLong)));
    assert_eq!(open(&directory).to_string(), "the token file is longer than 16 MiB");
    fs::remove_file(directory.tokens()).unwrap();
    assert!(
        matches!(open(&directory), OpenTokenFileError::File(TokenFileError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound)
    );
    fs::create_dir(directory.tokens()).unwrap();
    assert!(matches!(open(&directory), OpenTokenFileError::File(TokenFileError::NotAFile)));
    for illegal in ["good-token\ncanary token", "good-token\ncanary\0", "good-token\ncanäry"] {
        let error = open(&Directory::new(illegal));
        assert!(matches!(error, OpenTokenFileError::File(TokenFileError::Line { line: 2, .. })));
        assert!(!format!("{error:?} {error}").contains("can"));
    }
    let error = open(&Directory::new("one=canary-token-0001\ntwo=canary-token-0001\n"));
    assert!(
        matches!(&error, OpenTokenFileError::Tokens(FixedTokensError::TwoNames { first, second }) if first == "one" && second == "two")
    );
    assert!(!format!("{error:?} {error}").contains("canary"));
}

// Scenario: the file is replaced by a rename, then rewritten in place, then emptied and written
// after a pause.
// Guarantee: each time the watch alone brings the new tokens into force, and the old tokens are
// denied. Every change counts once.
#[tokio::test]
async fn every_way_of_writing_is_followed() {
    let directory = Directory::new("token-at-first-0");
    let file = TokenFile::open_polled(directory.tokens(), NEVER).unwrap();
    assert_eq!(file.generation().current(), 0);

    directory.rename_over("a=token-renamed-00");
    in_force(&file, "token-renamed-00").await;
    assert_eq!(name_of(&file, "token-at-first-0"), None);
    assert_eq!((file.generation().current(), file.failed_reloads()), (1, 0));

    let mut in_place = File::options().write(true).open(directory.tokens()).unwrap();
    in_place.write_all(b"a=token-in-place-0").unwrap();
    in_force(&file, "token-in-place-0").await;
    assert_eq!(name_of(&file, "token-renamed-00"), None);
    assert_eq!((file.generation().current(), file.failed_reloads()), (2, 0));

    let mut emptied = File::create(directory.tokens()).unwrap();
    file.file.reload().await;
    assert!(name_of(&file, "token-in-place-0").is_some(), "while the file is empty");
    assert_eq!((file.generation().current(), file.failed_reloads()), (2, 1));
    emptied.write_all(b"b=token-after-that").unwrap();
    in_force(&file, "token-after-that").await;
    assert_eq!(name_of(&file, "token-in-place-0"), None);
    assert_eq!((file.generation().current(), file.failed_reloads()), (3, 1));
}

// Scenario: the file is deleted, and later written again.
// Guarantee: the old tokens stay in force while the file is missing. Then the new tokens come into
// force.
#[tokio::test]
async fn a_file_may_go_and_come_back() {
    let directory = Directory::new("token-at-first-0");
    let file = TokenFile::open_polled(directory.tokens(), NEVER).unwrap();
    fs::remove_file(directory.tokens()).unwrap();
    file.file.reload().await;
    assert!(name_of(&file, "token-at-first-0").is_some());
    assert_eq!(file.failed_reloads(), 1);
    fs::write(directory.tokens(), "token-come-back-0").unwrap();
    in_force(&file, "token-come-back-0").await;
    assert_eq!(name_of(&file, "token-at-first-0"), None);
}

// Scenario: Kubernetes updates a mounted secret. It makes a new directory beside the old one, and
// replaces `..data` by a link to the new directory.
// Guarantee: each time the watch alone brings the new tokens into force.
#[cfg(unix)]
#[tokio::test]
async fn a_secret_of_kubernetes_is_followed() {
    use std::os::unix::fs::symlink;

    let mount = tempfile::tempdir().unwrap();
    let path = |name: &str| mount.path().join(name);
    let publish = |version: &str, content: &str| {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("tokens"), content).unwrap();
        symlink(version, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
    };
    publish("..v1", "token-of-version-1");
    symlink("..data/tokens", path("tokens")).unwrap();
    let file = TokenFile::open_polled(path("tokens"), NEVER).unwrap();
    assert!(name_of(&file, "token-of-version-1").is_some());

    publish("..v2", "token-of-version-2");
    fs::remove_dir_all(path("..v1")).unwrap();
    in_force(&file, "token-of-version-2").await;
    assert_eq!(name_of(&file, "token-of-version-1"), None);

    publish("..v3", "token-of-version-3");
    fs::remove_dir_all(path("..v2")).unwrap();
    in_force(&file, "token-of-version-3").await;
    assert_eq!(name_of(&file, "token-of-version-2"), None);
}

// Scenario: the file changes without an event in its directory, because the file is a link into
// another directory, or because the directory itself is replaced.
// Guarantee: polling finds the new tokens.
#[cfg(unix)]
#[tokio::test]
async fn polling_finds_what_no_watch_tells() {
    let elsewhere = Directory::new("token-at-first-0");
    let directory = Directory::new("");
    fs::remove_file(directory.tokens()).unwrap();
    std::os::unix::fs::symlink(elsewhere.tokens(), directory.tokens()).unwrap();
    let file = TokenFile::open_polled(directory.tokens(), OFTEN).unwrap();
    fs::write(elsewhere.tokens(), "token-elsewhere-0").unwrap();
    in_force(&file, "token-elsewhere-0").await;

    fs::create_dir(directory.path("inner")).unwrap();
    fs::write(directory.path("inner/tokens"), "token-in-inner-00").unwrap();
    let file = TokenFile::open_polled(directory.path("inner/tokens"), OFTEN).unwrap();
    fs::rename(directory.path("inner"), directory.path("outer")).unwrap();
    fs::create_dir(directory.path("inner")).unwrap();
    fs::write(directory.path("inner/tokens"), "token-in-inner-01").unwrap();
    in_force(&file, "token-in-inner-01").await;
}

type Spoil<'a> = &'a dyn Fn(&Directory);

// Scenario: the file becomes empty, blank or too long, gets an illegal line or two names for one
// token, or is moved away. Later it is repaired.
// Guarantee: the last good tokens stay in force, and the failure is counted. The tokens of the
// repaired file come into force.
#[tokio::test]
async fn a_bad_file_changes_nothing() {
    let spoil: &[(&str, Spoil<'_>)] = &[
        ("empty", &|directory| directory.rename_over("")),
        ("blank", &|directory| directory.rename_over("\r\n \r\n")),
        ("illegal", &|directory| directory.rename_over("token-of-16-chars\nnot a token\n")),
        ("NUL", &|directory| directory.rename_over("token-of-16-chars\0")),
        ("not ASCII", &|directory| directory.rename_over(b"token-of-16-chars\xff")),
        ("ambiguous", &|directory| {
            directory.rename_over("a=token-of-16-chars\nb=token-of-16-chars")
        }),
        ("too long", &|directory| {
            File::create(directory.path("tokens.new"))
                .unwrap()
                .set_len(crate::token_file::MAX_FILE_LEN + 1)
                .unwrap();
            fs::rename(directory.path("tokens.new"), directory.tokens()).unwrap();
        }),
        ("missing", &|directory| fs::rename(directory.tokens(), directory.path("away")).unwrap()),
    ];
    for (case, spoil) in spoil {
        let directory = Directory::new("token-at-first-0");
        let file = TokenFile::open_polled(directory.tokens(), NEVER).unwrap();
        spoil(&directory);
        file.file.reload().await;
        assert!(name_of(&file, "token-at-first-0").is_some(), "{case}");
        assert_eq!((file.generation().current(), file.failed_reloads()), (0, 1), "{case}");
        directory.rename_over("token-repaired-0");
        in_force(&file, "token-repaired-0").await;
        assert_eq!(
            (
                name_of(&file, "token-at-first-0"),
                file.generation().current(),
                file.failed_reloads()
            ),
            (None, 1, 1),
            "{case}"
        );
    }
}

// Scenario: a bad file is read several times. Then the file gets the content that is in force.
// Guarantee: the failure counts once, and the return to the old content does not count as a change.
#[tokio::test]
async fn a_failure_that_lasts_counts_once() {
    let directory = Directory::new("token-at-first-0");
    let file = TokenFile::open_polled(directory.tokens(), NEVER).unwrap();
    directory.rename_over("not a token");
    file.file.reload().await;
    file.file.reload().await;
    assert_eq!(file.failed_reloads(), 1);
    directory.rename_over("token-at-first-0");
    file.file.reload().await;
    assert_eq!((file.generation().current(), file.failed_reloads()), (0, 1));
    assert!(name_of(&file, "token-at-first-0").is_some());
}

// Scenario: a writer rewrites the file many times, alternately by a rename and in place. The writer
// alternates between two contents that share one token.
// Guarantee: every decision allows the shared token, although the file is read between the writes.
// In the end the last content is in force.
#[tokio::test]
async fn a_thousand_rewrites_refuse_nobody() {
    const SHARED: &str = "token-in-every-content";
    let directory = Arc::new(Directory::new(format!("shared={SHARED}\n")));
    let file = TokenFile::open_polled(directory.tokens(), OFTEN).unwrap();
    let (written, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = std::thread::spawn({
        let (directory, written, stop) =
            (Arc::clone(&directory), Arc::clone(&written), Arc::clone(&stop));
        move || {
            let contents = [
                format!("one=token-of-one-000\nshared={SHARED}\n"),
                format!("shared={SHARED}\r\ntwo=token-of-two-000"),
            ];
            while !stop.load(Ordering::Relaxed) {
                let turn = written.fetch_add(1, Ordering::Relaxed);
                match turn % 4 {
                    0 | 1 => directory.rename_over(&contents[turn % 2]),
                    _ => fs::write(directory.tokens(), &contents[turn % 2]).unwrap(),
                }
            }
        }
    });
    let mut decisions = 0_u64;
    // Continues until there were enough rewrites and enough reads.
    while written.load(Ordering::Relaxed) < 2000 || file.file.reads() < 20 {
        assert_eq!(
            name_of(&file, SHARED).as_deref(),
            Some("shared"),
            "after {} rewrites",
            written.load(Ordering::Relaxed)
        );
        decisions += 1;
        if decisions.is_multiple_of(64) {
            std::thread::yield_now();
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    directory.rename_over("last=token-written-last");
    in_force(&file, "token-written-last").await;
    assert_eq!(name_of(&file, SHARED), None);
}

// Scenario: the authenticator is dropped.
// Guarantee: the thread of the authenticator ends, and no further change is reported.
#[tokio::test]
async fn the_thread_ends_with_its_owner() {
    let directory = Directory::new("token-at-first-0");
    let file = TokenFile::open_polled(directory.tokens(), NEVER).unwrap();
    let mut generation = file.generation();
    drop(file);
    let closed = tokio::time::timeout(Duration::from_secs(60), generation.changed())
        .await
        .expect("the thread ends");
    assert!(closed.is_none());
}

// Scenario: many callers ask for a read at once. One more asks just before the authenticator is
// dropped.
// Guarantee: no caller waits without end.
#[tokio::test]
async fn every_wait_for_a_read_ends() {
    let directory = Directory::new("token-at-first-0");
    let file = TokenFile::open_polled(directory.tokens(), NEVER).unwrap();
    let waits: Vec<_> = (0..100).map(|_| file.file.reload()).collect();
    directory.rename_over("token-the-second");
    for wait in waits {
        wait.await;
    }
    let late = file.file.reload();
    drop(file);
    late.await;
}

// Scenario: a file gets new tokens, then becomes illegal, and then is read once more unchanged.
// Guarantee: each change of the file counts as one reload, with its outcome and the side `server`.
// The metric contains nothing of the file.
#[cfg(feature = "metrics")]
#[tokio::test]
async fn reloads_are_counted() {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let directory = Directory::new("token-at-first-0");
    let file = TokenFile::open_polled(directory.tokens(), NEVER)
        .unwrap()
        .with_meter(&provider.meter("test"));
    directory.rename_over("token-renamed-00");
    file.file.reload().await;
    directory.rename_over("not a token");
    file.file.reload().await;
    file.file.reload().await;

    provider.force_flush().unwrap();
    let exported = exporter.get_finished_metrics().unwrap();
    let mut points = Vec::new();
    for metric in exported.last().unwrap().scope_metrics().flat_map(|scope| scope.metrics()) {
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
            panic!("{metric:?}")
        };
        for point in sum.data_points() {
            let mut attributes: Vec<_> =
                point.attributes().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
            attributes.sort();
            points.push(format!(
                "{} {} {} {}",
                metric.name(),
                metric.unit(),
                attributes.join(" "),
                point.value()
            ));
        }
    }
    points.sort();
    let expected = ["outcome=failure side=server 1", "outcome=success side=server 1"];
    assert_eq!(points, expected.map(|point| format!("ingestion.auth.reloads {{reload}} {point}")));
}
