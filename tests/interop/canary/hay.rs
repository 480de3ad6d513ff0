//! Everything that is searched.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use otlp_auth_tests::PATIENCE;

/// Places, and what is there.
#[derive(Default)]
pub(super) struct Hay {
    /// What is no text is replaced there: keys are ASCII, and stay.
    places: Vec<(String, String)>,
}

impl Hay {
    pub(super) fn add(&mut self, place: &str, content: impl AsRef<[u8]>) {
        self.places
            .push((place.to_owned(), String::from_utf8_lossy(content.as_ref()).into_owned()));
    }

    /// Every file below a directory, as it is now.
    pub(super) fn add_files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                self.add_files(&path);
            } else {
                // One that is written at this moment may be gone in the next.
                self.add(&path.display().to_string(), fs::read(&path).unwrap_or_default());
            }
        }
    }

    /// Whether a place has this text.
    pub(super) fn has(&self, place: &str, text: &str) -> bool {
        self.places.iter().any(|(name, content)| name.ends_with(place) && content.contains(text))
    }

    /// Nothing has this text, except places whose names end so.
    pub(super) fn assert_free_of(&self, what: &str, text: &str, except: &[&str]) {
        for (place, content) in &self.places {
            let Some((before, _)) = content.split_once(text) else { continue };
            let line = before.rsplit('\n').next().unwrap_or_default();
            assert!(
                except.iter().any(|except| place.ends_with(except)),
                "{what} is in {place}, after: {line}"
            );
        }
    }
}

/// Sends a request of HTTP/1.1, and returns all that is answered.
pub(super) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    // At once: an answer may come before a body that comes later is read.
    stream.write_all(text.as_bytes()).expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 "), "{method} to {address}: {answer}");
    answer
}
