use std::fs;
use std::sync::Mutex;

use super::*;
use crate::timeout::timeout;

/// A polling interval that does not pass during a test.
const NEVER: Duration = Duration::from_secs(3600);

/// The tokens of each content that was applied, in order.
type Applied = Arc<Mutex<Vec<Vec<String>>>>;

fn recording()
-> (Applied, impl FnMut(&TokenFileContent) -> Result<bool, TokenFileError> + Send + 'static) {
    let applied = Applied::default();
    let apply = {
        let applied = Arc::clone(&applied);
        move |content: &TokenFileContent| {
            let tokens = content.tokens()?;
            let tokens = tokens.iter().map(|line| line.token.to_owned()).collect();
            applied.lock().unwrap().push(tokens);
            Ok(true)
        }
    };
    (applied, apply)
}

fn content(text: &str) -> TokenFileContent {
    text.as_bytes().to_vec().into()
}

// Scenario: the file is replaced after it was read and before the watch begins.
// Guarantee: the change is found at once, without a further change.
#[test]
fn a_change_before_the_watch_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "new\n").unwrap();
    let (applied, apply) = recording();
    let file = WatchedFile::follow(&path, &content("old\n"), NEVER, apply).unwrap();
    assert_eq!(futures_executor::block_on(file.generation().wait_for(1)), Some(1));
    assert_eq!(*applied.lock().unwrap(), [["new"]]);
}

/// A token file in a directory that tests delete and replace. Only the watch and explicit reloads
/// find changes.
struct Replaced {
    root: tempfile::TempDir,
    file: WatchedFile,
    applied: Applied,
}

impl Replaced {
    /// Follows `above/directory/token` below a new directory, after `prepare` has made it. The file
    /// contains `token-0`.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path());
        let path = root.path().join("above/directory/token");
        fs::write(&path, "token-0\n").unwrap();
        let (applied, apply) = recording();
        let file = WatchedFile::follow(&path, &content("token-0\n"), NEVER, apply).unwrap();
        // After this read, the first read and the first watch have been made.
        futures_executor::block_on(file.reload());
        Self { root, file, applied }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Waits until a change is noticed, and checks that it brought this token.
    fn wait_for(&self, generation: u64, token: &str) {
        let mut counter = self.file.generation();
        let noticed = timeout(Duration::from_secs(30), counter.wait_for(generation));
        assert_eq!(futures_executor::block_on(noticed), Some(Some(generation)), "{token}");
        assert_eq!(self.applied.lock().unwrap().last().unwrap(), &[token]);
    }

    /// Changes the file twice in place. The watch must notice both changes.
    fn change_twice(&self, generation: u64) {
        for generation in [generation, generation + 1] {
            let token = format!("token-{generation}");
            fs::write(self.path("above/directory/token"), format!("{token}\n")).unwrap();
            self.wait_for(generation, &token);
        }
    }
}

fn make_directory(root: &Path) {
    fs::create_dir_all(root.join("above/directory")).unwrap();
}

// Scenario: the directory of the file is deleted and made anew, several times, with a new file.
// Afterwards the file changes.
// Guarantee: the watch notices the new file and each later change, without any polling.
#[test]
fn a_directory_that_was_made_anew_is_watched() {
    let replaced = Replaced::new(make_directory);
    let mut generation = 1;
    for _ in 0..3 {
        fs::remove_dir_all(replaced.path("above/directory")).unwrap();
        make_directory(replaced.root.path());
        replaced.change_twice(generation);
        generation += 2;
    }
}

// Scenario: the directory of the file is deleted together with the directory above it. The file is
// found to be missing before both are made anew.
// Guarantee: the watch notices the new file and each later change, without any polling.
#[test]
fn a_directory_that_was_missing_for_a_while_is_watched() {
    let replaced = Replaced::new(make_directory);
    fs::remove_dir_all(replaced.path("above")).unwrap();
    while replaced.file.failed_reloads() == 0 {
        futures_executor::block_on(replaced.file.reload());
    }
    fs::create_dir(replaced.path("above")).unwrap();
    fs::create_dir(replaced.path("above/directory")).unwrap();
    replaced.change_twice(1);
}

// Scenario: the directory of the file is renamed, and another directory takes its place.
// Guarantee: the watch notices each change in the other directory, without any polling.
#[test]
fn a_directory_that_takes_the_place_of_another_is_watched() {
    let replaced = Replaced::new(make_directory);
    fs::rename(replaced.path("above/directory"), replaced.path("above/old")).unwrap();
    make_directory(replaced.root.path());
    replaced.change_twice(1);
}

// Scenario: the directory of the file, or the directory above it, is a symbolic link. The link is
// replaced by a link to another directory. No watched directory changes, so the next read notices
// it. Afterwards the file changes.
// Guarantee: the watch notices each later change, without any polling.
#[cfg(unix)]
#[test]
fn a_directory_behind_a_new_symbolic_link_is_watched() {
    use std::os::unix::fs::symlink;
    for linked in ["above", "above/directory"] {
        let replaced = Replaced::new(|root| {
            for version in ["v1", "v2"] {
                fs::create_dir_all(root.join(version).join("directory")).unwrap();
            }
            if linked == "above" {
                symlink("v1", root.join("above")).unwrap();
            } else {
                fs::create_dir(root.join("above")).unwrap();
                symlink("../v1/directory", root.join("above/directory")).unwrap();
            }
        });
        fs::write(replaced.path("v2/directory/token"), "token-1\n").unwrap();
        let target = if linked == "above" { "v2" } else { "../v2/directory" };
        symlink(target, replaced.path("new")).unwrap();
        fs::rename(replaced.path("new"), replaced.path(linked)).unwrap();
        futures_executor::block_on(replaced.file.reload());
        replaced.wait_for(1, "token-1");
        replaced.change_twice(2);
    }
}

// Scenario: a writer rewrites the file in place, and pauses in the middle of a token.
// Guarantee: half a token is not applied before [`AGREE_UNENDED`] has passed. The whole token is
// applied once two reads agree.
#[test]
fn half_a_token_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let (applied, apply) = recording();
    let fingerprints = RandomState::new();
    let first = content("old-token\n").fingerprint(&fingerprints);
    let mut follower = Follower {
        path: path.clone(),
        interval: NEVER,
        apply,
        counts: Arc::default(),
        fingerprints,
        applied: first,
        last: Seen::Content(first),
        candidate: None,
    };
    fs::write(&path, "new-to").unwrap();
    let before = Instant::now();
    follower.read();
    let candidate = follower.candidate.unwrap();
    assert!(candidate.due >= before + AGREE_UNENDED);
    follower.read();
    assert!(
        follower.candidate.is_none_or(|again| again.due == candidate.due),
        "reading again gives the writer no less time, and no more"
    );

    fs::write(&path, "new-token\n").unwrap();
    follower.read();
    while follower.candidate.is_some() {
        follower.read();
    }
    assert_eq!(applied.lock().unwrap().last().unwrap(), &["new-token"]);
}
