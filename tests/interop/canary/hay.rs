//! The outputs, responses and files that are searched for secrets.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use otlp_auth_tests::PATIENCE;

/// The texts to search. Each text has the name of its place, such as a command or the path of a
/// file.
#[derive(Default)]
pub(super) struct Hay {
    /// The name and the content of each place. Bytes that are not UTF-8 are replaced. Keys consist
    /// of ASCII, so they are not affected.
    places: Vec<(String, String)>,
}

impl Hay {
    pub(super) fn add(&mut self, place: &str, content: impl AsRef<[u8]>) {
        self.places
            .push((place.to_owned(), String::from_utf8_lossy(content.as_ref()).into_owned()));
    }

    /// Adds the present content of every file below a directory.
    pub(super) fn add_files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                self.add_files(&path);
            } else {
                // A temporary file may be gone by the time it is read.
                self.add(&path.display().to_string(), fs::read(&path).unwrap_or_default());
            }
        }
    }

    /// Returns whether this text is in the content of a place whose name ends with `place`.
    pub(super) fn has(&self, place: &str, text: &str) -> bool {
        self.places.iter().any(|(name, content)| name.ends_with(place) && content.contains(text))
    }

    /// Asserts that the content of no place contains this text. Places whose names end with one of
    /// `except` may contain the text.
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

/// Sends an HTTP/1.1 request and returns the whole response.
pub(crate) fn request(
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
    // Head and body are sent at once, because the gateway may respond before it has read the body.
    stream.write_all(text.as_bytes()).expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 "), "{method} to {address}: {answer}");
    answer
}
