//! Authentication for OTLP clients and servers, with one header.
//!
//! A sender of telemetry identifies itself with `Authorization: StackState <key>`. This library
//! puts that header on every request of an OTLP client, and checks it in front of an OTLP server,
//! in the same way on gRPC and on HTTP:
//!
//! - [`client::BearerTokenAuth`] puts the header on requests. The token comes from a Collector's
//!   `bearertokenauth` configuration, from a fixed value, or from a file that is reloaded when it
//!   changes. It works with opentelemetry-rust's exporters, with tonic clients and with any tower
//!   client.
//! - [`server::AuthenticateLayer`] checks the header before the body is read, in front of tonic,
//!   axum and hyper. An allowed request gets an [`Identity`]. To any other request, the layer
//!   responds as the OTLP specification demands.
//!
//! The library is not a key store and not a server. It can check tokens from memory or from a file,
//! and it can ask your own [`server::ServerAuthenticator`].
//!
//! # Guarantees
//!
//! - *Undecided is not denied.* OTLP senders drop their data on 401 and `UNAUTHENTICATED`, and try
//!   again on 503 and `UNAVAILABLE`. A [`Decision`] is certain. An authenticator that cannot decide
//!   returns [`Undecided`]. Such a request is not allowed, and its response differs from the
//!   response to a denied request.
//! - *The same credential has the same verdict* on every transport.
//! - *Tokens stay secret.* No token is in a log, an error, a metric or `Debug` output. No rejection
//!   repeats a part of the request. Tokens are compared in constant time.
//! - *A client sends exactly one credential.* The credential replaces any other credential and is
//!   never empty. If the token file becomes unusable, the client keeps the last good token. If the
//!   client knows the endpoint, it does not send the credential over plaintext to another host,
//!   unless you allow plaintext.
//! - *A decision from memory is cheap.* It needs no lock, no I/O and no allocation, and takes the
//!   same steps for one token as for 100,000.
//!
//! # Features
//!
//! No feature is on by default. Each feature only adds items.
//!
//! | feature | adds |
//! |---|---|
//! | `client` | `client`: the sending end |
//! | `server` | `server`: the receiving end |
//! | `token-file` | `server::TokenFile`; `client` includes this feature |
//! | `tonic` | with `client`: `client::Interceptor` and `BearerTokenAuth::channel`; with `server`: `server::Interceptor` |
//! | `opentelemetry-http` | `client::HttpClient`, for the OTLP/HTTP exporters of opentelemetry-rust; includes `client` |
//! | `yaml` | `config`: a Collector's `bearertokenauth` block; with `client` also `BearerTokenAuth::from_yaml` and `Builder::config` |
//! | `metrics` | the instruments below; with `client`: `Builder::meter`; with `server`: `with_meter` |
//! | `full` | all of these |
//!
//! The tower layers, which also serve axum and hyper, need only the feature `client` or `server`.
//! With `server` alone, no file watcher is compiled. But a timer (`futures-timer`) is compiled,
//! because the body of a rejected request is read for a limited time, even on a runtime without
//! timers.
//!
//! # Types of other crates
//!
//! These crates are below 1.0, and their types appear in signatures: `secrecy` (tokens),
//! `tower-layer` and `tower-service` (the layers), `tonic` (feature `tonic`), `opentelemetry`
//! (feature `metrics`), `opentelemetry-http` (feature of the same name) and `otel-confmap` (feature
//! `yaml`). This crate reaches version 1.0 only after these crates have reached 1.0. No other type
//! of a crate below 1.0 is public.
//!
//! # Metrics
//!
//! With the feature `metrics`, the crate has these instruments, which use the OpenTelemetry metrics
//! API:
//!
//! | instrument | unit | attributes |
//! |---|---|---|
//! | `ingestion.auth.decisions` (counter) | `{decision}` | `outcome`: `allow`, `deny`, `undecided`; `deny.reason`: see [`DenyReason`]; `transport`: `grpc`, `http`; `http.route`: with `with_routes` |
//! | `ingestion.auth.duration` (histogram) | `s` | `outcome`, `transport` |
//! | `ingestion.auth.reloads` (counter) | `{reload}` | `outcome`: `success`, `failure`; `side`: `client`, `server` |
//! | `ingestion.auth.resends` (counter) | `{request}` | `transport` |
//!
//! # Errors
//!
//! | error | from | means |
//! |---|---|---|
//! | [`CredentialError`] | [`Credential`] | why a text is not a scheme or not a token |
//! | [`client::BuildError`] | [`client::Builder`], `from_yaml` | the token or the endpoint is missing, or the token, the endpoint, the header, the file or the configuration cannot be used |
//! | [`client::EndpointError`] | `for_endpoint`, and requests | the endpoint is reached over plaintext, or is not a URL |
//! | [`TokenFileError`] | token files of both ends | the file is unreadable, empty or too long, or has a line that is not a token |
//! | [`server::OpenTokenFileError`] | [`server::TokenFile::open`] | a `TokenFileError`, or tokens that cannot be used together |
//! | [`server::FixedTokensError`] | [`server::FixedTokens::new`] | a text is not a token, a token has two names, or there are no random bytes |
//! | `otel_confmap::ConfigError` | `config` | every problem of a configuration, each with its path and line |
//! | [`Undecided`] | [`server::ServerAuthenticator`] | there is no verdict, so the sender is asked to try again |
//!
//! A denied request is not an error, but a [`Decision::Deny`] with a [`Denial`].
#![cfg_attr(feature = "full", doc = include_str!("quick_start.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
#[cfg(feature = "yaml")]
#[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
pub mod config;
mod credential;
mod decision;
mod denial;
#[cfg(all(feature = "token-file", any(feature = "client", feature = "server")))]
mod generation;
mod identity;
#[cfg(all(feature = "metrics", any(feature = "client", feature = "server")))]
mod metrics;
#[cfg(any(feature = "client", feature = "yaml"))]
mod protocol_header;
mod scheme;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod server;
#[cfg(any(feature = "client", feature = "server"))]
mod timeout;
#[cfg(all(feature = "token-file", any(feature = "client", feature = "server")))]
mod token_file;
#[cfg(all(feature = "token-file", any(feature = "client", feature = "server")))]
mod watched_file;

pub use credential::{Credential, CredentialError};
pub use decision::{Decision, Undecided, Verdict};
pub use denial::{Denial, DenyReason};
#[cfg(all(feature = "token-file", any(feature = "client", feature = "server")))]
#[cfg_attr(docsrs, doc(cfg(feature = "token-file")))]
pub use generation::GenerationReceiver;
pub use identity::{CountedIdentity, Identity};
pub use scheme::Scheme;
#[cfg(all(feature = "token-file", any(feature = "client", feature = "server")))]
#[cfg_attr(docsrs, doc(cfg(feature = "token-file")))]
pub use token_file::TokenFileError;
