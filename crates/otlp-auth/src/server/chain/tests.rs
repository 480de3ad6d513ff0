use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::*;
use crate::decision::Undecided;
use crate::denial::DenyReason::{
    Conflicting, Expired, LimitExceeded, Malformed, Missing, NotPermitted, Revoked, Unknown,
};
use crate::identity::Identity;
use crate::server::authenticator_fn;

/// A verdict in a form that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Allow(&'static str),
    Deny(DenyReason),
    Undecided(&'static str),
}
use Says::{Allow, Deny};

impl Says {
    fn verdict(self) -> Verdict {
        match self {
            Allow(name) => Ok(Decision::Allow(Identity::new(name))),
            Deny(reason) => Ok(Decision::Deny(reason.into())),
            Self::Undecided(cause) => Err(Undecided::new(cause)),
        }
    }

    fn of(verdict: Verdict) -> Self {
        // Returns the string with which `all` was called, which is equal to `text`.
        let known = |text: &str| if text == "first" { "first" } else { "next" };
        match verdict {
            Ok(Decision::Allow(identity)) => Allow(known(identity.name())),
            Ok(Decision::Deny(denial)) => Deny(denial.reason()),
            Err(undecided) => {
                Self::Undecided(known(&std::error::Error::source(&undecided).unwrap().to_string()))
            }
        }
    }

    fn all(who: &'static str) -> Vec<Self> {
        let reasons = [
            Missing,
            Malformed,
            Conflicting,
            Unknown,
            Revoked,
            Expired,
            NotPermitted,
            LimitExceeded,
        ];
        reasons.into_iter().map(Deny).chain([Allow(who), Self::Undecided(who)]).collect()
    }
}

/// An authenticator that always has the same verdict, and counts how often it was asked.
struct Always(Says, AtomicUsize);

impl Always {
    fn new(says: Says) -> Arc<Self> {
        Arc::new(Self(says, AtomicUsize::new(0)))
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

impl ServerAuthenticator for Always {
    type Future = Ready<Verdict>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        assert_eq!(credential.expose_token(), "token");
        self.1.fetch_add(1, Ordering::Relaxed);
        ready(self.0.verdict())
    }

    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        Ok(self.decide(credential))
    }
}

/// An authenticator that decides once, when the test sends it the verdict.
struct Remote(std::sync::Mutex<Option<oneshot::Receiver<Says>>>);

impl ServerAuthenticator for Remote {
    type Future = Pin<Box<dyn Future<Output = Verdict> + Send>>;

    fn authenticate(&self, _: &Credential<'_>) -> Self::Future {
        let answer = self.0.lock().unwrap().take().expect("is asked once");
        Box::pin(async move { answer.await.unwrap().verdict() })
    }
}

/// Returns the verdict that a chain must have: allow if either allows; otherwise undecided if
/// either is undecided; otherwise the first denial, or the second one if the first says `Unknown`.
fn expected(first: Says, next: Says) -> Says {
    match (first, next) {
        (Allow(_), _) => first,
        (_, Allow(_)) => next,
        (Says::Undecided(_), _) => first,
        (_, Says::Undecided(_)) => next,
        (Deny(Unknown), Deny(_)) => next,
        (Deny(_), Deny(_)) => first,
    }
}

fn credential() -> Credential<'static> {
    Credential::new("StackState", "token").unwrap()
}

// Scenario: two authenticators decide from memory, with every pair of verdicts.
// Guarantee: allow beats undecided, and undecided beats deny. The future resolves to the verdict
// that `decide` returns, and the verdict is known at once. The second authenticator is asked only
// if the first one does not allow.
#[tokio::test]
async fn the_table_of_a_chain() {
    for first_says in Says::all("first") {
        for next_says in Says::all("next") {
            let (first, next) = (Always::new(first_says), Always::new(next_says));
            let chain = Arc::clone(&first).or(Arc::clone(&next));
            let case = format!("{first_says:?} then {next_says:?}");
            assert_eq!(
                Says::of(chain.decide(&credential())),
                expected(first_says, next_says),
                "{case}"
            );
            assert_eq!(
                Says::of(chain.authenticate(&credential()).await),
                expected(first_says, next_says),
                "{case}"
            );
            let at_once = chain.verdict_at_once(&credential()).ok();
            assert_eq!(at_once.map(Says::of), Some(expected(first_says, next_says)), "{case}");
            assert_eq!(first.asked(), 3, "{case}");
            assert_eq!(next.asked(), if matches!(first_says, Allow(_)) { 0 } else { 3 }, "{case}");
        }
    }
}

// Scenario: the second authenticator decides only after it was polled.
// Guarantee: the chain is pending until the second authenticator decides. Then the chain has the
// same verdict as a chain that decides from memory. If the first authenticator allows, the chain
// does not wait.
#[tokio::test]
async fn a_chain_waits_for_its_second() {
    for first_says in Says::all("first") {
        for next_says in Says::all("next") {
            let (answer, receiver) = oneshot::channel();
            let chain = Always::new(first_says).or(Remote(Some(receiver).into()));
            let mut verdict = match chain.verdict_at_once(&credential()) {
                Ok(verdict) => {
                    assert_eq!(first_says, Allow("first"));
                    assert_eq!(Says::of(verdict), first_says);
                    assert_eq!(Says::of(chain.authenticate(&credential()).await), first_says);
                    continue;
                }
                Err(verdict) => std::pin::pin!(verdict),
            };
            std::future::poll_fn(|cx| {
                assert!(verdict.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            answer.send(next_says).unwrap();
            assert_eq!(
                Says::of(verdict.await),
                expected(first_says, next_says),
                "{first_says:?} then {next_says:?}"
            );
        }
    }
}

// Scenario: a chain of three authenticators decides from memory.
// Guarantee: the third authenticator is asked unless an earlier one allows.
#[test]
fn chains_can_be_chained() {
    let (a, b, c) = (
        Always::new(Deny(Unknown)),
        Always::new(Says::Undecided("next")),
        Always::new(Allow("next")),
    );
    let chain = Arc::clone(&a).or(Arc::clone(&b)).or(Arc::clone(&c));
    assert_eq!(Says::of(chain.decide(&credential())), Allow("next"));
    let chain = Arc::clone(&c).or(Arc::clone(&a)).or(Arc::clone(&b));
    assert_eq!(Says::of(chain.decide(&credential())), Allow("next"));
    assert_eq!((a.asked(), b.asked(), c.asked()), (1, 1, 2));
}

// Scenario: one chain has two closures that decide at once. Another chain has a closure that
// decides later.
// Guarantee: a closure is an authenticator. A closure decides from memory exactly if it returns
// `Ready`.
#[tokio::test]
async fn a_closure_is_an_authenticator() {
    let unknown = authenticator_fn(|_: &Credential<'_>| ready(Deny(Unknown).verdict()));
    let allows = authenticator_fn(|_: &Credential<'_>| ready(Allow("next").verdict()));
    assert_eq!(Says::of(unknown.or(allows).decide(&credential())), Allow("next"));
    let later = authenticator_fn(|credential: &Credential<'_>| {
        let token = credential.expose_token().to_owned();
        async move {
            tokio::task::yield_now().await;
            if token == "token" { Deny(Expired).verdict() } else { Allow("next").verdict() }
        }
    });
    assert_eq!(Says::of(unknown.or(later).authenticate(&credential()).await), Deny(Expired));
}
