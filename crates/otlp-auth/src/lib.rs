//! Authentication for OTLP pipelines: both ends of one header.
//!
//! A sender of telemetry identifies itself with `Authorization: StackState <key>`. This library
//! puts that header on every request of an OTLP client, and checks it in front of an OTLP server,
//! in the same way on gRPC and on HTTP:
//!
//! - [`client::BearerTokenAuth`] keeps the current token ready, from a Collector's own
//!   `bearertokenauth` configuration, a fixed value or a file that it follows; it goes into
//!   opentelemetry-rust's exporters, tonic clients and any tower client.
//! - [`server::AuthenticateLayer`] decides before the body is read, in front of tonic, axum and
//!   hyper. It attaches an [`Identity`] or answers as the OTLP specification demands.
//!
//! It is no key store and no server: it knows tokens and asks a [`server::ServerAuthenticator`],
//! which may be yours.
//!
//! # What it holds to
//!
//! - *No verdict is not a denial.* OTLP senders drop their data on 401 and `UNAUTHENTICATED`, and
//!   try again on 503 and `UNAVAILABLE`. A [`Decision`] is certain; who cannot decide returns
//!   [`Undecided`], which is never let through and never looks like a refusal.
//! - *The same credential, the same answer*, on every transport.
//! - *Secrets live in few places.* No token is in a log, an error, a metric or `Debug` output, and
//!   nothing that was presented is ever repeated. Comparisons take constant time.
//! - *A client sends exactly one credential*: it replaces any other, never sends an empty one,
//!   keeps the last good one when its file breaks, and where it knows the endpoint does not send it
//!   over plaintext to another host unless told to.
//! - *A decision from memory* takes no lock, no I/O and no allocation, and costs the same for one
//!   token as for 100,000.
//!
//! # Features
//!
//! No feature is on by default. Each feature adds items and changes nothing else.
//!
//! | feature | adds |
//! |---|---|
//! | `client` | `client`: the sending end |
//! | `server` | `server`: the receiving end |
//! | `token-file` | `server::TokenFile`; `client` includes this feature |
//! | `tonic` | `client::Interceptor`, `BearerTokenAuth::channel`, `server::Interceptor`, each with its end |
//! | `opentelemetry-http` | `client::HttpClient`, for the OTLP/HTTP exporters of opentelemetry-rust; includes `client` |
//! | `yaml` | `config`: a Collector's `bearertokenauth` block; with `client` also `BearerTokenAuth::from_yaml` and `Builder::config` |
//! | `metrics` | `Builder::meter` and `with_meter`: the instruments below, each with its end |
//! | `full` | all of these |
//!
//! The tower layers, which also serve axum and hyper, need no feature besides their end. With
//! `server` alone, no file watcher is compiled. A timer (`futures-timer`) is, because the body of a
//! refused request is drained for a limited time, also on a runtime without timers.
//!
//! # Types of other crates
//!
//! These crates are below 1.0, and their types appear in signatures: `secrecy` (tokens),
//! `tower-layer` and `tower-service` (the layers), `tonic` (feature `tonic`), `opentelemetry`
//! (feature `metrics`), `opentelemetry-http` (feature of the same name) and `otel-confmap` (feature
//! `yaml`). Version 1.0 of this crate waits until they have reached theirs. No other type of a
//! crate below 1.0 is public.
//!
//! # Metrics
//!
//! With the feature `metrics`, through the OpenTelemetry metrics API:
//!
//! | instrument | unit | attributes |
//! |---|---|---|
//! | `ingestion.auth.decisions` (counter) | `{decision}` | `outcome`: `allow`, `deny`, `undecided`; `deny.reason`: see [`DenyReason`]; `transport`: `grpc`, `http` |
//! | `ingestion.auth.duration` (histogram) | `s` | `outcome`, `transport` |
//! | `ingestion.auth.reloads` (counter) | `{reload}` | `outcome`: `success`, `failure`; `side`: `client`, `server` |
//! | `ingestion.auth.resends` (counter) | `{request}` | `transport` |
//!
//! # Errors
//!
//! | error | from | means |
//! |---|---|---|
//! | [`CredentialError`] | [`Credential`] | not a scheme or not a token, and why |
//! | [`client::BuildError`] | [`client::Builder`], `from_yaml` | there is no token or no endpoint, or one of them, the file or the configuration cannot be used |
//! | [`client::EndpointError`] | `for_endpoint`, and requests | the endpoint is reached over plaintext, or is not a URL |
//! | [`TokenFileError`] | token files of both ends | the file is unreadable, empty or too long, or has a line that is not a token |
//! | [`server::OpenTokenFileError`] | [`server::TokenFile::open`] | a `TokenFileError`, or tokens that cannot be used together |
//! | [`server::FixedTokensError`] | [`server::FixedTokens::new`] | which named token is none, or has two names |
//! | `otel_confmap::ConfigError` | `config` | every problem of a configuration, each with its path and line |
//! | [`Undecided`] | [`server::ServerAuthenticator`] | no verdict: the sender is asked to try again |
//!
//! A request that is refused is not an error: it is a [`Decision::Deny`] with a [`Denial`].
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
