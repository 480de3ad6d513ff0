//! Authentication for OTLP pipelines: both ends of one header.
//!
//! A sender of telemetry proves who it is with `Authorization: StackState <key>`. This library puts
//! that header on every request of an OTLP client and checks it in front of an OTLP server, the
//! same on gRPC and on HTTP:
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
//! None is on by default; each adds items and changes nothing else.
//!
//! | feature | adds |
//! |---|---|
//! | `tonic` | `client::Interceptor`, `BearerTokenAuth::channel`, `server::Interceptor` |
//! | `opentelemetry-http` | `client::HttpClient` for the OTLP/HTTP exporters of opentelemetry-rust |
//! | `yaml` | `config`: a Collector's `bearertokenauth` block; `BearerTokenAuth::from_yaml` |
//! | `metrics` | `with_meter` on both ends: the instruments below |
//! | `full` | all of these |
//!
//! The tower layers of both ends, which serve axum and hyper too, are always there.
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
//! | [`client::BuildError`] | [`client::Builder::build`], `from_yaml` | there is no usable token: nothing given, illegal, a file or a configuration that cannot be used |
//! | [`client::EndpointError`] | `for_endpoint`, and requests | plaintext to another host, or not a URL |
//! | [`TokenFileError`] | [`server::TokenFile::open`] | unreadable, empty, too long, or which line is no token |
//! | [`server::FixedTokensError`] | [`server::FixedTokens::new`] | which named token is none, or has two names |
//! | `otel_confmap::ConfigError` | `config` | every problem of a configuration, each with its path and line |
//! | [`Undecided`] | [`server::ServerAuthenticator`] | no verdict: the sender is asked to try again |
//!
//! A request that is refused is not an error: it is a [`Decision::Deny`] with a [`Denial`].
#![cfg_attr(feature = "full", doc = include_str!("quick_start.md"))]

pub mod client;
#[cfg(feature = "yaml")]
pub mod config;
mod credential;
mod decision;
mod denial;
mod identity;
#[cfg(feature = "metrics")]
mod metrics;
mod scheme;
pub mod server;
mod timeout;
mod token_file;
mod watched_file;

pub use credential::{Credential, CredentialError, MAX_SCHEME_LEN, MAX_TOKEN_LEN};
pub use decision::{Decision, Undecided, Verdict};
pub use denial::{Denial, DenyReason};
pub use identity::{CountedIdentity, Identity};
pub use scheme::Scheme;
pub use token_file::TokenFileError;
