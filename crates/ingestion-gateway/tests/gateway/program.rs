//! The program under test: a running gateway and its clients.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tower::ServiceExt;

/// How long a test waits for a step before it fails. No step takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Limits that are much longer than [`PATIENCE`]. A kept connection is not closed while a test is
/// about to use it again, and a test about connections that give way does not pass by waiting.
const LONG_LIMITS: [&str; 2] =
    ["--set=limits.idle_timeout=600s", "--set=limits.header_read_timeout=600s"];

const LISTENERS: [&str; 6] = [
    "receivers.otlp.protocols.grpc",
    "receivers.otlp.protocols.http",
    "receivers.agent",
    "management",
    "authorize",
    "telemetry",
];

/// A gateway that is ready. Dropping this value kills its process.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) directory: Arc<TempDir>,
    pub(crate) ready_file: PathBuf,
    addresses: Value,
    pub(crate) client: reqwest::Client,
    pub(crate) token: String,
    pub(crate) log: Lines,
    pub(crate) output: Lines,
}

/// The lines that a process has written so far.
#[derive(Clone)]
pub(crate) struct Lines(watch::Receiver<Vec<String>>);

/// A created key, with its secret.
pub(crate) struct Key {
    pub(crate) id: i64,
    pub(crate) secret: String,
}

/// Creates a command that runs the program with these arguments. The program keeps its state in
/// `directory`, and has no other environment variable.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingestion-gateway"));
    command.args(arguments).env_clear().env("XDG_STATE_HOME", directory).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program until it ends. Returns the exit code, standard output and standard error.
pub(crate) async fn run_to_end(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = timeout(PATIENCE, command(directory, arguments).output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Creates an HTTP client.
pub(crate) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    reqwest::Client::new()
}

/// Sends SIGTERM, as an operator does.
pub(crate) fn terminate(child: &Child) {
    send_signal(child, Signal::TERM);
}

fn send_signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Returns the arguments that give every listener a free port.
pub(crate) fn free_ports() -> Vec<String> {
    LISTENERS.iter().map(|listener| format!("--set={listener}.endpoint=127.0.0.1:0")).collect()
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(Arc::new(TempDir::new().unwrap()), arguments).await
    }

    pub(crate) async fn start_in(directory: Arc<TempDir>, arguments: &[&str]) -> Self {
        Self::start_by(command, directory, arguments).await
    }

    /// Starts the gateway with the command that `command` creates for a directory and arguments.
    pub(crate) async fn start_by(
        command: impl FnOnce(&Path, &[&str]) -> Command,
        directory: Arc<TempDir>,
        arguments: &[&str],
    ) -> Self {
        let ready_file = directory.path().join(format!("ready-{}.json", rand_name()));
        let free_ports = free_ports();
        let mut all: Vec<&str> = free_ports.iter().map(String::as_str).collect();
        all.extend(["--ready-file", ready_file.to_str().unwrap()]);
        all.extend(LONG_LIMITS.iter().chain(arguments));
        let mut child = command(directory.path(), &all).spawn().unwrap();
        let (output, log) =
            (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        log.wait_for("listener::ready").await;
        let addresses = serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
        let state = state(&directory);
        // There is no token if the management API is off.
        let tokens = std::fs::read_to_string(state.join("admin-tokens")).unwrap_or_default();
        let token = tokens.lines().next().unwrap_or_default().to_owned();
        Self { child, directory, ready_file, addresses, client: client(), token, log, output }
    }

    /// Returns the URL of `path` on a listener, which is given by its name in the ready file.
    pub(crate) fn url(&self, listener: &str, path: &str) -> String {
        format!("http://{}{path}", self.addresses[listener].as_str().unwrap())
    }

    pub(crate) fn state(&self) -> PathBuf {
        state(&self.directory)
    }

    /// Creates a management call with the admin token.
    pub(crate) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url("management", path)).header("x-api-token", &self.token)
    }

    pub(crate) async fn create(&self, name: &str) -> Key {
        let request = self
            .call(Method::POST, "/api/security/ingestion/api_keys")
            .json(&json!({"name": name}));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let key: Value = response.json().await.unwrap();
        Key { id: key["id"].as_i64().unwrap(), secret: key["apiKey"].as_str().unwrap().to_owned() }
    }

    pub(crate) async fn get(&self, id: i64) -> Value {
        let request = self.call(Method::GET, &format!("/api/security/ingestion/api_keys/{id}"));
        request.send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn delete(&self, id: i64) {
        let request = self.call(Method::DELETE, &format!("/api/security/ingestion/api_keys/{id}"));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }

    /// Creates a request of OTLP/HTTP with a key, for traces in protobuf.
    pub(crate) fn post_traces(
        &self,
        listener: &str,
        secret: &str,
        encoding: &str,
    ) -> RequestBuilder {
        self.client
            .post(self.url(listener, "/v1/traces"))
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", encoding)
            .header("authorization", format!("StackState {secret}"))
    }

    /// Sends one span over OTLP/HTTP, in JSON.
    pub(crate) async fn send_http(&self, secret: &str) -> Response {
        let span = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"work"}]}]}]}"#;
        let request = self
            .client
            .post(self.url("otlp_http", "/v1/traces"))
            .header("content-type", "application/json")
            .body(span);
        request.header("authorization", format!("StackState {secret}")).send().await.unwrap()
    }

    /// Sends spans over OTLP/gRPC.
    pub(crate) async fn send_grpc(
        &self,
        secret: &str,
        spans: usize,
        compression: Option<CompressionEncoding>,
    ) -> Code {
        let client = TraceServiceClient::connect(self.url("otlp_grpc", "")).await.unwrap();
        let mut client = match compression {
            Some(compression) => client.send_compressed(compression),
            None => client,
        };
        let mut request = tonic::Request::new(traces(spans));
        request
            .metadata_mut()
            .insert("authorization", format!("SUSEObservability {secret}").parse().unwrap());
        client.export(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// Connects to a listener over HTTP/2.
    pub(crate) async fn http2(&self, listener: &str) -> Channel {
        Channel::from_shared(self.url(listener, "")).unwrap().connect().await.unwrap()
    }

    /// Exports traces over OTLP/gRPC, in a message that is compressed as `encoding` says. Returns
    /// the code and the text of the status.
    pub(crate) async fn call_grpc(
        &self,
        listener: &str,
        secret: &str,
        encoding: &str,
        message: &[u8],
    ) -> (Code, String) {
        export(self.http2(listener).await, secret, encoding, message).await
    }

    /// Sends the agents' health check with the key in the query parameter, as the node agent does.
    /// Returns the status.
    pub(crate) async fn validate(&self, secret: &str) -> StatusCode {
        let url = self.url("agent", &format!("/stsAgent/api/v1/validate?api_key={secret}"));
        self.client.get(url).send().await.unwrap().status()
    }

    /// Sends `body` to the authorize listener, and returns the response.
    pub(crate) async fn authorize(&self, query: &str, body: &str) -> Response {
        let url =
            self.url("authorize", &format!("/internal/api/security/ingestion/authorize{query}"));
        self.client
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
            .unwrap()
    }

    /// Returns all metrics, as Prometheus scrapes them.
    pub(crate) async fn metrics(&self) -> String {
        let request = self.client.get(self.url("telemetry", "/metrics"));
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Returns the largest resident memory of the process so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        self.memory("VmHWM:")
    }

    /// Returns the resident memory of the process, in bytes.
    pub(crate) fn resident_memory(&self) -> usize {
        self.memory("VmRSS:")
    }

    fn memory(&self, line: &str) -> usize {
        let status = self.proc("status");
        let size = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        size.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Reads a file about the process in `/proc`.
    pub(crate) fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.pid())).unwrap()
    }

    /// Returns the address of a listener, which is given by its name in the ready file.
    pub(crate) fn address(&self, listener: &str) -> String {
        self.addresses[listener].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Opens a connection to a listener, which is given by its name in the ready file.
    pub(crate) async fn connect(&self, listener: &str) -> TcpStream {
        TcpStream::connect(self.addresses[listener].as_str().unwrap()).await.unwrap()
    }

    pub(crate) fn signal(&self) {
        terminate(&self.child);
    }

    /// Stops the process for this time, during `meanwhile`, and lets it continue.
    pub(crate) async fn pause<T>(&self, time: Duration, meanwhile: impl Future<Output = T>) -> T {
        send_signal(&self.child, Signal::STOP);
        // The threads stop one after the other, and until then each of them may still answer.
        while !self.is_stopped() {
            tokio::task::yield_now().await;
        }
        let (done, ()) = tokio::join!(meanwhile, tokio::time::sleep(time));
        send_signal(&self.child, Signal::CONT);
        done
    }

    /// Returns whether all threads of the process are stopped.
    fn is_stopped(&self) -> bool {
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        threads.all(|thread| {
            // A thread may end meanwhile.
            let status = std::fs::read_to_string(thread.unwrap().path().join("status"));
            status.is_ok_and(|status| status.contains("State:\tT"))
        })
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    /// Stops the gateway with SIGTERM, and starts it again on the same state.
    pub(crate) async fn restart(mut self) -> Self {
        self.signal();
        assert_eq!(self.ended().await.code(), Some(0));
        Self::start_in(Arc::clone(&self.directory), &[]).await
    }
}

impl Lines {
    pub(crate) fn of(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|known: &mut Vec<String>| known.push(line));
            }
        });
        Self(receiver)
    }

    /// Waits for the first line that contains `text`, and returns the line.
    pub(crate) async fn wait_for(&self, text: &str) -> String {
        let mut lines = self.0.clone();
        let found = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        match timeout(PATIENCE, lines.wait_for(found)).await {
            Ok(Ok(lines)) => lines.iter().find(|line| line.contains(text)).unwrap().clone(),
            _ => panic!("{text:?} was never written: {:?}", self.0.borrow()),
        }
    }

    pub(crate) fn all(&self) -> String {
        self.0.borrow().join("\n")
    }
}

/// Exports traces over OTLP/gRPC, in a message that is compressed as `encoding` says. Returns the
/// code and the text of the status.
pub(crate) async fn export(
    channel: Channel,
    secret: &str,
    encoding: &str,
    message: &[u8],
) -> (Code, String) {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = Bytes::from([&[1], &length[..], message].concat());
    let request =
        http::Request::post("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding)
            .header("authorization", format!("StackState {secret}"))
            .body(tonic::body::Body::new(Full::new(frame)));
    let (head, body) = channel.oneshot(request.unwrap()).await.unwrap().into_parts();
    let status = match tonic::Status::from_header_map(&head.headers) {
        Some(status) => status,
        None => {
            let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
            tonic::Status::from_header_map(&trailers).unwrap()
        }
    };
    (status.code(), status.message().to_owned())
}

/// Creates a request with this number of spans.
pub(crate) fn traces(spans: usize) -> ExportTraceServiceRequest {
    let spans = vec![Span { name: "work".repeat(10), ..Span::default() }; spans];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

fn state(directory: &TempDir) -> PathBuf {
    directory.path().join("ingestion-gateway")
}

fn rand_name() -> String {
    format!("{:x}", fastrand::u64(..))
}
