use std::fs;
use std::sync::Mutex;

use super::*;

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
