//! The Collector's settings of an exporter that are not honoured here.

use otel_confmap::{Map, Node, ScalarKind};

/// Settings without effect here. None of them decides who receives the data or how the data is
/// protected.
const NO_EFFECT: [&str; 21] = [
    "balancer_name",
    "batcher",
    "compression_params",
    "cookies",
    "disable_keep_alives",
    "encoding",
    "force_attempt_http2",
    "http2_ping_timeout",
    "http2_read_idle_timeout",
    "idle_conn_timeout",
    "keepalive",
    "max_conns_per_host",
    "max_idle_conns",
    "max_idle_conns_per_host",
    "max_redirects",
    "profiles_endpoint",
    "read_buffer_size",
    "sending_queue",
    "user_agent",
    "wait_for_ready",
    "write_buffer_size",
];

/// Settings that decide who receives the data, and why each of them is an error.
const DECIDES_THE_RECEIVER: [(&str, &str); 3] = [
    ("authority", "not supported: the requests would name another authority"),
    ("middlewares", "not supported: the requests would not pass these middlewares"),
    (
        "proxy_url",
        "not supported: the requests would not go through this proxy; for https endpoints, set the environment variable HTTPS_PROXY",
    ),
];

/// Settings that old Collectors read beside `endpoint`, and that belong into `tls` now.
const OLD_TLS: [&str; 9] = [
    "ca_file",
    "cert_file",
    "cert_pem_file",
    "insecure",
    "insecure_skip_verify",
    "key_file",
    "server_name_override",
    "tls_settings",
    "use_secure",
];

/// Reports the settings of an exporter that are not honoured here. A setting without which the data
/// would go to somebody else, or without its credential or protection, is a problem, and any other
/// one is a warning. Call this function after all other settings were read.
pub(super) fn report(mut map: Map<'_>) {
    for key in NO_EFFECT {
        if let Some(node) = map.get(key) {
            node.warning("has no effect here");
        }
    }
    for (key, reason) in DECIDES_THE_RECEIVER {
        if let Some(node) = map.get(key).filter(|node| !is_empty(node)) {
            node.problem(reason);
        }
    }
    for (key, node) in map.clone().entries() {
        if key == "auth" && node.is_null() {
            node.problem("is empty, so that requests would go out without a credential: name an `authenticator`, or remove it");
        } else if OLD_TLS.contains(&key) {
            node.problem("is not read here: it belongs into `tls`");
        } else if key != "auth" && !NO_EFFECT.contains(&key) && is_credential_name(key) {
            node.problem("is not read, so that requests would go out without this credential: use a `bearertokenauth` extension, and name it in `auth`");
        }
    }
    map.warn_unknown();
}

/// Whether the value is an empty list or text, which leaves a setting at its default.
pub(super) fn is_empty(node: &Node<'_>) -> bool {
    if node.is_list() {
        return node.list().is_some_and(|items| items.is_empty());
    }
    node.scalar_kind() == Some(ScalarKind::String) && node.string() == Some("")
}

/// Whether a setting or a header of this name probably holds a credential.
pub(super) fn is_credential_name(name: &str) -> bool {
    /// Text that is part of such a name.
    const PARTS: [&str; 11] = [
        "apikey",
        "auth_",
        "authentic",
        "authoriz",
        "bearer",
        "cookie",
        "credential",
        "password",
        "secret",
        "signature",
        "token",
    ];
    /// Whole words of such a name.
    const WORDS: [&str; 10] =
        ["auth", "basic", "dsn", "jwt", "key", "keys", "license", "pass", "session", "username"];
    /// A header whose name does not show that it holds a key.
    const HONEYCOMB: &str = "x-honeycomb-team";
    let name = name.to_ascii_lowercase();
    name == HONEYCOMB
        || PARTS.iter().any(|part| name.contains(part))
        || name.split(['-', '_', '.']).any(|word| WORDS.contains(&word))
}
