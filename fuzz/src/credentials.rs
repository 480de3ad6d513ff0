//! Feeds everything that reads a credential: the extractor behind the layer on both transports, the
//! format of a key, and token files.

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fastrand::Rng;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use ingestion_api::IngestionKey;
use otlp_auth::server::{
    AuthenticateLayer, CredentialExtractor, FixedTokens, Interceptor, TokenFile,
};
use otlp_auth::{Identity, Scheme};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::mutate::{mutate, pick};
use crate::target::{Current, Finding, Target, check};

/// The only token that is let in. It has no character that a query encodes.
const TOKEN: &str = "iapikeyok-Right0Ke-yForTeam-AToSend0-1a2b3c";

/// Headers that carry credentials, and one that does not.
const HEADERS: [&str; 4] = ["authorization", "sts-api-key", "dd-api-key", "x-api-key"];

/// Parts of credentials.
const WORDS: &[&[u8]] = &[
    TOKEN.as_bytes(),
    b"StackState ",
    b"stackstate  ",
    b"SUSEObservability ",
    b"ApiKey ",
    b"Basic ",
    b"Bearer ",
    b"YXBpa2V5Og==",
    b"apikey:",
    b" ",
    b"\t",
    b",",
    b"\"",
    b"=",
    b"%00",
    b"%2",
    b"+",
    b"api_key=",
    b"&api_key=",
    b";api_key=",
    b"&",
    b"?",
    b"#",
    b"//",
    b"\xff",
    "\u{e9}".as_bytes(),
];

/// The layer and the interceptor with everything that an agent may send.
pub(crate) struct Credentials {
    runtime: Runtime,
    layer: AuthenticateLayer<FixedTokens>,
    interceptor: Interceptor<FixedTokens>,
    extractor: CredentialExtractor,
    directory: TempDir,
}

/// A request without a body.
struct Input {
    uri: Uri,
    headers: HeaderMap,
}

/// What a request was answered, without the format of the transport.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Missing,
    Refused,
}

impl Credentials {
    pub(crate) fn new() -> Result<Self> {
        let schemes = ["SUSEObservability", "ApiKey"].map(Scheme::from_static);
        let extractor = schemes
            .into_iter()
            .fold(CredentialExtractor::default(), CredentialExtractor::with_scheme)
            .with_basic_user("apikey")
            .with_bare_header(HeaderName::from_static("sts-api-key"))
            .with_bare_header(HeaderName::from_static("dd-api-key"))
            .with_query_parameter("api_key", ["/stsAgent/", "/receiver/stsAgent/"]);
        let tokens = || FixedTokens::new([("team-a", TOKEN)]).context("a token");
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            layer: AuthenticateLayer::new(tokens()?).with_extractor(extractor.clone()),
            interceptor: Interceptor::new(tokens()?).with_extractor(extractor.clone()),
            extractor,
            directory: tempfile::tempdir()?,
        })
    }

    /// Sends the request through the layer, and checks the answer and what the service gets.
    fn answer(&self, input: &Input, content_type: &'static str) -> Result<Answer, Finding> {
        let seen = Arc::new(Mutex::new(None));
        let service = self.layer.layer(service_fn(|request: Request<Full<Bytes>>| {
            let (parts, _) = request.into_parts();
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(parts);
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
        }));
        let mut request = Request::post(input.uri.clone()).body(Full::default()).map_err(text)?;
        *request.headers_mut() = input.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let (parts, body) = self.runtime.block_on(async {
            let Ok(response) = service.oneshot(request).await;
            let (parts, body) = response.into_parts();
            Ok::<_, Finding>((parts, body.collect().await.map_err(text)?.to_bytes()))
        })?;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(request) = seen {
            let name = request.extensions.get::<Identity>().map(Identity::name);
            check(name == Some("team-a"), || format!("allowed as {name:?}"))?;
            let rest = self.extractor.extract(&request.headers, &request.uri);
            check(rest.is_err(), || "the service gets the credential".to_owned())?;
            return Ok(Answer::Allowed);
        }
        let shown = format!("{:?} {}", parts.headers, body.escape_ascii());
        check(!shown.contains(TOKEN), || format!("the answer has the token: {shown}"))?;
        let status = match parts.headers.get("grpc-status") {
            Some(status) => i32::from(*status == "16") * 401,
            None => i32::from(parts.status.as_u16()),
        };
        check(status == 401, || format!("answered {} {shown}", parts.status))?;
        match shown {
            missing if missing.contains("missing") => Ok(Answer::Missing),
            refused if refused.contains("refused") => Ok(Answer::Refused),
            other => Err(format!("answered {other}")),
        }
    }

    /// The same request must have the same verdict on both transports, and with the interceptor.
    fn check_request(&mut self, input: &Input, current: &Current) -> Result<(), Finding> {
        let http = self.answer(input, "application/json")?;
        let grpc = self.answer(input, "application/grpc")?;
        check(http == grpc, || format!("{http:?} over HTTP, {grpc:?} over gRPC"))?;
        check(http != Answer::Allowed || input.has_token(), || {
            "allowed without the token".to_owned()
        })?;
        if http == Answer::Allowed {
            current.accept();
        }
        if input.uri.query().is_none() {
            let mut request = tonic::Request::new(());
            *request.metadata_mut() = MetadataMap::from_headers(input.headers.clone());
            let allowed = self.interceptor.call(request).is_ok();
            check(allowed == (grpc == Answer::Allowed), || {
                format!("{grpc:?} by the layer, allowed by the interceptor: {allowed}")
            })?;
        }
        Ok(())
    }

    /// A key that is read must have the form of a key; what has it must be read.
    fn check_key(&self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        let mut random = |bytes: &mut [u8]| {
            rng.fill(bytes);
            Ok::<_, Infallible>(())
        };
        let Ok(key) = IngestionKey::generate(&mut random);
        check(IngestionKey::check(key.expose_secret().as_bytes()).is_ok(), || {
            "a new key has not the form of a key".to_owned()
        })?;
        let mut bytes = key.expose_secret().as_bytes().to_owned();
        mutate(rng, &mut bytes, WORDS);
        current.set(&bytes);
        let checked = IngestionKey::check(&bytes).is_ok();
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let parsed = IngestionKey::parse(text);
            check(parsed.is_ok() == checked, || "parse and check differ".to_owned())?;
            if let Ok(parsed) = parsed {
                check(text.contains(parsed.expose_secret()), || "another key".to_owned())?;
                check(!format!("{parsed:?}").contains(text), || "Debug shows a key".to_owned())?;
            }
        }
        check(!checked || IngestionKey::has_checksum(&bytes), || "no checksum".to_owned())
    }

    fn check_token_file(&self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        let mut bytes =
            format!("# tokens\nteam-a={TOKEN}\n\niapikeyok-other\n\tteam-b = \"quoted\"\r\n")
                .into_bytes();
        mutate(rng, &mut bytes, WORDS);
        current.set(&bytes);
        let path = self.directory.path().join("tokens");
        fs::write(&path, &bytes).map_err(text)?;
        if let Err(error) = TokenFile::open(&path) {
            let mut shown = format!("{error} {error:?}");
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                shown.push_str(&next.to_string());
                cause = next;
            }
            check(!shown.contains(TOKEN), || format!("the error has the token: {shown}"))?;
        }
        Ok(())
    }
}

impl Target for Credentials {
    fn run(&mut self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        match rng.u8(..=255) {
            // A token file is watched while it is open, which takes a thread each time.
            0 => self.check_token_file(rng, current),
            1..=31 => self.check_key(rng, current),
            _ => {
                let input = Input::new(rng);
                current.set(format!("{} {:?}", input.uri, input.headers).as_bytes());
                self.check_request(&input, current)
            }
        }
    }
}

impl Input {
    fn new(rng: &mut Rng) -> Self {
        let basic = STANDARD.encode(format!("apikey:{TOKEN}"));
        let values = [
            format!("StackState {TOKEN}"),
            format!("suseobservability   {TOKEN}"),
            format!("ApiKey {TOKEN}"),
            format!("Basic {basic}"),
            TOKEN.to_owned(),
            "StackState iapikeyok-of-somebody-else".to_owned(),
        ];
        let mut headers = HeaderMap::new();
        for _ in 0..rng.u8(..4) {
            let mut value = pick(rng, &values).clone().into_bytes();
            if rng.bool() {
                mutate(rng, &mut value, WORDS);
            }
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let name = *pick(rng, &HEADERS);
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let paths = ["/v1/traces", "/stsAgent/intake/", "/receiver/stsAgent/api/v1/series"];
        let mut uri = (*pick(rng, &paths)).to_owned().into_bytes();
        if rng.bool() {
            uri.extend_from_slice(format!("?a=b&api_key={TOKEN}").as_bytes());
            if rng.bool() {
                mutate(rng, &mut uri, WORDS);
            }
        }
        let uri = Uri::try_from(uri).unwrap_or_else(|_| Uri::from_static("/stsAgent/"));
        Self { uri, headers }
    }

    /// Returns whether the token is anywhere in the request, in any encoding.
    fn has_token(&self) -> bool {
        let query = self.uri.query().unwrap_or_default();
        let query = percent_encoding::percent_decode_str(query).collect::<Vec<_>>();
        let values = self.headers.values().map(|value| value.as_bytes().to_owned());
        let mut all = values.chain([query]);
        all.any(|value| {
            let parts = value.split(|byte| b" \t".contains(byte));
            let mut decoded = parts.filter_map(|part| STANDARD.decode(part).ok());
            contains(&value, TOKEN) || decoded.any(|part| contains(&part, TOKEN))
        })
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn text(error: impl std::fmt::Display) -> Finding {
    error.to_string()
}
