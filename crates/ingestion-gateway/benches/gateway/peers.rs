//! The peers and their configurations. Each one lets in the same key, removes it, and forwards the
//! rest; each one is set up as it costs least.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::keys::key;
use crate::processes::{Middle, Process, Sink, free_address};

/// The addresses of a peer that receives OTLP over gRPC and over HTTP.
type Addresses = [SocketAddr; 2];

/// Starts the peer of this name from the directory of the peers.
pub(crate) fn start(name: &str, programs: &Path, sink: Sink) -> Middle {
    let directory = tempfile::tempdir().unwrap();
    // The peer runs in a directory of its own.
    let programs = fs::canonicalize(programs).expect("the directory of the peers");
    let program = programs.join(name.trim_end_matches("_auth"));
    let config = directory.path().join("config.yaml");
    let path = directory.path().display().to_string();
    let key = key(0);
    let addresses = [free_address(), free_address()];
    let mut gzip_addresses = None;
    let mut command = Command::new(&program);
    command.current_dir(&path).stdin(Stdio::null()).stdout(Stdio::null());
    let text = match name {
        "nginx" => {
            command.args(["-e", "stderr", "-g", "daemon off;", "-p", &path]).arg("-c").arg(&config);
            nginx(&path, &key, addresses, sink)
        }
        "haproxy" => {
            command.arg("-db").arg("-f").arg(&config);
            let allowed = format!("StackState {key}\n");
            fs::write(directory.path().join("keys.acl"), allowed).unwrap();
            haproxy(&path, addresses, sink)
        }
        "envoy" => {
            command.args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"]);
            command.arg("-c").arg(&config);
            envoy(&key, addresses, sink)
        }
        "otelcol" | "otelcol_auth" => {
            // Its warnings say that its listeners have no TLS.
            command.arg("--config").arg(&config).stderr(Stdio::null());
            let gzip = [free_address(), free_address()];
            gzip_addresses = Some(gzip);
            let key = (name == "otelcol_auth").then_some(key.as_str());
            otelcol(key, addresses, gzip, sink)
        }
        _ => panic!("no such peer: {name}"),
    };
    fs::write(&config, text).unwrap();
    let mut process = Process::start(&mut command, directory);
    for address in addresses.into_iter().chain(gzip_addresses.into_iter().flatten()) {
        process.wait_until(|| TcpStream::connect(address).ok());
    }
    Middle {
        name: name.to_owned(),
        version: Some(version(name, &program)),
        keys: vec![key],
        addresses,
        gzip_addresses,
        process,
    }
}

/// Returns the first number with two dots that the program prints when it is asked for its version.
fn version(name: &str, program: &Path) -> String {
    let argument = if matches!(name, "nginx" | "haproxy") { "-v" } else { "--version" };
    let output = Command::new(program).arg(argument).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.split(|character: char| !character.is_ascii_digit() && character != '.')
        .map(|word| word.trim_matches('.'))
        .find(|word| word.matches('.').count() == 2)
        .unwrap_or("unknown")
        .to_owned()
}

/// One worker, connections that are kept on both sides, and no file for a body.
fn nginx(path: &str, key: &str, [grpc, http]: Addresses, sink: Sink) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {path}/{kind};\n"))
        .concat();
    let Sink { grpc: grpc_sink, http: http_sink } = sink;
    format!(
        r#"worker_processes 1;
pid {path}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
{temporary}  access_log off;
  map_hash_bucket_size 256;
  map $http_authorization $allowed {{ default 0; "StackState {key}" 1; }}
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_max_body_size 20m;
  client_body_buffer_size 1m;
  upstream grpc_sink {{ server {grpc_sink}; keepalive 64; keepalive_requests 1000000000; }}
  upstream http_sink {{ server {http_sink}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {grpc} http2;
    location / {{
      if ($allowed = 0) {{ return 401; }}
      grpc_set_header Authorization "";
      grpc_set_header X-Ingestion-Key-Id 1;
      grpc_set_header X-Ingestion-Key-Name benchmark;
      grpc_pass grpc://grpc_sink;
    }}
  }}
  server {{
    listen {http};
    location / {{
      if ($allowed = 0) {{ return 401; }}
      proxy_set_header Authorization "";
      proxy_set_header X-Ingestion-Key-Id 1;
      proxy_set_header X-Ingestion-Key-Name benchmark;
      proxy_set_header Connection "";
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_pass http://http_sink;
    }}
  }}
}}
"#
    )
}

fn haproxy(path: &str, [grpc, http]: Addresses, sink: Sink) -> String {
    let Sink { grpc: grpc_sink, http: http_sink } = sink;
    let rules = format!(
        "  acl allowed req.hdr(authorization) -m str -f {path}/keys.acl
  http-request deny deny_status 401 unless allowed
  http-request del-header authorization
  http-request set-header x-ingestion-key-id 1
  http-request set-header x-ingestion-key-name benchmark"
    );
    format!(
        "global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend grpc
  bind {grpc} proto h2
{rules}
  default_backend grpc_sink
backend grpc_sink
  server sink {grpc_sink} proto h2
frontend http
  bind {http}
{rules}
  default_backend http_sink
backend http_sink
  server sink {http_sink}
"
    )
}

fn envoy(key: &str, [grpc, http]: Addresses, sink: Sink) -> String {
    let extensions = "type.googleapis.com/envoy.extensions";
    let listener = |name: &str, address: SocketAddr| {
        let port = address.port();
        format!(
            r#"
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: AUTO
          stat_prefix: {name}
          http_filters:
          - name: envoy.filters.http.api_key_auth
            typed_config:
              "@type": {extensions}.filters.http.api_key_auth.v3.ApiKeyAuth
              credentials: [{{key: "StackState {key}", client: benchmark}}]
              key_sources: [{{header: Authorization}}]
              forwarding: {{header: X-Ingestion-Key-Name, hide_credentials: true}}
          - name: envoy.filters.http.router
            typed_config:
              "@type": {extensions}.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: {name}, timeout: 30s}}}}]"#
        )
    };
    let cluster = |name: &str, address: SocketAddr, protocol: &str| {
        let port = address.port();
        let address = format!("{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}");
        format!(
            r#"
  - name: {name}
    connect_timeout: 5s
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {address}}}}}]}}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {extensions}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{{protocol}: {{}}}}"#
        )
    };
    [
        "static_resources:\n  listeners:".to_owned(),
        listener("grpc", grpc),
        listener("http", http),
        "\n  clusters:".to_owned(),
        cluster("grpc", sink.grpc, "http2_protocol_options"),
        cluster("http", sink.http, "http_protocol_options"),
        "\n".to_owned(),
    ]
    .concat()
}

/// A Collector without a queue, retries and batches, so that each request becomes one request. It
/// compresses again what it received compressed. Its HTTP client keeps as many idle connections as
/// there are requests in flight.
fn otelcol(key: Option<&str>, plain: Addresses, gzip: Addresses, sink: Sink) -> String {
    let Sink { grpc: grpc_sink, http: http_sink } = sink;
    let mut text = String::new();
    if let Some(key) = key {
        text =
            format!("extensions:\n  bearertokenauth: {{scheme: StackState, token: \"{key}\"}}\n");
    }
    let auth = if key.is_some() { ", auth: {authenticator: bearertokenauth}" } else { "" };
    let (mut receivers, mut exporters, mut pipelines) =
        (String::new(), String::new(), String::new());
    for (name, compression, [grpc, http]) in [("plain", "none", plain), ("gzip", "gzip", gzip)] {
        receivers += &format!(
            "
  otlp/{name}_grpc: {{protocols: {{grpc: {{endpoint: \"{grpc}\"{auth}}}}}}}
  otlp/{name}_http: {{protocols: {{http: {{endpoint: \"{http}\"{auth}}}}}}}"
        );
        let common = format!(
            "compression: {compression}, sending_queue: {{enabled: false}}, \
             retry_on_failure: {{enabled: false}}"
        );
        exporters += &format!(
            "
  otlp/{name}: {{endpoint: \"{grpc_sink}\", tls: {{insecure: true}}, {common}}}
  otlphttp/{name}: {{endpoint: \"http://{http_sink}\", max_idle_conns: 200, \
                     max_idle_conns_per_host: 200, {common}}}"
        );
        pipelines += &format!(
            "
    traces/{name}_grpc: {{receivers: [otlp/{name}_grpc], exporters: [otlp/{name}]}}
    traces/{name}_http: {{receivers: [otlp/{name}_http], exporters: [otlphttp/{name}]}}"
        );
    }
    let extensions = if key.is_some() { "\n  extensions: [bearertokenauth]" } else { "" };
    format!(
        "{text}receivers:{receivers}\nexporters:{exporters}\nservice:{extensions}
  telemetry: {{logs: {{level: error}}, metrics: {{level: none}}}}
  pipelines:{pipelines}\n"
    )
}
