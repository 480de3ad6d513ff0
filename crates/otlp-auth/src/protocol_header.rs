//! The headers that cannot carry a credential.

use http::HeaderName;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

const NAMES: [HeaderName; 11] = [
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The hop-by-hop headers that HTTP/2 forbids (RFC 9113 section 8.2.2) and for which the `http`
/// crate has no constant.
const OTHER_NAMES: [&str; 2] = ["keep-alive", "proxy-connection"];

/// Whether HTTP or gRPC needs this header for itself. Neither a credential nor a configured header
/// may replace it. gRPC reserves names that begin with `grpc-`, and the value of a header whose
/// name ends in `-bin` is base64.
pub(crate) fn is_protocol_header(name: &HeaderName) -> bool {
    let text = name.as_str();
    NAMES.contains(name)
        || OTHER_NAMES.contains(&text)
        || text.starts_with("grpc-")
        || text.ends_with("-bin")
}
