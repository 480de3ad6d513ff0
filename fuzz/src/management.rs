//! Feeds the calls of the management API and the authorize endpoint: paths, queries, headers and
//! bodies. The framing of each request is valid, so that each reaches its call.

use anyhow::Result;
use fastrand::Rng;
use ingestion_api::route;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::connection::Connection;
use crate::gateway::{self, Gateway};
use crate::mutate::{mutate, pick};
use crate::target::{Current, Finding, Target, check};

/// How many requests are sent between two checks of the gateway.
const BETWEEN_CHECKS: u64 = 64;

/// Everything that cannot stand in the path of a request line.
const NOT_IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"];

/// The statuses that a complete request may get.
const STATUSES: [u16; 15] =
    [200, 201, 204, 400, 401, 403, 404, 405, 409, 412, 413, 414, 415, 422, 431];

const BODIES: [&str; 9] = [
    r#"{"name": "edge", "description": "d", "expiration": 4102444800000}"#,
    r#"{"name": "edge"}"#,
    r#"{"name": "n", "description": null, "expiration": null, "enabled": true}"#,
    r#"{"enabled": false}"#,
    r#"{"expiration": 4102444800000}"#,
    r#"{"overlap": 60000, "expiration": 4102444800000}"#,
    r#"{"apiKey": "iapikeyok-Right0Ke-yForTeam-AToSend0-1a2b3c"}"#,
    "",
    "{}",
];

/// Parts of the bodies and paths.
const WORDS: &[&[u8]] = &[
    b"\"name\": ",
    b"\"description\": ",
    b"\"expiration\": ",
    b"\"enabled\": ",
    b"\"overlap\": ",
    b"\"apiKey\": ",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-9223372036854775808",
    b"253402300800000",
    b"1e400",
    b"1.5",
    b"\"\\u0000\"",
    b"\"\\ud83d\"",
    b"\\n",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"/",
    b"..",
    b"%2f",
    b"%00",
    b"?limit=",
    b"&before=",
    b"?withReceiverKey=true",
    "\u{202e}\u{1f600}".as_bytes(),
    b"\xff",
];

/// A gateway whose management API is fed.
#[derive(Debug)]
pub(crate) struct Management {
    gateway: Gateway,
    management: Connection,
    authorize: Connection,
    count: u64,
}

impl Management {
    pub(crate) fn new() -> Result<Self> {
        let gateway = Gateway::start()?;
        let management = Connection::new(gateway.address("management")?);
        let authorize = Connection::new(gateway.address("authorize")?);
        Ok(Self { gateway, management, authorize, count: 0 })
    }

    fn request(&self, rng: &mut Rng) -> Vec<u8> {
        let mut body = pick(rng, &BODIES).as_bytes().to_owned();
        if rng.u8(..4) > 0 {
            mutate(rng, &mut body, WORDS);
        }
        let content_type = pick(rng, &["application/json", "text/plain", ""]);
        let headers = format!("content-type: {content_type}\r\n");
        let path = [route::API_PATH, &path(rng)].concat();
        let method = *pick(rng, &METHODS);
        self.gateway.admin_request(method, &path, &headers, &body)
    }

    /// Sends a request to the authorize endpoint, which needs no admin token.
    fn authorize(&mut self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        let text = format!(r#"{{"apiKey": "{}"}}"#, self.gateway.key());
        let mut body = text.clone().into_bytes();
        mutate(rng, &mut body, WORDS);
        let json = "content-type: application/json\r\n";
        let request = gateway::request("POST", route::INTERNAL_AUTHORIZE, json, &body);
        current.set(&request);
        let answer =
            self.authorize.call(&request).map_err(|error| format!("no answer: {error}"))?;
        let is_right = match answer.status {
            204 => body.windows(10).any(|part| part == b"iapikeyok-"),
            400 | 403 | 413 | 415 => body != text.as_bytes(),
            _ => false,
        };
        check(is_right, || format!("answered {}", answer.status))
    }

    /// Deletes a key that an input has created, so that lists stay short.
    fn delete_created(&mut self, body: &[u8]) -> Result<(), Finding> {
        let created: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(id) = created["id"].as_i64().filter(|_| created["apiKey"].is_string()) else {
            return Ok(());
        };
        let path = [route::API_PATH, &route::api_key(id)].concat();
        let request = self.gateway.admin_request("DELETE", &path, "", b"");
        let deleted = self.management.call(&request).map_err(|error| error.to_string())?;
        check(deleted.status == 204, || format!("a new key cannot be deleted: {}", deleted.status))
    }
}

impl Target for Management {
    fn run(&mut self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        if rng.u8(..4) == 0 {
            self.authorize(rng, current)?;
        } else {
            let request = self.request(rng);
            current.set(&request);
            let answer =
                self.management.call(&request).map_err(|error| format!("no answer: {error}"))?;
            let body = String::from_utf8_lossy(&answer.body);
            check(STATUSES.contains(&answer.status), || format!("{}: {body}", answer.status))?;
            check(!body.contains(self.gateway.admin_token()), || "the token is shown".to_owned())?;
            if answer.status < 300 {
                current.accept();
            }
            self.delete_created(&answer.body)?;
        }
        self.count += 1;
        if self.count.is_multiple_of(BETWEEN_CHECKS) { self.gateway.check() } else { Ok(()) }
    }

    fn process(&self) -> Option<u32> {
        Some(self.gateway.process())
    }
}

/// Returns a path below the base path of the API, which may exist.
fn path(rng: &mut Rng) -> String {
    let id = i64::from(rng.u32(..));
    let mut path = match rng.u8(..8) {
        0 => route::SERVER_INFO.to_owned(),
        1..=3 => route::API_KEYS.to_owned(),
        4 => route::api_key(id),
        5 => route::rotate(id),
        6 => format!("{}?limit=10", route::AUDIT),
        _ => route::AUTHORIZE.to_owned(),
    }
    .into_bytes();
    if rng.u8(..4) == 0 {
        mutate(rng, &mut path, WORDS);
    }
    percent_encode(&path, NOT_IN_PATH).to_string()
}
