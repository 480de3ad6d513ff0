//! Keys that exist before a fault, and the assertions about them after it.

use std::collections::BTreeSet;
use std::time::Instant;

use ingestion_api::route;
use otlp_auth_tests::PATIENCE;
use serde_json::Value;

use crate::gateway::Caller;

/// A good key, which the gateway must allow, and a deleted key.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) good: Key,
    pub(crate) deleted: Key,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: i64,
    pub(crate) secret: String,
}

impl Key {
    pub(crate) fn create(caller: &mut Caller, name: &str) -> Self {
        let answer = caller.create(name);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let key: Value = serde_json::from_str(&answer.body).expect("a key as JSON");
        Self {
            id: key["id"].as_i64().expect("an id"),
            secret: key["apiKey"].as_str().expect("a key").to_owned(),
        }
    }
}

impl Keys {
    pub(crate) fn create(caller: &mut Caller) -> Self {
        let (good, deleted) = (Key::create(caller, "good"), Key::create(caller, "deleted"));
        let answer = caller.delete(deleted.id);
        assert_eq!(answer.status, 204, "{}", answer.body);
        Self { good, deleted }
    }

    /// Asserts that every change is refused with 503, this reason and a `Retry-After`.
    pub(crate) fn assert_not_changed(&self, caller: &mut Caller, why: &str) {
        let key = route::api_key(self.good.id);
        let changes = [
            ("POST", route::API_KEYS.to_owned(), r#"{"name": "not kept"}"#),
            ("POST", route::rotate(self.good.id), r#"{"overlap": 0}"#),
            ("PATCH", key.clone(), r#"{"enabled": false}"#),
            ("DELETE", key, ""),
        ];
        for (method, path, body) in changes {
            let answer = caller.manage(method, &path, body);
            assert_eq!(answer.status, 503, "{method} {path}: {}", answer.body);
            assert!(answer.body.contains(why), "{method} {path}: {}", answer.body);
            assert!(answer.retry_after.is_some(), "{method} {path}");
        }
    }

    /// Asserts that every listener allows the good key and refuses the deleted one.
    pub(crate) fn assert_decided(&self, caller: &mut Caller) {
        assert_eq!(caller.authorize(&[&self.good.secret, &self.deleted.secret]), [204, 403]);
        assert_eq!(
            [&self.good, &self.deleted].map(|key| caller.export(&key.secret).status),
            [200, 401]
        );
    }

    /// Waits until requests are undecided, and asserts that every earlier decision is correct.
    pub(crate) fn wait_until_undecided(&self, caller: &mut Caller) {
        self.wait_for_answers(caller, [503, 503]);
        for key in [&self.good, &self.deleted] {
            let answer = caller.export(&key.secret);
            assert_eq!(
                (answer.status, answer.retry_after.is_some()),
                (503, true),
                "{}",
                answer.body
            );
        }
    }

    /// Waits until requests are decided again, and asserts that every earlier request is undecided.
    pub(crate) fn wait_until_decided(&self, caller: &mut Caller) {
        self.wait_for_answers(caller, [204, 403]);
    }

    fn wait_for_answers(&self, caller: &mut Caller, expected: [u16; 2]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answers = caller.authorize(&[&self.good.secret, &self.deleted.secret]);
            assert!(
                [204, 503].contains(&answers[0]) && [403, 503].contains(&answers[1]),
                "{answers:?}"
            );
            if answers == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{answers:?} instead of {expected:?}");
        }
    }

    /// Asserts that the good key and these keys exist and are allowed, and that no other key
    /// exists.
    pub(crate) fn assert_kept(&self, caller: &mut Caller, more: &[&Key]) {
        let listed: BTreeSet<_> = caller.list().iter().map(|key| key["id"].as_i64()).collect();
        let expected: BTreeSet<_> =
            more.iter().map(|key| key.id).chain([self.good.id]).map(Some).collect();
        assert_eq!(listed, expected);
        self.assert_decided(caller);
        let secrets: Vec<_> = more.iter().map(|key| key.secret.as_str()).collect();
        assert!(caller.authorize(&secrets).iter().all(|&status| status == 204));
    }
}
