use std::fs;
use std::sync::Mutex;

use super::*;

/// Nothing is found by polling in these tests.
const NEVER: Duration = Duration::from_secs(3600);

/// What was applied so far, and the function that applies it.
type Applied = Arc<Mutex<Vec<Vec<u8>>>>;

fn recording()
-> (Applied, impl FnMut(&SecretSlice<u8>) -> Result<(), TokenFileError> + Send + 'static) {
    let applied = Applied::default();
    let apply = {
        let applied = Arc::clone(&applied);
        move |content: &SecretSlice<u8>| {
            applied.lock().unwrap().push(content.expose_secret().to_vec());
            Ok(())
        }
    };
    (applied, apply)
}

fn content(text: &str) -> SecretSlice<u8> {
    text.as_bytes().to_vec().into()
}

// Scenario: the file is replaced after it was opened and before it is followed.
// Guarantee: the change is found at once, and not only when the next one comes.
#[test]
fn a_change_before_the_watch_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "new\n").unwrap();
    let (applied, apply) = recording();
    let file = WatchedFile::follow(&path, &content("old\n"), NEVER, apply).unwrap();
    let mut generation = file.generation();
    futures_executor::block_on(generation.wait_for(|&generation| generation == 1)).unwrap();
    assert_eq!(*applied.lock().unwrap(), [b"new\n"]);
}

// Scenario: a writer rewrites the file in place, and pauses in the middle of a token. Guarantee:
// the half is not taken while the writer may still come back; the whole is, once two reads agree on
// it.
#[test]
fn half_a_token_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let (applied, apply) = recording();
    let fingerprints = RandomState::new();
    let first = fingerprints.hash_one(b"old-token\n".as_slice());
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
    assert_eq!(applied.lock().unwrap().last().unwrap(), b"new-token\n");
}
