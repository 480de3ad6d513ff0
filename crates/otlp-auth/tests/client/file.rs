//! Tests token files that change. No test here has a Tokio runtime.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use otlp_auth::client::BearerTokenAuth;
use tower::{Layer, Service};

use crate::support::{
    ENDPOINT, Log, Refusal, Tokens, header, http_client, service, wait_for_end, wait_for_header,
};

/// Sends a request that is rejected, so that the file is read again. Returns after that read.
fn read_again(auth: &BearerTokenAuth) {
    let refusing = service(&Log::default(), |_| Refusal::Http.response());
    let mut client = auth.layer().layer(refusing);
    futures_executor::block_on(client.call(Request::new(Full::<Bytes>::default()))).unwrap();
}

/// Causes reads of the file until `expected` reloads have failed. Panics if more reloads fail, or
/// if the token changes.
fn wait_for_failures(auth: &BearerTokenAuth, expected: u64) {
    let generation = auth.generation().current();
    while auth.failed_reloads() < expected {
        read_again(auth);
        assert_eq!(auth.generation().current(), generation, "nothing is taken over");
    }
    assert_eq!(auth.failed_reloads(), expected);
}

/// Scenario: a Kubernetes secret volume is updated twice. Each time, the link `..data` is replaced
/// by a link to a new directory.
/// Guarantee: each new token is used, although the path of the token file is always the same link.
#[test]
fn kubernetes_swaps_a_link() {
    let tokens = Tokens::new("unused");
    let directory = tokens.directory();
    let publish = |version: usize| {
        let data = directory.join(format!("..2026_{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("token"), format!("token-{version}")).unwrap();
        symlink(format!("..2026_{version}"), directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
        if let Some(before) = version.checked_sub(1) {
            fs::remove_dir_all(directory.join(format!("..2026_{before}"))).unwrap();
        }
    };
    fs::remove_file(tokens.path()).unwrap();
    publish(0);
    symlink("..data/token", tokens.path()).unwrap();
    let auth = tokens.auth();
    assert_eq!(header(&auth), "StackState token-0");
    for version in 1..=2 {
        publish(version);
        wait_for_header(&auth, &format!("StackState token-{version}"));
    }
    assert_eq!(auth.failed_reloads(), 0, "there was a whole file all the time");
}

/// Scenario: the file is replaced by a rename, is rewritten in place, and is truncated and then
/// written.
/// Guarantee: each new token is used.
#[test]
fn writers_of_all_kinds() {
    let tokens = Tokens::new("token-0");
    let auth = tokens.auth();
    assert_eq!(auth.generation().current(), 0);
    tokens.replace("token-1");
    wait_for_header(&auth, "StackState token-1");
    fs::OpenOptions::new()
        .write(true)
        .open(tokens.path())
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"token-2"))
        .unwrap();
    wait_for_header(&auth, "StackState token-2");
    let file = fs::File::create(tokens.path()).unwrap();
    read_again(&auth);
    assert_eq!(header(&auth), "StackState token-2", "the file is empty just now");
    std::io::Write::write_all(&mut &file, b"token-3\n").unwrap();
    wait_for_header(&auth, "StackState token-3");
}

/// Scenario: the file is deleted, and later written again.
/// Guarantee: the last good token stays in use until the file is written again, and then the new
/// token is used. The failure is counted once, however often the file is read.
#[test]
fn deletion_and_return() {
    let tokens = Tokens::new("token-0");
    let auth = tokens.auth();
    fs::remove_file(tokens.path()).unwrap();
    wait_for_failures(&auth, 1);
    read_again(&auth);
    assert_eq!((header(&auth).as_str(), auth.failed_reloads()), ("StackState token-0", 1));
    tokens.replace("token-1");
    wait_for_header(&auth, "StackState token-1");
    assert_eq!((auth.generation().current(), auth.failed_reloads()), (1, 1));
}

/// Scenario: the whole directory is deleted, and rejected requests cause reads that fail. The
/// directory is then made again, with a file that contains another token.
/// Guarantee: the other token is used.
#[test]
fn the_directory_comes_back() {
    let tokens = Tokens::new("unused");
    let directory = tokens.directory().join("mounted");
    let path = directory.join("token");
    fs::create_dir(&directory).unwrap();
    fs::write(&path, "token-0").unwrap();
    let auth = BearerTokenAuth::builder().file(&path).endpoint(ENDPOINT).build().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    wait_for_failures(&auth, 1);
    fs::create_dir(&directory).unwrap();
    fs::write(&path, "token-1").unwrap();
    wait_for_header(&auth, "StackState token-1");
}

/// Scenario: the file becomes empty, blank, binary, too long or a directory, or gets an illegal
/// line.
/// Guarantee: the last good token stays in use, and one failure is counted. If the old content
/// returns, this does not count as a change.
#[test]
fn bad_content_keeps_the_last_good_token() {
    let contents: [&[u8]; 8] = [
        b"",
        b"\r\n \n",
        b"\xef\xbb\xbf",
        b"two words",
        b"token-1\ntoken\0",
        b"token-1\nb\xc3",
        &[b'a'; 4097],
        &vec![b'\n'; (16 << 20) + 1],
    ];
    thread::scope(|scope| {
        for content in contents {
            scope.spawn(move || {
                let tokens = Tokens::new("token-0\n");
                let auth = tokens.auth();
                tokens.replace(content);
                wait_for_failures(&auth, 1);
                assert_eq!(header(&auth), "StackState token-0");
                tokens.replace("token-0\n");
                read_again(&auth);
                assert_eq!((auth.generation().current(), auth.failed_reloads()), (0, 1));
                tokens.replace("token-1\n");
                wait_for_header(&auth, "StackState token-1");
            });
        }
        scope.spawn(|| {
            let tokens = Tokens::new("token-0");
            let auth = tokens.auth();
            fs::remove_file(tokens.path()).unwrap();
            wait_for_failures(&auth, 1);
            fs::create_dir(tokens.path()).unwrap();
            wait_for_failures(&auth, 2);
            assert_eq!(header(&auth), "StackState token-0");
        });
    });
}

/// Scenario: the file changes from Unix line ends to Windows line ends with a byte order mark, and
/// the token in the file changes too.
/// Guarantee: the new token is sent, without the line end and the byte order mark.
#[test]
fn the_encoding_changes() {
    let tokens = Tokens::new("token-0\n");
    let auth = tokens.auth();
    tokens.replace("\u{feff}\r\ntoken-1 \r\n");
    wait_for_header(&auth, "StackState token-1");
}

/// Scenario: a thread rewrites the file as fast as it can, in place and by renames, with tokens of
/// many lengths. Requests are made meanwhile.
/// Guarantee: each request has a whole token that was written. No request has an older token than
/// the request before. In the end, requests have the last token.
#[test]
fn thousands_of_rewrites() {
    const REWRITES: usize = 5000;
    let token = |number: usize| format!("token-{number}-{}-end", "x".repeat(number * 7 % 97));
    let tokens = Tokens::new(token(0));
    let auth = tokens.auth();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=REWRITES {
                if number % 2 == 0 {
                    tokens.replace(token(number))
                } else {
                    fs::write(tokens.path(), token(number)).unwrap()
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let sent = header(&auth);
            let number = sent
                .split('-')
                .nth(1)
                .and_then(|number| number.parse().ok())
                .expect("it is a token");
            assert_eq!(sent, format!("StackState {}", token(number)));
            assert!(number >= last, "{number} after {last}");
            last = number;
        }
    });
    wait_for_header(&auth, &format!("StackState {}", token(REWRITES)));
}

/// Scenario: everything that was made from an authenticator is dropped, one value after another.
/// Guarantee: the file is followed until the last value is dropped, and then its thread ends.
#[test]
fn the_thread_ends_with_its_last_user() {
    let tokens = Tokens::new("token-0");
    let unbound = tokens.unbound();
    let generation = unbound.generation();
    let auth = unbound.for_endpoint("http://127.0.0.1:1").unwrap();
    let layer = auth.layer();
    let client =
        layer.layer(service::<Full<Bytes>, _>(&Log::default(), |_| Refusal::Http.response()));
    let interceptor = auth.interceptor();
    let http_client = auth.http_client(http_client());
    drop((unbound, auth, layer, client, interceptor));
    tokens.replace("token-1");
    futures_executor::block_on(generation.clone().wait_for(1)).unwrap();
    drop(http_client);
    wait_for_end(generation);
}
